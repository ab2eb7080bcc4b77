# frozen_string_literal: true

module BerryMQ
  # Puts what arrives over a link in its order: drops what was received before, and holds back what comes behind buffers
  # that are still being pulled. Used on the thread of the connection; only {#pull} on others, too.
  # @api private
  class Arrivals
    MAX_HIGHEST = 50_000
    MAX_SEEN = 65_536

    # @param own [String] the id of this node
    # @param lock [Monitor] the link's
    def initialize(own, lock)
      @own = own
      @lock = lock
      @pulls = Pulls.new
      @highest = {}
      @seen = {}
      @held = {}
    end

    # @param batch [Array]
    # @param hub [Boolean] whether it comes from a hub
    # @return [Array<Integer>] the places of the messages that were not received before
    def fresh_in(batch, hub:)
      identifier, origin, _, first, count = batch
      return [] if origin == @own

      hub ? above_highest([origin, identifier], first, count) : unseen(origin, first, count)
    end

    # Run a block with the buffers that lie beside a frame, when they are here; what has the same key comes after it.
    # @yield [Array<String, nil>]
    # @raise [ProtocolError]
    def in_order(key, params = {}, &work)
      Pulls.check(params["sizes"]) if params["sizes"]
      return @held[key] << [params, work] if @held.key?(key)

      work_off(key, [[params, work]])
    end

    # Fetch the buffers of a frame.
    # @yield [Array<String, nil>]
    # @raise [ProtocolError]
    def pull(params, &done)
      sizes = Pulls.check(params["sizes"])
      return done.call(sizes.map { "" }) if sizes.sum.zero?

      @lock.synchronize { @pulls.push(params["memory"], sizes, &done) }
    end

    # Take a piece of a buffer.
    # @raise [ProtocolError]
    def piece(message)
      @lock.synchronize { @pulls.receive(message) }&.call
    end

    # Take it that buffers are gone.
    def gone(number)
      @lock.synchronize { @pulls.gone(number) }&.call
    end

    # @return [Array(Array<String>, Array<Integer>)] texts to be sent, and the numbers to be released
    def outgoing = [@pulls.take, @pulls.released]

    # @return [Boolean] whether there are such
    def outgoing? = @pulls.any?

    def resume
      @lock.synchronize { @pulls.resume }
    end

    def restart
      @lock.synchronize { @pulls.restart }.each(&:call)
    end

    private

    # Over a hub the numbers of one origin and identifier ascend; what is below was received before.
    def above_highest(key, first, count)
      highest = @highest.delete(key) || 0
      @highest[key] = [highest, first + count - 1].max
      @highest.shift if @highest.size > MAX_HIGHEST
      ([highest - first + 1, 0].max...count).to_a
    end

    def unseen(origin, first, count)
      (0...count).select do |index|
        key = [origin, first + index]
        next if @seen.key?(key)

        @seen.shift if @seen.size >= MAX_SEEN
        @seen[key] = true
      end
    end

    def work_off(key, waiting)
      while (params, work = waiting.shift)
        if Pulls.number?(params["memory"])
          @held[key] = waiting
          return pull(params) do |buffers|
            work.call(buffers)
            work_off(key, @held.delete(key))
          end
        end
        work.call(Batches.buffers_in(params))
      end
    end
  end
end
