# frozen_string_literal: true

module BerryMQ
  # Large buffers, which lie beside the messages of a link; or wait at the other side, and are fetched in pieces, one
  # message's after the other's, so that small messages pass between them. See "Buffers" and "Pull" in WIRE.md.
  # Used on the thread of the connection; only {#pull} on others, too.
  # @api private
  class Buffers
    MAX_SENT = 12 * 1024 * 1024 # that are sent in base64
    MAX_BYTES = 1024 * 1024 * 1024
    MAX_COUNT = 100_000
    PIECE = 1024 * 1024
    MIN_AHEAD = 4 * 1024
    MAX_AHEAD = 16 * 1024 * 1024
    MAX_PIECES = 64
    # In flight is what arrives in this time beside the round trip, for it delays everything behind it.
    DELAY = 0.02
    # The rate is the highest one of so many pieces: one that was held up says nothing.
    SAMPLES = 16

    # The buffers of one message: what was requested, and what has arrived.
    Pull = Struct.new(:number, :sizes, :total, :data, :asked, :pieces, :done)
    private_constant :Pull

    class << self
      # @return [Hash] the parameters of a frame for the buffers of its message
      def beside(buffers)
        return {} if buffers.empty?

        row = buffers.map { |buffer| buffer.b + ("\0" * (-buffer.bytesize % 64)) }.join
        { memory: [row].pack("m0"), sizes: buffers.map(&:bytesize), reason: "" }
      end

      # @param params [Hash] of a frame
      # @return [Array<String, nil>] the buffers that are in the frame itself, nil for those that are gone
      # @raise [ProtocolError]
      def inside(params)
        return [] unless params["sizes"]

        sizes = check(params["sizes"])
        return Array.new(sizes.size) unless params["memory"].is_a?(String)

        split(params["memory"].unpack1("m0"), sizes)
      end

      # @param sizes [Object] the parameter of a frame
      # @return [Array<Integer>]
      # @raise [ProtocolError]
      def check(sizes)
        valid = sizes.is_a?(Array) && sizes.size <= MAX_COUNT &&
                sizes.all? { |size| size.is_a?(Integer) && size.between?(0, MAX_BYTES) } && extent(sizes) <= MAX_BYTES
        valid ? sizes : raise(ProtocolError, "the sizes of buffers are wrong")
      end

      # @return [Integer] the bytes of buffers in a row, each but the last filled up to a multiple of 64
      def extent(sizes)
        sizes.empty? ? 0 : sizes[..-2].sum { |size| size + (-size % 64) } + sizes.last
      end

      # @return [Array<String>] the buffers in a row
      # @raise [ProtocolError]
      def split(row, sizes)
        raise ProtocolError, "the sizes of buffers are wrong" if extent(sizes) > row.bytesize

        at = 0
        sizes.map { |size| row.byteslice(at, size).freeze.tap { at += size + (-size % 64) } }
      end
    end

    # @param lock [Monitor] the link's
    def initialize(lock)
      @lock = lock
      @held = {}
      @waiting, @outgoing, @released, @rates = [], [], [], []
      @ahead, @arrived, @round_trip = MIN_AHEAD, 0, Float::INFINITY
    end

    # Run a block with the buffers that lie beside a frame, when they are here; what has the same key comes after it.
    # @yield [Array<String, nil>]
    # @raise [ProtocolError]
    def in_order(key, params = {}, &work)
      Buffers.check(params["sizes"]) if params["sizes"]
      @held.key?(key) ? @held[key] << [params, work] : work_off(key, [[params, work]])
    end

    # Fetch the buffers of a frame.
    # @yield [Array<String, nil>] nil for each when they are gone
    # @raise [ProtocolError]
    def pull(params, &done)
      sizes = Buffers.check(params["sizes"])
      total = Buffers.extent(sizes)
      return done.call(sizes.map { "" }) if total.zero?

      data = String.new(encoding: Encoding::BINARY, capacity: [total, PIECE].min)
      @lock.synchronize do
        @waiting << Pull.new(params["memory"], sizes, total, data, 0, [], done)
        advance
      end
    end

    # Take a piece.
    # @raise [ProtocolError] it was not asked for
    def piece(message)
      number, offset = message.unpack("Q>2")
      pull = @current
      finished = @lock.synchronize do
        from, size, at, arrived = pull&.pieces&.shift
        unless pull && pull.number == number && from == offset && message.bytesize == size + 16
          raise ProtocolError, "a piece of a buffer that was not asked for"
        end

        pull.data << message.byteslice(16..)
        adapt(size, Clock.now - at, arrived)
        pull.data.bytesize < pull.total ? advance : release
      end
      finished&.done&.call(Buffers.split(pull.data, pull.sizes))
    end

    # Handle buffers that are gone.
    def gone(number)
      pull = @lock.synchronize { release if @current&.number == number }
      pull&.done&.call(Array.new(pull.sizes.size))
    end

    # @return [String, nil] a text to be sent now; the lock is held
    def take = @outgoing.shift

    # @return [Array<Integer>] the numbers that can be released; the lock is held
    def released = @released.slice!(0..)

    # After a resumed cut, request again what has not arrived.
    def resume
      @lock.synchronize do
        @outgoing.clear
        next unless @current

        @current.pieces.clear
        @current.asked = @current.data.bytesize
        advance
      end
    end

    # The numbers of a former link are gone.
    def restart
      pulls = @lock.synchronize do
        @outgoing.clear
        [@current, *@waiting.slice!(0..)].compact.tap { @current = nil }
      end
      pulls.each { |pull| pull.done.call(Array.new(pull.sizes.size)) }
    end

    private

    def work_off(key, waiting)
      while (params, work = waiting.shift)
        if params["memory"].is_a?(Integer)
          @held[key] = waiting
          return pull(params) do |buffers|
            work.call(buffers)
            work_off(key, @held.delete(key))
          end
        end
        work.call(Buffers.inside(params))
      end
    end

    def release
      @released << @current.number
      @current.tap do
        @current = nil
        advance
      end
    end

    # Ask for as much as may be in flight.
    def advance
      pull = (@current ||= @waiting.shift) or return
      while pull.pieces.size < MAX_PIECES && pull.asked < pull.total && pull.asked - pull.data.bytesize < @ahead
        size = [PIECE, @ahead / 2, pull.total - pull.asked].min
        pull.pieces << [pull.asked, size, Clock.now, @arrived]
        @outgoing << JSON.generate({ jsonrpc: "2.0", method: "pull",
                                     params: { memory: pull.number, offset: pull.asked, size: } })
        pull.asked += size
      end
      nil
    end

    # Measure the rate at which pieces arrive: what came between the question for one and its arrival.
    def adapt(size, seconds, arrived_before)
      @arrived += size
      seconds = [seconds, 0.0001].max
      @round_trip = [@round_trip * 1.01, seconds].min
      @rates.shift if @rates.size >= SAMPLES
      @rates << ((@arrived - arrived_before) / seconds)
      ahead = @rates.max * (@round_trip + DELAY)
      # While pieces do not wait for each other it doubles, once in each round trip.
      ahead = [ahead, size >= @ahead / 2 ? 2 * @ahead : @ahead].max if seconds - @round_trip < DELAY / 3
      @ahead = ahead.to_i.clamp(MIN_AHEAD, MAX_AHEAD)
    end
  end
end
