# frozen_string_literal: true

require_relative "test_helper"

class OutboxTest < BerryTest
  def setup
    super
    @outbox = BerryMQ::Outbox.new("id", "name")
  end

  def push(*numbers)
    numbers.each { |number| @outbox.push(:message, "[1,[#{number}],{}]", number, "a:b") }
  end

  def test_consecutive_messages_are_one_batch
    push(1, 2, 4)
    frame = JSON.parse(@outbox.take(7))["params"]
    assert_equal [1, 7], frame.values_at("n", "ack")
    assert_equal [["a:b", "id", "name", 1, 2], ["a:b", "id", "name", 4, 1]], frame["batches"].map { |one| one.take(5) }
    assert_equal 3, @outbox.in_flight
    @outbox.acknowledge(1)
    assert_predicate @outbox, :empty?
    assert_raises(BerryMQ::ProtocolError) { @outbox.acknowledge(2) }
  end

  def test_a_frame_is_pending_until_it_is_acknowledged
    pending = -> { @outbox.pending?("leave", '"group":"job:*"') }
    refute pending.call
    @outbox.push("leave", '"group":"job:*","taken":[]', first: true)
    assert pending.call
    @outbox.take(0)
    assert pending.call
    refute @outbox.pending?("leave", '"group":"job:other"')
    @outbox.acknowledge(1)
    refute pending.call
  end

  def test_the_oldest_messages_give_way
    push(*1..(BerryMQ::Outbox::MAX_MESSAGES + 2))
    assert_equal 2, @outbox.dropped
    assert_includes @outbox.take(0), '"name",3,'
  end

  # It would be sent again for ever.
  def test_a_frame_that_is_refused_twice_is_replaced
    push(1, 2, 3)
    @outbox.take(0)
    push(4)
    second = @outbox.take(0)
    2.times do
      @outbox.refused
      @outbox.resume(0, 0)
    end
    assert_equal '{"jsonrpc":"2.0","method":"dropped","params":{"n":1,"ack":0,"count":3}}', @outbox.take(0)
    assert_equal [second, nil], [@outbox.take(0), @outbox.take(0)]
    assert_equal [3, 1], [@outbox.dropped, @outbox.in_flight]
    @outbox.acknowledge(2)
    assert_equal [true, 0], [@outbox.empty?, @outbox.in_flight]
  end
end
