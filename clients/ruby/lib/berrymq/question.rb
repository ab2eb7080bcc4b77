# frozen_string_literal: true

module BerryMQ
  # A question or a call over a link, whose result another thread waits for.
  # @api private
  class Question
    CONCLUDE_SECONDS = 3

    attr_reader :number

    def initialize(number, link)
      @number = number
      @link = link
      @lock = Mutex.new
      @changed = ConditionVariable.new
      @result = @error = nil
    end

    # Hand the result over; the first one counts.
    def finish(*result)
      @lock.synchronize do
        @result ||= result
        @changed.broadcast
      end
    end

    # Make the one who waits fail.
    def abandon(error)
      @lock.synchronize do
        @error ||= error
        @changed.broadcast
      end
    end

    # @return [Array, nil] the result; nil after so many seconds
    def result(seconds)
      deadline = Clock.now + seconds
      @lock.synchronize do
        until @result || @error
          left = deadline - Clock.now
          return if left <= 0

          @changed.wait(@lock, left)
        end
        raise @error unless @result

        @result
      end
    end

    # Wait for the answers; after the timeout, for those that the hub has by then.
    # @return [Array(Array, Array, Array)] the values, the errors, and the nodes that have not answered; nil for none
    def wait(timeout)
      found = result(timeout)
      if found.nil?
        @link.conclude(self)
        found = result(CONCLUDE_SECONDS)
      end
      values, errors, unanswered = found || [[], [], []]
      [values, errors, found && unanswered.empty? ? nil : unanswered]
    ensure
      @link.forget(self)
    end
  end
end
