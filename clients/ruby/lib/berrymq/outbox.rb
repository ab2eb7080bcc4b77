# frozen_string_literal: true

module BerryMQ
  # What is to be sent over a link, and what was sent and is not acknowledged: numbers, window, retransmission. Bounded;
  # the oldest messages that were not sent yet are dropped and counted. Pure state, used with the link's lock held.
  # @api private
  class Outbox
    MAX_MESSAGES = 100_000
    MAX_BYTES = 64 * 1024 * 1024
    WINDOW_MESSAGES = 65_536
    WINDOW_BYTES = 8 * 1024 * 1024
    FRAME_BYTES = 256 * 1024
    FRAME_MESSAGES = 1_000

    # Something that waits: a message of a batch (`method` is `:message`), a whole frame, or a call (`:call`). Of a
    # `lasting` one the other side has to know even if the link can't be resumed.
    Item = Struct.new(:method, :identifier, :number, :json, :lasting)
    # A frame in flight.
    Frame = Struct.new(:n, :method, :body, :items, :bytes)

    # @return [Integer] how many messages were dropped
    attr_reader :dropped
    # @return [Integer] the number of the last frame
    attr_reader :last

    # @param origin [String] the id of this node
    # @param source [String] its name
    def initialize(origin, source)
      @origin = JSON.generate(origin)
      @source = JSON.generate(source)
      @control = []
      @items = []
      @in_flight = []
      @bytes = @flight_bytes = @flight_messages = 0
      @last = @dropped = 0
    end

    # Add a message or a frame in the order of sending.
    def push(item)
      @items.push(item)
      @bytes += item.json.bytesize
      drop while @items.size > 1 && (@items.size > MAX_MESSAGES || @bytes > MAX_BYTES)
    end

    # Add a frame that is sent before what waits for the window.
    def push_control(item)
      @control.push(item)
    end

    def empty? = @control.empty? && @items.empty? && @in_flight.empty?
    def backlog = @items.size
    def in_flight = @flight_messages

    # Take the next text to be sent, if the window allows it.
    # @param ack [Integer]
    # @return [String, nil]
    def take(ack)
      if (item = @control.shift)
        return number(item.method, item.json, [item], ack)
      end
      return if @items.empty? || !window?
      return take_messages(ack) if @items.first.method == :message

      item = shift
      item.method == :call ? item.json : number(item.method, item.json, [item], ack)
    end

    # @param n [Integer] the other side has all frames up to this one
    # @return [Boolean] whether it can be true
    def acknowledge(n)
      return false if n > @last

      forget(@in_flight.shift) while @in_flight.any? && @in_flight.first.n <= n
      true
    end

    # @return [Array<String>] the frames that the other side has not received, to be sent again
    # @param received [Integer]
    def resend(received, ack)
      return unless acknowledge(received)

      @in_flight.map { |frame| text(frame, ack) }
    end

    # Count from 1 again, at a node that knows nothing of this link.
    # @return [Array<Item>] those that wait from now on, calls and all
    def restart
      lasting = @in_flight.flat_map(&:items).select { |item| item.method == :message || item.lasting }
      @in_flight.clear
      @control.clear
      @last = @flight_bytes = @flight_messages = 0
      @bytes += lasting.sum { |item| item.json.bytesize }
      @items.unshift(*lasting)
    end

    # Put calls first, that have to be sent again.
    def unshift(items)
      @items.unshift(*items)
      @bytes += items.sum { |item| item.json.bytesize }
    end

    # @return [Array<Item>] the calls that wait
    def calls = @items.select { |item| item.method == :call }

    # @return [Boolean] whether {#take} has something
    def ready? = @control.any? || (@items.any? && window?)

    # @return [Integer] messages that the other side may not have
    def unsent = @items.count { |item| item.method == :message } + @in_flight.sum { |frame| messages_in(frame) }

    private

    def window?
      @flight_messages < WINDOW_MESSAGES &&
        (@flight_bytes.zero? || @flight_bytes + @items.first.json.bytesize <= WINDOW_BYTES)
    end

    def take_messages(ack)
      items = []
      bytes = 0
      while (item = @items.first) && item.method == :message && items.size < FRAME_MESSAGES &&
            (items.empty? || bytes + item.json.bytesize <= FRAME_BYTES)
        bytes += item.json.bytesize
        items << shift
      end
      batches = items.slice_when { |one, two| one.identifier != two.identifier || two.number != one.number + 1 }
      number("messages", %("batches":[#{batches.map { |batch| batch_of(batch) }.join(',')}]), items, ack)
    end

    def batch_of(items)
      first = items.first
      "[#{JSON.generate(first.identifier)},#{@origin},#{@source},#{first.number},#{items.size}," \
        "[#{items.map(&:json).join(',')}]]"
    end

    def number(method, body, items, ack)
      frame = Frame.new(@last += 1, method, body, items, body.bytesize)
      @in_flight.push(frame)
      @flight_bytes += frame.bytes
      @flight_messages += messages_in(frame)
      text(frame, ack)
    end

    def text(frame, ack)
      %({"jsonrpc":"2.0","method":"#{frame.method}","params":{"n":#{frame.n},"ack":#{ack},#{frame.body}}})
    end

    def forget(frame)
      @flight_bytes -= frame.bytes
      @flight_messages -= messages_in(frame)
    end

    def messages_in(frame) = frame.method == "messages" ? frame.items.size : 0

    def shift
      @items.shift.tap { |item| @bytes -= item.json.bytesize }
    end

    def drop
      index = @items.index { |item| item.method == :message } or return
      item = @items.delete_at(index)
      @bytes -= item.json.bytesize
      @dropped += 1
    end
  end
end
