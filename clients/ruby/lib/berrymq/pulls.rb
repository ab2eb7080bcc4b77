# frozen_string_literal: true

module BerryMQ
  # Large buffers that wait at the other side, and are fetched in pieces; one message's after the other's, so that small
  # messages pass between them. See "Pull" in WIRE.md. Used with the link's lock held.
  # @api private
  class Pulls
    PIECE = 1024 * 1024
    MIN_AHEAD = 16 * 1024
    MAX_AHEAD = 16 * 1024 * 1024
    MAX_PIECES = 64
    MAX_BYTES = 1024 * 1024 * 1024
    MAX_BUFFERS = 100_000
    # In flight is what arrives in this time beside the round trip, for it delays everything behind it.
    DELAY = 0.025
    # The rate is the highest one of so many pieces: one that was held up says nothing.
    SAMPLES = 16

    # The buffers of one message: what was asked for and has come.
    Pull = Struct.new(:number, :sizes, :total, :data, :asked, :pieces, :done)

    # @param memory [Object] the parameter of a frame
    # @return [Boolean] whether it names buffers that are to be pulled
    def self.number?(memory) = memory.is_a?(Integer)

    # @param sizes [Object] the parameter of a frame
    # @return [Array<Integer>]
    # @raise [ProtocolError]
    def self.check(sizes)
      valid = sizes.is_a?(Array) && sizes.size <= MAX_BUFFERS &&
              sizes.all? { |size| size.is_a?(Integer) && size.between?(0, MAX_BYTES) } && extent(sizes) <= MAX_BYTES
      valid ? sizes : raise(ProtocolError, "the sizes of buffers are wrong")
    end

    # @return [Integer] the bytes of buffers in a row, each but the last filled up to a multiple of 64
    def self.extent(sizes)
      sizes.sum { |size| size + padding(size) } - padding(sizes.last.to_i)
    end

    def self.padding(size) = -size % 64

    # @param memory [String] buffers in a row
    # @return [Array<String>]
    def self.split(memory, sizes)
      at = 0
      sizes.map { |size| memory.byteslice(at, size).freeze.tap { at += size + padding(size) } }
    end

    def initialize
      @waiting = []
      @outgoing = []
      @ahead = MIN_AHEAD
      @arrived = 0
      @round_trip = DELAY
      @rates = []
      @current = nil
    end

    # Fetch buffers.
    # @yield [Array<String, nil>] the buffers, or nil for each when they are gone
    def push(number, sizes, &done)
      total = Pulls.extent(sizes)
      @waiting << Pull.new(number, sizes, total, String.new(encoding: Encoding::BINARY, capacity: [total, PIECE].min), 0,
                           [], done)
      advance
    end

    # @return [Array<String>] texts to be sent now
    def take = @outgoing.slice!(0..)

    def any? = @outgoing.any?

    # Take a piece.
    # @return [Proc, nil] what is to be called without the lock, when all of them are there
    # @raise [ProtocolError] it was not asked for
    def receive(message)
      number, offset = message.unpack("Q>2")
      pull = @current
      from, size, at, arrived = pull&.pieces&.shift
      unless pull && pull.number == number && from == offset && message.bytesize == size + 16
        raise ProtocolError, "a piece of a buffer that was not asked for"
      end
      pull.data << message.byteslice(16..)
      adapt(size, Clock.now - at, arrived)
      return advance if pull.data.bytesize < pull.total

      finish(Pulls.split(pull.data, pull.sizes))
    end

    # The buffers of a number are gone.
    # @return [Proc, nil]
    def gone(number)
      return finish(Array.new(@current.sizes.size)) if @current&.number == number

      nil
    end

    # After a cut that was resumed, ask again for what has not come.
    def resume
      @outgoing.clear
      return unless @current

      @current.pieces.clear
      @current.asked = @current.data.bytesize
      advance
    end

    # The numbers of a former link are gone.
    # @return [Array<Proc>] what is to be called
    def restart
      pulls = [@current, *@waiting].compact
      @current = nil
      @waiting.clear
      @outgoing.clear
      pulls.map { |pull| -> { pull.done.call(Array.new(pull.sizes.size)) } }
    end

    # @return [Array<Integer>] the numbers that can be released
    def released = (@released ||= []).slice!(0..)

    private

    def finish(buffers)
      done = @current.done
      (@released ||= []) << @current.number
      @current = nil
      advance
      -> { done.call(buffers) }
    end

    # Ask for as much as may be in flight.
    def advance
      @current ||= @waiting.shift
      pull = @current or return
      while pull.pieces.size < MAX_PIECES && pull.asked < pull.total && in_flight < @ahead
        size = [PIECE, [@ahead / 2, MIN_AHEAD].max, pull.total - pull.asked].min
        pull.pieces << [pull.asked, size, Clock.now, @arrived]
        @outgoing << JSON.generate({ jsonrpc: "2.0", method: "pull",
                                     params: { memory: pull.number, offset: pull.asked, size: } })
        pull.asked += size
      end
      nil
    end

    def in_flight = @current.asked - @current.data.bytesize

    # Measure the rate at which pieces arrive: what came between the question for one and its arrival.
    def adapt(size, seconds, arrived_before)
      @arrived += size
      seconds = [seconds, 0.0001].max
      @round_trip = [@round_trip * 1.01, seconds].min
      @rates.shift if @rates.size >= SAMPLES
      @rates << ((@arrived - arrived_before) / seconds)
      @ahead = (@rates.max * (@round_trip + DELAY)).to_i.clamp(MIN_AHEAD, MAX_AHEAD)
    end
  end
end
