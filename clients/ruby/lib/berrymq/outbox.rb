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
    MESSAGES = [:message, "messages", "buffers"].freeze
    # What the other side has to know even if the link can't be resumed.
    LASTING = [:message, "buffers", "ask", "put"].freeze

    # Something that waits: a message of a batch (`method` is `:message`), a call (`:call`), or a whole frame.
    Item = Struct.new(:method, :body, :number, :identifier) do
      def size = body.bytesize
      def call? = method == :call
      def message? = MESSAGES.include?(method)
    end
    # A frame in flight.
    Frame = Struct.new(:n, :method, :body, :items) do
      def size = body.bytesize
      def messages = MESSAGES.include?(method) ? items.size : 0
    end

    # @return [Integer] how many messages were dropped
    attr_reader :dropped
    # @return [Integer] how many messages are in flight
    attr_reader :in_flight
    # @return [Hash{Integer => Item}] the calls that were sent and are not answered
    attr_reader :calls

    # @param origin [String] the id of this node
    # @param source [String] its name
    def initialize(origin, source)
      @sender = [origin, source].map { |text| JSON.generate(text) }.join(",")
      @first, @items, @flight, @again = [], [], [], []
      @calls = {}
      @bytes = @flight_bytes = @in_flight = @last = @acknowledged = @dropped = 0
    end

    # Add something in the order of sending, or before what waits for the window.
    def push(*values, first: false)
      item = Item.new(*values)
      return @first.push(item) if first

      @items.push(item)
      @bytes += item.size
      nil while @items.size > 1 && (@items.size > MAX_MESSAGES || @bytes > MAX_BYTES) && drop
    end

    def empty? = [@first, @items, @flight].all?(&:empty?)

    # @return [Boolean] whether the other side may not have a frame that begins like this
    def pending?(method, beginning)
      [*@first, *@flight].any? { |one| one.method == method && one.body.start_with?(beginning) }
    end

    def backlog = @items.count(&:message?)

    # Take the next text to be sent, if there is one.
    # @param ack [Integer, nil] the number of the last frame received; nil acknowledges no more than before
    # @return [String, nil]
    def take(ack)
      ack ||= @acknowledged
      if (frame = @again.shift) then text(frame, ack)
      elsif (item = @first.shift) then send_frame(item.method, item.body, [item], ack)
      elsif @items.any? && window? then take_item(ack)
      elsif ack > @acknowledged
        @acknowledged = ack
        %({"jsonrpc":"2.0","method":"ack","params":{"ack":#{ack}}})
      end
    end

    # @param n [Integer] the other side has all frames up to this one
    # @raise [ProtocolError] they were not sent
    def acknowledge(n)
      raise ProtocolError, "frame #{n} is acknowledged, and was not sent" if n > @last

      @again.shift while @again.any? && @again.first.n <= n
      count(@flight.shift, -1) while @flight.any? && @flight.first.n <= n
    end

    # Retransmit what the other side has not received.
    # @raise [ProtocolError] it reports more frames than were sent
    def resume(received, ack)
      @acknowledged = ack
      @again = @flight.dup
      again(@calls.values)
      @calls.clear
      acknowledge(received)
    end

    # Count from 1 again, at a node that knows nothing of this link.
    # @return [Array<Item>] what waits
    def restart
      again([*@calls.values, *@flight.flat_map(&:items).select { |item| LASTING.include?(item.method) }])
      [@first, @flight, @again, @calls].each(&:clear)
      @last = @flight_bytes = @in_flight = @acknowledged = 0
      @items
    end

    # The connection was closed for a violation. If that happens twice, the oldest frame in flight is what the other
    # side refuses, and is replaced.
    def refused
      frame = @flight.first or return
      return @suspect = frame unless @suspect.equal?(frame)

      count(frame, -1)
      @dropped += frame.messages
      frame.method, frame.body, frame.items = "dropped", %("count":#{frame.messages}), []
      count(frame, 1)
    end

    # @return [Integer] messages that the other side may not have
    def unsent = backlog + in_flight

    private

    def again(items)
      @items.unshift(*items)
      @bytes = @items.sum(&:size)
    end

    def window?
      @in_flight < WINDOW_MESSAGES && (@flight_bytes.zero? || @flight_bytes + @items.first.size <= WINDOW_BYTES)
    end

    def take_item(ack)
      return take_messages(ack) if @items.first.method == :message

      item = shift
      return send_frame(item.method, item.body, [item], ack) unless item.call?

      @calls[item.number] = item
      item.body
    end

    def take_messages(ack)
      items = [shift]
      bytes = items.first.size
      while (item = @items.first) && item.method == :message && items.size < FRAME_MESSAGES &&
            (bytes += item.size) <= FRAME_BYTES
        items << shift
      end
      batches = items.slice_when { |one, two| one.identifier != two.identifier || two.number != one.number + 1 }
      send_frame("messages", %("batches":[#{batches.map { |batch| batch_of(batch) }.join(',')}]), items, ack)
    end

    def batch_of(items)
      first = items.first
      "[#{JSON.generate(first.identifier)},#{@sender},#{first.number},#{items.size},[#{items.map(&:body).join(',')}]]"
    end

    def send_frame(method, body, items, ack)
      @flight.push(frame = Frame.new(@last += 1, method, body, items))
      count(frame, 1)
      text(frame, ack)
    end

    def count(frame, sign)
      @flight_bytes += sign * frame.size
      @in_flight += sign * frame.messages
    end

    def text(frame, ack)
      @acknowledged = ack
      %({"jsonrpc":"2.0","method":"#{frame.method}","params":{"n":#{frame.n},"ack":#{ack},#{frame.body}}})
    end

    def shift = @items.shift.tap { |item| @bytes -= item.size }

    # @return [Boolean] whether there was a message to be dropped
    def drop
      index = @items.index(&:message?) or return false
      @bytes -= @items.delete_at(index).size
      @dropped += 1
      true
    end
  end
end
