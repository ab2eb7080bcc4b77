# frozen_string_literal: true

require "monitor"

module BerryMQ
  # Collects the messages of an identifier, to be taken in order.
  #
  #   queue = BerryMQ::Queue.new("task:*")
  #   queue.pop(timeout: 5)          # => a message, or nil
  #   queue.each { |task| ... }      # until it is closed
  #
  # Each queue gets a copy of each message. `shared: true` makes it one of a group, over all linked programs: each
  # message goes to exactly one of the shared queues of an identifier, first to one that waits in {#pop}. What a
  # program has not taken when it ends or is cut off goes to another one.
  class Queue
    include Enumerable

    # @return [Identifier]
    attr_reader :identifier

    # Run a block with a new queue, and close it.
    # @return what the block returns
    def self.open(...)
      queue = new(...)
      yield queue
    ensure
      queue&.close
    end

    # @param identifier [String] may have wildcards
    # @param shared [Boolean]
    # @param maxsize [Integer, nil] if it holds so many, the oldest one is dropped and counted; the shared queues of an
    #   identifier have the same
    # @param past [Integer, true, nil] begin with so many, or all, of the messages that the hub retains
    # @param bus [Bus]
    def initialize(identifier, shared: false, maxsize: nil, past: nil, bus: BerryMQ.default_bus)
      raise ArgumentError, "a shared queue has no past: each message goes to one of them" if shared && past

      @identifier = Identifier.parse(identifier)
      @bus = bus
      @store = shared ? bus.group(@identifier, maxsize) : Store.new(maxsize)
      @closed = false
      shared ? @store.enter(self) : subscribe(past)
    end

    # @param timeout [Numeric, nil] in seconds; nil waits until there is a message
    # @return [Message, nil] the next message, or nil after the timeout, or once the queue is closed and empty
    def pop(timeout: nil)
      @store.pop(timeout) { @closed }
    end
    alias shift pop

    # @return [Message] the next message
    # @raise [ThreadError] there is none, as `Thread::Queue#pop(true)`
    def pop_nonblock
      pop(timeout: 0) || raise(ThreadError, "queue empty")
    end

    # Yield each message until the queue is closed and empty.
    def each
      return enum_for(:each) unless block_given?

      while (message = pop)
        yield message
      end
      self
    end

    # @return [Integer] the number of messages; of shared queues, that of the group
    def size = @store.size
    alias length size

    def empty? = size.zero?
    def closed? = @closed

    # @return [Integer] how many messages were dropped because it was full
    def dropped = @store.dropped

    # Collect no more; what is in it can still be taken. Of a shared one it goes to the others.
    def close
      return self if @closed

      @closed = true
      @subscription&.cancel
      @store.leave(self)
      self
    end

    def inspect
      "#<BerryMQ::Queue #{identifier}#{' shared' if @store.is_a?(JobGroup)}#{' closed' if closed?}>"
    end

    private

    def subscribe(past)
      link = @bus.current_link
      raise ClosedError, "past: needs a link: call BerryMQ.link first" if past && link.nil?

      @subscription = Subscription.new(@bus, @identifier, @store, kind: :queue)
      past ? link.replay(@subscription, past) : @bus.add(@subscription)
    end

    # The messages of a queue that is not shared.
    # @api private
    class Store
      attr_reader :dropped

      def initialize(maxsize)
        @maxsize = maxsize
        @messages = []
        @dropped = 0
        @lock = Monitor.new
        @changed = @lock.new_cond
      end

      def call(message)
        @lock.synchronize do
          @messages.push(message)
          if @maxsize && @messages.size > @maxsize
            @messages.shift
            @dropped += 1
          end
          @changed.signal
        end
      end

      def pop(timeout)
        deadline = timeout && (Clock.now + timeout)
        @lock.synchronize do
          while @messages.empty?
            left = deadline && (deadline - Clock.now)
            return if yield || (left && left <= 0)

            @changed.wait(left)
          end
          @messages.shift
        end
      end

      def size = @lock.synchronize { @messages.size }

      def leave(_queue)
        @lock.synchronize { @changed.broadcast }
      end
    end
  end
end
