# frozen_string_literal: true

module BerryMQ
  # The thread on which followers of a link are called, in order.
  # @api private
  class Delivery
    # So many messages may wait for followers; then the link acknowledges no more, and the other side waits.
    MAX_WAITING = 10_000

    # @yield whenever there is room again
    def initialize(&relieved)
      @relieved = relieved
      @queue = Thread::Queue.new
      @lock = Mutex.new
      @waiting = 0
    end

    def start
      @thread = Thread.new { run }
      @thread.name = "berrymq delivery"
    end

    # Run a block after what came before.
    # @param count [Integer] the messages that it delivers
    def push(count = 1, &work)
      @lock.synchronize { @waiting += count }
      @queue << [count, work]
    rescue ClosedQueueError
      nil
    end

    def full? = @waiting > MAX_WAITING

    # Take no more, and wait a while until the rest is delivered.
    def finish(seconds)
      @queue.close
      @thread.join(seconds) unless @thread.nil? || current?
    end

    def current? = Thread.current == @thread

    private

    def run
      while (count, work = @queue.pop)
        begin
          work.call
        rescue StandardError => e
          BerryMQ.log_errors([e], nil)
        end
        was_full = full?
        @lock.synchronize { @waiting -= count }
        @relieved.call if was_full && !full?
      end
    end
  end
end
