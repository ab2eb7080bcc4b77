# frozen_string_literal: true

require_relative "test_helper"

class QueueTest < BerryTest
  def test_messages_in_order
    tasks = BerryMQ::Queue.new("task:*", bus:)
    3.times { |number| bus.twitter("task:run", number) }
    assert_equal 3, tasks.size
    assert_equal 0, tasks.pop[0]
    tasks.close
    bus.twitter("task:run", 3)
    assert_equal [1, 2], tasks.map { |message| message[0] }
    assert_nil tasks.pop
    assert_predicate tasks, :closed?
  end

  def test_pop_with_a_timeout
    tasks = BerryMQ::Queue.new("task:*", bus:)
    assert_nil tasks.pop(timeout: 0)
    assert_nil tasks.pop(timeout: 0.01)
    assert_raises(ThreadError) { tasks.pop_nonblock }
    waiting = Thread.new { tasks.pop(timeout: 10) }
    wait_until { waiting.status == "sleep" }
    bus.twitter("task:run", "x")
    assert_equal "x", waiting.value[0]
  end

  def test_close_wakes_those_that_wait
    tasks = BerryMQ::Queue.new("task:*", bus:)
    waiting = Thread.new { tasks.to_a }
    wait_until { waiting.status == "sleep" }
    tasks.close
    assert_equal [], waiting.value
  end

  def test_a_full_one_drops_the_oldest
    tasks = BerryMQ::Queue.new("task:*", maxsize: 2, bus:)
    5.times { |number| bus.twitter("task:run", number) }
    assert_equal 3, tasks.dropped
    assert_equal [3, 4], tasks.close.map { |message| message[0] }
  end

  def test_a_block_closes_it
    inner = BerryMQ::Queue.open("task:*", bus:) do |tasks|
      bus.twitter("task:run")
      assert_equal 1, tasks.size
      tasks
    end
    assert_predicate inner, :closed?
  end

  def test_shared_ones_take_turns
    one = BerryMQ::Queue.new("task:*", shared: true, bus:)
    two = BerryMQ::Queue.new("task:*", shared: true, bus:)
    4.times { |number| bus.twitter("task:run", number) }
    assert_equal 4, two.size
    assert_equal [0, 1, 2, 3], [one, two, two, one].map { |tasks| tasks.pop(timeout: 1)[0] }
    one.close
    bus.twitter("task:run", 4)
    assert_nil one.pop(timeout: 0)
    assert_equal 4, two.pop[0]
    two.close
  end

  def test_a_queue_does_not_answer
    BerryMQ::Queue.new("a:*", bus:)
    assert_equal [], bus.ask("a:b")
  end
end
