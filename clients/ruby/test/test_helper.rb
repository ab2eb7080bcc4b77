# frozen_string_literal: true

require "logger"
require "minitest/autorun"
require "stringio"
require "timeout"

require_relative "../lib/berrymq"

# Every test has a bus of its own, a time limit, and closes what it has linked.
class BerryTest < Minitest::Test
  LIMIT = 20

  attr_reader :bus

  def setup
    @bus = BerryMQ::Bus.new
    @buses = []
  end

  def teardown
    [@bus, *@buses].each { |bus| bus.current_link&.close(timeout: 1) }
  end

  def run
    Timeout.timeout(LIMIT) { super }
  end

  # @return [BerryMQ::Bus] one that is linked to the hub of the tests
  def linked(name, **options)
    BerryMQ::Bus.new.tap do |bus|
      @buses << bus
      bus.link(name:, **options)
    end
  rescue BerryMQ::NoHubError
    flunk "these tests need a hub: run tests/clients/test_ruby.py, or start `berrymq hub` beforehand"
  end

  # @return [Thread::Queue] the messages of an identifier as they arrive
  def record(bus, identifier, **options)
    Thread::Queue.new.tap { |queue| bus.follow(identifier, **options) { |message| queue << message and nil } }
  end

  # Send messages until the interest of another node has arrived, which takes some 50 ms.
  def until_known(sender, identifier)
    interest = sender.current_link.instance_variable_get(:@interest)
    wait_until { interest.include?(BerryMQ::Identifier.parse(identifier)) }
  end

  def wait_until
    sleep 0.002 until yield
  end

  # Run a block, whose log is returned.
  def logged
    log = StringIO.new
    former = BerryMQ.logger
    BerryMQ.logger = Logger.new(log)
    yield
    log.string
  ensure
    BerryMQ.logger = former
  end
end
