# frozen_string_literal: true

require_relative "test_helper"

class BusTest < BerryTest
  def test_followers_are_called_in_order_with_the_message
    calls = []
    bus.follow("a:*") { |message| calls << [1, message.id, message.args, message.kwargs] }
    bus.follow("a:b") { |message| calls << [2, message[0], message[:x]] }
    bus.follow("c:b") { calls << :never }
    assert_nil bus.twitter("a:b", "one", x: 2)
    assert_equal [[1, "a:b", ["one"], { x: 2 }], [2, "one", 2]], calls
  end

  def test_a_guard_decides
    seen = []
    bus.follow("a:b", guard: ->(message) { message[0] > 1 }) { |message| seen << message[0] }
    3.times { |number| bus.twitter("a:b", number) }
    assert_equal [2], seen
  end

  def test_messages_match_patterns
    bus.follow("train:*") do |message|
      case message
      in { action: "epoch", kwargs: { loss: Float => loss } } then @loss = loss
      end
    end
    bus.twitter("train:epoch", loss: 0.5)
    assert_in_delta 0.5, @loss
  end

  def test_unfollow_by_subscription_callable_identifier_or_receiver
    seen = []
    subscription = bus.follow("a:b") { seen << 1 }
    callable = bus.follow("a:b", seen.method(:push)).target
    bus.unfollow(subscription)
    bus.twitter("a:b")
    assert_equal 1, seen.size
    assert bus.unfollow(callable)
    refute bus.unfollow(callable)
    bus.follow("a:b") { seen << 1 }
    bus.unfollow("a:b")
    bus.follow("a:b", seen.method(:push))
    bus.unfollow(seen)
    bus.twitter("a:b")
    assert_equal 1, seen.size
  end

  def test_one_added_during_a_delivery_sees_the_next_message_and_one_removed_is_not_called
    seen = []
    later = nil
    bus.follow("a:b") do
      bus.follow("a:b") { seen << :new }
      later.cancel
    end
    later = bus.follow("a:b") { seen << :removed }
    bus.twitter("a:b")
    assert_empty seen
    bus.twitter("a:b")
    assert_equal [:new], seen
  end

  def test_all_followers_run_and_one_error_is_raised_as_itself
    error = KeyError.new("mine")
    bus.follow("a:b") { raise error }
    bus.follow("a:b") { @ran = true }
    assert_same(error, assert_raises(KeyError) { bus.twitter("a:b") })
    assert @ran
  end

  def test_several_errors_are_raised_together
    bus.follow("a:b") { raise "one" }
    bus.follow("a:b") { raise KeyError, "two" }
    error = assert_raises(BerryMQ::FollowerErrors) { bus.twitter("a:b") }
    assert_equal %w[one two], error.errors.map(&:message)
    assert_match(/one.*two/, error.message)
  end

  def test_a_guard_that_raises_is_a_follower_that_fails
    bus.follow("a:b", guard: ->(_) { raise "guard" }) { flunk }
    assert_equal "guard", assert_raises(RuntimeError) { bus.twitter("a:b") }.message
  end

  def test_a_feedback_loop_ends
    bus.follow("a:b") { bus.twitter("c:d") }
    bus.follow("c:d") { bus.twitter("a:b") }
    assert_raises(SystemStackError) { bus.twitter("a:b") }
  end

  def test_ask_gathers_answers
    bus.follow("calc:add") { |message| message.args.sum }
    bus.follow("calc:*") { nil }
    assert_equal [6, nil], bus.ask("calc:add", 1, 2, 3)
    bus.follow("calc:add") { raise ArgumentError, "no" }
    assert_raises(ArgumentError) { bus.ask("calc:add", 1) }
    assert_equal [], bus.ask("nothing:follows")
  end

  def test_talk_sends_results_on
    bus.follow("calc:add") { |message| message.args.sum }
    bus.follow("sum:*") { |message| @sum = message[0] }
    bus.talk("calc:add", "sum:result", 1, 2)
    assert_equal 3, @sum
  end

  def test_what_can_not_follow_is_refused
    assert_raises(BerryMQ::RegistrationError) { bus.follow("a:b") }
    assert_raises(BerryMQ::RegistrationError) { bus.follow("a:b", 5) }
    assert_raises(BerryMQ::RegistrationError) { bus.follow("a:b", -> {}) }
    assert_raises(BerryMQ::RegistrationError) { bus.follow("a:b", guard: true) { nil } }
    bus.follow("a:b", ->(*) { nil })
    bus.follow("a:b") { nil }
  end

  def test_threads_may_follow_and_send_at_once
    count = Queue.new
    threads = Array.new(4) do |number|
      Thread.new do
        200.times do
          subscription = bus.follow("t#{number}:*") { count << 1 }
          bus.twitter("t#{number}:run")
          subscription.cancel
        end
      end
    end
    threads.each(&:join)
    assert_equal 800, count.size
  end

  def test_what_needs_a_link_says_so
    assert_match(/BerryMQ.link/, assert_raises(BerryMQ::ClosedError) { bus.keep("a:*") }.message)
    assert_raises(BerryMQ::ClosedError) { bus.follow("a:*", past: 3) { nil } }
    assert bus.flush
  end
end
