# frozen_string_literal: true

require "digest"
require "json"

module BerryMQ
  # A live connection of a bus to the hub, or to a node. It reconnects and resumes by itself: within the `ttl` a cut
  # loses, doubles and reorders nothing. Thread-safe.
  #
  # One thread reads and writes; another one calls the followers, in order.
  class Link
    KEEPALIVE = 5
    SILENCE = 15
    HANDSHAKE = 5
    MAX_BACKOFF = 5.0
    MAX_WAITING = 10_000
    MAX_ORIGINS = 10_000
    MAX_SEEN = 65_536
    MAX_FOLLOWED = 10_000
    MAX_NESTING = 200
    MAX_FRAME = 1024 * 1024
    MAX_BUFFERS = 12 * 1024 * 1024 # that are sent in base64
    PULL_SECONDS = 300
    WRITE_AHEAD = 256 * 1024
    FRAMES = %w[ack messages buffers interest ask answer dropped past jobs group gone].freeze

    # @return [Symbol] `:connecting`, `:linked`, `:reconnecting` or `:closed`
    attr_reader :state
    # @return [String] the public id of this node, and its name
    attr_reader :id, :name

    @open = []
    class << self
      # @api private
      # @return [Array<Link>] those that are closed at exit
      attr_reader :open

      # @api private
      def close_all
        @open.dup.each { |link| link.close(timeout: 2) if link.own_process? }
      end
    end
    at_exit { Link.close_all }

    # @api private
    def initialize(bus, url, token:, name:, room:, ttl:)
      @bus = bus
      @url = url
      @token = token
      @name = name.to_s
      @room = room
      @ttl = ttl
      @key = SecureRandom.hex(32)
      @id = Digest::SHA256.hexdigest("berrymq node #{@key}")[0, 16]
      @pid = Process.pid
      @lock = Monitor.new
      @changed = @lock.new_cond
      @outbox = Outbox.new(@id, @name)
      @inbox = Thread::Queue.new
      @state = :connecting
      @questions = {}
      @calls = {}
      @replays = {}
      @listeners = []
      @highest = {}
      @seen = {}
      @pulls = Pulls.new
      @held = {}
      @peer = Interest.new
      @sequence = @last_call = @received = @acknowledged = @waiting = 0
      @delivered = @lost = @reconnects = 0
      @interest_due = @woken = @closing = @everything = false
      @announced = nil
      @read_end, @write_end = IO.pipe
    end

    # Connect, and wait until it is known what the other side follows.
    # @api private
    # @yield once the link can be used
    # @raise [NoHubError, RefusedError, PermissionsError, LinkError]
    def open(timeout)
      deadline = Clock.now + timeout
      found = Discovery.find(@url, @token)
      handshake = connect(found, deadline)
      yield self
      @interest_due = true # of what was followed while it was made
      @deliverer = Thread.new { deliver }
      @thread = Thread.new { run(handshake) }
      @deliverer.name = "berrymq delivery"
      @thread.name = "berrymq link"
      Link.open << self
      wait_for([deadline, Clock.now + 2].min) { @peer.known? || @closing }
      self
    end

    # Wait until the other side has all that was sent.
    # @param timeout [Numeric, nil] in seconds
    # @return [Boolean] whether it has
    def flush(timeout: nil)
      wait_for(timeout && (Clock.now + timeout)) { @outbox.empty? || closed? }
      @lock.synchronize { @outbox.empty? }
    end

    # End the link in good order.
    # @param timeout [Numeric] the seconds in which the other side may still get what it has not
    # @return [Boolean] whether it got everything
    def close(timeout: 2)
      return true if closed? || !own_process?

      @bus.groups.each(&:unlink)
      flushed = @state != :linked ? false : flush(timeout:)
      left = @lock.synchronize do
        @closing = true
        @outbox.unsent
      end
      wake
      unless Thread.current == @thread
        @thread.join(2) || @thread.kill
      end
      BerryMQ.logger.warn("#{left} messages did not get through before the link was closed") if left.positive?
      ended
      flushed && left.zero?
    end

    def closed? = @state == :closed

    # Call a block with the state of the link, now and whenever it changes.
    # @yieldparam state [Symbol]
    def on_state(&block)
      @lock.synchronize do
        @listeners << block
        @inbox << -> { block.call(@state) }
      end
      self
    end

    # @return [Hash{Symbol => Integer}] counters: `sent` and `received` messages, `backlog` and `in_flight` of those to
    #   be sent, `dropped` here since there were too many, `lost` on the other side, `reconnects`
    def stats
      @lock.synchronize do
        { state: @state, sent: @sequence, received: @delivered, backlog: @outbox.backlog, in_flight: @outbox.in_flight,
          dropped: @outbox.dropped, lost: @lost, reconnects: @reconnects }
      end
    end

    # @return [Array<Hash>] the nodes at the hub, in the room of this link
    def nodes = call("nodes", {})

    def inspect = "#<BerryMQ::Link #{@state} #{@found&.url}>"

    # -- for the bus -----------------------------------------------------------------------------------------------

    # @api private
    def own_process?
      Process.pid == @pid
    end

    # Send a message, if the other side follows it.
    # @api private
    # @return [Message, nil] the message with its number
    def publish(message)
      return unless message.identifier.crosses? && (wanted?(message.identifier) || group?(message.identifier))
      return warn_of_fork unless own_process?

      send_message(message)
    end

    # @api private
    # @return [Question, nil] nil where nothing follows on the other side
    def ask(message)
      return unless message.identifier.crosses? && wanted?(message.identifier)
      return warn_of_fork unless own_process?

      json, buffers = encode(message)
      @lock.synchronize do
        number = (@last_call += 1)
        question = @questions[number] = Question.new(number, self)
        body = %("question":#{number},"batch":#{batch(message, @sequence += 1, json)}#{beside(buffers)})
        @outbox.push(Outbox::Item.new("ask", nil, number, body, true))
        question
      end.tap { wake }
    end

    # @api private
    def conclude(question)
      control("conclude", { question: question.number }) if @hub
    end

    # @api private
    def forget(question)
      @lock.synchronize { @questions.delete(question.number) }
    end

    # Put a message into a group of shared queues, and into no other queue.
    # @api private
    def put(group, message)
      json, buffers = encode(message)
      @lock.synchronize do
        body = %("group":#{JSON.generate(group)},"batch":#{batch(message, @sequence += 1, json)}#{beside(buffers)})
        @outbox.push(Outbox::Item.new("put", nil, nil, body, true))
      end
      wake
    end

    # Send a frame that waits for no window.
    # @api private
    def control(method, params)
      body = JSON.generate(params)[1..-2]
      @lock.synchronize { @outbox.push_control(Outbox::Item.new(method, nil, nil, body, false)) }
      wake
    end

    # Follow with what the hub retains.
    # @api private
    def replay(subscription, past)
      last = past == true ? nil : Integer(past)
      subscription.await_replay
      @bus.add(subscription)
      @lock.synchronize do
        number = (@last_call += 1)
        @replays[number] = Replay.new(subscription, last, [])
        announce if @announced
        @outbox.push(replay_item(number))
      end
      wake
    end

    # @api private
    def join(group)
      group.join(self)
    end

    # @api private
    def keep(identifier, last)
      call("keep", { identifier: identifier.text, last: Integer(last), name: @name })
    end

    # @api private
    # @return [Array<Message>]
    def past(identifier, last)
      messages = []
      params = { identifier: identifier.text, last: last && Integer(last) }.compact
      loop do
        answer = call("history", params)
        found = answer.is_a?(Hash) && answer["messages"].is_a?(Array) ? answer["messages"] : []
        messages.concat(found.map { |one| retained(one) })
        return messages unless answer["more"] && found.any?

        params = { identifier: identifier.text, after: found.last["n"] }
      end
    end

    # @api private
    def interest_changed
      @interest_due = true
      wake
    end

    # What the other side follows.
    # @api private
    class Interest
      MAX_KNOWN = 4096

      def initialize
        @patterns = {}
        @known = {}
        @everything = @heard = false
      end

      def known? = @heard

      def update(params)
        @patterns = {} if params["reset"]
        @everything = false if params["reset"]
        @everything ||= params["everything"] == true
        Array(params["remove"]).each { |text| @patterns.delete(text) }
        Array(params["add"]).each { |text| @patterns[text] = Identifier.parse(text) }
        @heard = true
        @known = {}
      end

      # @return [Boolean] whether it follows a message
      def include?(identifier)
        return true if @everything

        @known = {} if @known.size >= MAX_KNOWN
        @known.fetch(identifier.text) do |text|
          @known[text] = @patterns.each_value.any? { |pattern| pattern.match?(identifier) }
        end
      end
    end

    # A query for retained messages, and what has come of its answer.
    Replay = Struct.new(:subscription, :last, :messages)
    private_constant :Replay

    private

    # -- sending ---------------------------------------------------------------------------------------------------

    def wanted?(identifier)
      @lock.synchronize { @peer.include?(identifier) }
    end

    def group?(identifier)
      @bus.groups.any? { |group| group.link? && group.identifier.match?(identifier) }
    end

    def send_message(message)
      json, buffers = encode(message)
      numbered = @lock.synchronize do
        number = (@sequence += 1)
        item = if buffers.empty?
                 Outbox::Item.new(:message, message.id, number, json, true)
               else
                 Outbox::Item.new("buffers", nil, number, %("batch":#{batch(message, number, json)}#{beside(buffers)}), true)
               end
        @outbox.push(item)
        message.numbered(@id, number)
      end
      wake
      numbered
    end

    # @return [Array(String, Array<String>)] the message as JSON, and its large buffers
    def encode(message)
      encoder = Values::Encoder.new
      values = [message.sent_at.round(6), encoder.encode(message.args), encoder.encode(message.kwargs)]
      values << message.callback.text if message.callback
      json = JSON.generate(values, max_nesting: 0)
      size = json.bytesize + encoder.buffers.sum { |buffer| buffer.bytesize * 4 / 3 }
      return [json, encoder.buffers] if size <= Values::MAX_PAYLOAD

      raise PayloadError, "the message #{message.id} has #{size} bytes; #{Values::MAX_PAYLOAD} can cross"
    end

    def batch(message, number, json)
      "[#{JSON.generate(message.id)},#{JSON.generate(@id)},#{JSON.generate(@name)},#{number},1,[#{json}]]"
    end

    def beside(buffers)
      return "" if buffers.empty?

      %(,"memory":"#{in_a_row(buffers)}","sizes":#{JSON.generate(buffers.map(&:bytesize))},"reason":"")
    end

    # @return [String] base64
    def in_a_row(buffers)
      [buffers.map { |buffer| buffer.b + ("\0" * Pulls.padding(buffer.bytesize)) }.join].pack("m0")
    end

    def replay_item(number)
      replay = @replays[number]
      body = JSON.generate({ query: number, identifier: replay.subscription.identifier.text, last: replay.last })
      Outbox::Item.new("replay", nil, number, body[1..-2], false)
    end

    # Call a method of the hub.
    def call(method, params, timeout: 10)
      raise ClosedError, "the link is closed" if closed?

      question = @lock.synchronize do
        id = (@last_call += 1)
        json = JSON.generate({ jsonrpc: "2.0", id:, method:, params: })
        item = Outbox::Item.new(:call, nil, id, json, true)
        @outbox.push(item)
        @calls[id] = [question = Question.new(id, self), item]
        question
      end
      wake
      answer = question.result(timeout) or raise LinkError, "the hub does not answer #{method.inspect} within #{timeout} s"
      result, error = answer
      return result unless error

      raise error["code"] == -32_006 ? IdentifierError : LinkError, error["message"].to_s
    ensure
      @lock.synchronize { @calls.delete(question.number) } if question
    end

    def warn_of_fork
      unless @warned
        @warned = true
        BerryMQ.logger.warn("a forked process has no link of its parent: call BerryMQ.link there")
      end
      nil
    end

    # Write again what the bus follows, as far as it has changed. The lock is held.
    def announce
      @interest_due = false
      wanted = @bus.interest
      everything = wanted.size > MAX_FOLLOWED || wanted.sum(&:bytesize) > MAX_FRAME / 2
      return if everything && @everything

      reset = @announced.nil? || (@everything && !everything)
      params = if everything
                 { add: [], reset:, everything: true }
               elsif reset
                 { add: wanted, reset: true }
               else
                 { add: wanted - @announced, remove: @announced - wanted }
               end
      @everything = everything
      @announced = wanted
      return if !reset && !everything && params.values.all?(&:empty?)

      @outbox.push_control(Outbox::Item.new("interest", nil, nil, JSON.generate(params)[1..-2], false))
    end

    # -- the thread of the connection --------------------------------------------------------------------------------

    def run(handshake)
      attempt = 0
      loop do
        begin
          handshake ||= connect(Discovery.find(@url, @token), Clock.now + HANDSHAKE)
          socket = handshake.socket
          attempt = 0
          change_state(:linked)
          pump(socket)
          break
        rescue LinkError => e
          attempt += 2 if e.is_a?(ProtocolError)
          BerryMQ.logger.debug("link: #{e.message}")
        ensure
          socket&.close
          handshake = socket = nil
        end
        break if @closing

        disconnected
        pause(attempt)
        break if @closing

        attempt += 1
        @reconnects += 1
      end
    rescue StandardError => e
      BerryMQ.logger.error("the link has ended: #{e.full_message(highlight: false)}")
    ensure
      ended
    end

    def pause(attempt)
      return if attempt.zero?

      seconds = [0.05 * (2**[attempt, 10].min), MAX_BACKOFF].min * rand(0.5..1.0)
      deadline = Clock.now + seconds
      while !@closing && (left = deadline - Clock.now).positive?
        @read_end.wait_readable(left) && drain
      end
    end

    # @return [Handshake]
    def connect(found, deadline)
      handshake = Handshake.new(found, deadline)
      handshake.explained { interconnect(handshake, found) }
      handshake
    end

    def interconnect(handshake, found)
      params = { name: @name, key: @key, ttl: @ttl, room: @room, pull: true }.compact
      params.update(id: @id, key: direct_key(found)) unless handshake.hub
      resume = @node && { id: @node, received: @received }
      result = begin
        handshake.call("interconnect", resume ? params.merge(resume:) : params)
      rescue Handshake::Refusal => e
        raise unless resume && e.code == -32_602

        handshake.call("interconnect", params)
      end
      raise ProtocolError, "#{found.url} gives no id" unless result.is_a?(Hash) && result["id"].is_a?(String)

      @found = found
      @hub = handshake.hub
      linked(handshake.socket, result)
    end

    def direct_key(found)
      OpenSSL::HMAC.hexdigest("SHA256", @key, "berrymq direct #{found.url}")
    end

    def linked(socket, result)
      former = @node
      @lost += result["lost"].to_i
      if result["resumed"] == true && former == result["id"]
        frames = @lock.synchronize { @outbox.resend(Integer(result["received"]), @received) }
        raise ProtocolError, "the other side has received more than was sent" unless frames

        @acknowledged = @received
        frames.each { |text| socket.send_text(text) }
        @lock.synchronize { @pulls.resume }
        @bus.groups.each(&:resume)
      else
        started(former, result["id"])
      end
      call_again
    end

    # Begin at a node that knows nothing of this link.
    def started(former, node)
      @lock.synchronize { @pulls.restart }.each(&:call)
      @lock.synchronize do
        @node = node
        @received = @acknowledged = 0
        asked = @outbox.restart.filter_map { |item| item.number if item.method == "ask" }
        @announced = nil
        @everything = false
        unless former.nil?
          (@questions.keys - asked).each do |number|
            @questions.delete(number).abandon(ClosedError.new("the hub that had the question has gone"))
          end
        end
      end
      @bus.groups.each { |group| group.join(self, keeps: !former.nil? && former != node) }
      @lock.synchronize do
        announce
        @replays.each_value { |replay| replay.messages.clear }
        @outbox.unshift(@replays.keys.map { |number| replay_item(number) }) if former
      end
    end

    # Send calls again that were sent over the former connection and are not answered.
    def call_again
      @lock.synchronize do
        waiting = @outbox.calls
        again = @calls.values.map(&:last).reject { |item| waiting.include?(item) }
        @outbox.unshift(again)
      end
    end

    def disconnected
      @bus.groups.each(&:pause)
      change_state(:reconnecting)
    end

    def pump(socket)
      receive = method(:handle)
      socket.take_received(&receive)
      pinged = false
      loop do
        write(socket)
        return socket.finish(1000) if @closing

        silent = Clock.now - socket.heard_at
        raise WebSocket::Cut, "nothing was heard for #{SILENCE} s" if silent > SILENCE

        if silent < KEEPALIVE
          pinged = false
        elsif !pinged
          socket.ping
          pinged = true
        end
        wait_for_input(socket, silent)
        drain
        socket.read(&receive)
        @lock.synchronize { @changed.broadcast }
      end
    rescue JSON::ParserError, ProtocolError, IdentifierError, KeyError, TypeError, ArgumentError, NoMethodError => e
      fail_with(socket, e)
    end

    # What has not the form that WIRE.md describes ends the connection.
    def fail_with(socket, error)
      socket.finish(1002, error.is_a?(ProtocolError) ? error.message : "that is no frame", seconds: 0.5)
      raise error if error.is_a?(ProtocolError)

      raise ProtocolError, "the other side sent something malformed: #{error.message[0, 200]}"
    end

    def wait_for_input(socket, silent)
      return if socket.buffered?

      left = silent < KEEPALIVE ? KEEPALIVE - silent : SILENCE - silent
      IO.select([socket, @read_end], socket.pending.positive? ? [socket] : nil, nil, [left, 0.001].max + 0.01)
    end

    def write(socket)
      @lock.synchronize do
        announce if @interest_due
        ack = acknowledgeable
        released = @pulls.released
        @outbox.push_control(Outbox::Item.new("release", nil, nil, %("memory":#{released}), false)) if released.any?
        @pulls.take.each { |text| socket.send_text(text) }
        while socket.pending < WRITE_AHEAD && (text = @outbox.take(ack))
          @acknowledged = ack unless text.start_with?(%({"jsonrpc":"2.0","id"))
          socket.send_text(text)
        end
        if ack > @acknowledged
          @acknowledged = ack
          socket.send_text(%({"jsonrpc":"2.0","method":"ack","params":{"ack":#{ack}}}))
        end
      end
      socket.write
      wake if socket.pending.zero? && @lock.synchronize { @outbox.ready? || @pulls.any? }
    end

    # Followers that are slow have the other side wait, and not this one collect without end.
    def acknowledgeable
      @waiting > MAX_WAITING ? @acknowledged : @received
    end

    def wake
      @lock.synchronize do
        return if @woken

        @woken = true
      end
      @write_end.write_nonblock("!", exception: false)
    rescue IOError
      nil
    end

    def drain
      @lock.synchronize do
        return unless @woken

        @woken = false
        @read_end.read_nonblock(64, exception: false)
      end
    end

    # -- what arrives --------------------------------------------------------------------------------------------------

    def handle(kind, text)
      return @lock.synchronize { @pulls.receive(text) }&.call if kind == WebSocket::BINARY

      message = JSON.parse(text, max_nesting: MAX_NESTING)
      raise ProtocolError, "that is no JSON-RPC" unless message.is_a?(Hash)
      return answered(message) unless message.key?("method")

      params = message["params"]
      unless params.is_a?(Hash)
        return unless FRAMES.include?(message["method"]) # of a later version

        raise ProtocolError, "a frame without parameters"
      end
      acknowledged(params["ack"])
      number = params["n"]
      if number.nil? # an ack, or what a later version may add
        @lock.synchronize { @pulls.gone(params["memory"]) }&.call if message["method"] == "gone"
        return
      end
      raise ProtocolError, "the number of a frame is a number" unless number.is_a?(Integer)
      return if number <= @received
      raise ProtocolError, "frame #{number} came after frame #{@received}" if number > @received + 1

      apply(message["method"], params)
      @received = number
    end

    def acknowledged(number)
      return if number.nil?

      known = number.is_a?(Integer) && @lock.synchronize { @outbox.acknowledge(number) }
      raise ProtocolError, "a frame is acknowledged that was not sent" unless known
    end

    def apply(method, params)
      case method
      when "messages" then params.fetch("batches").each { |batch| take_batch(batch) }
      when "buffers" then take_batch(params.fetch("batch"), params)
      when "interest" then @lock.synchronize { @peer.update(checked_interest(params)) }
      when "ask" then asked(params)
      when "answer" then take_answer(params)
      when "dropped" then @lost += Integer(params.fetch("count"))
      when "past" then take_past(params)
      when "jobs" then take_jobs(params)
      when "group" then group_of(params)&.update(params)
      end
    end

    def checked_interest(params)
      known = %w[add remove].all? do |key|
        params[key].nil? || (params[key].is_a?(Array) && params[key].all? { |text| Identifier.parse(text) })
      end
      raise ProtocolError, "an interest is a list of identifiers" unless known

      params
    end

    # @return [Array<Message>]
    def read_batch(batch, buffers = [], past: false)
      text, origin, source, first, _, messages = check_batch(batch)
      identifier = Identifier.parse(text)
      messages.each_with_index.map do |message, index|
        read_message(message, identifier, buffers, source:, past:, origin:, number: first + index)
      end
    end

    def check_batch(batch)
      raise ProtocolError, "that is no batch" unless batch.is_a?(Array)

      text, origin, source, first, count, messages = batch
      return batch if text.is_a?(String) && origin.is_a?(String) && source.is_a?(String) && first.is_a?(Integer) &&
                      messages.is_a?(Array) && count == messages.size

      raise ProtocolError, "that is no batch"
    end

    def read_message(message, identifier, buffers, **options)
      sent_at, args, kwargs, callback = message
      unless sent_at.is_a?(Numeric) && args.is_a?(Array) && kwargs.is_a?(Hash)
        raise ProtocolError, "a message is [sent_at, args, kwargs]"
      end
      decoder = Values::Decoder.new(buffers)
      Message.new(identifier, args.map { |value| decoder.decode(value) },
                  kwargs.to_h { |key, value| [key.to_sym, decoder.decode(value)] },
                  sent_at:, callback: callback && Identifier.parse(callback), **options)
    end

    # Run a block with the buffers that lie beside a frame, when they are here; what has the same key comes after it.
    # @yield [Array<String, nil>]
    def in_order(key, params, &work)
      Pulls.check(params["sizes"]) if params["sizes"]
      return @held[key] << [params, work] if @held.key?(key)

      release_held(key, [[params, work]])
    end

    def release_held(key, waiting)
      while (params, work = waiting.shift)
        if Pulls.number?(params["memory"])
          @held[key] = waiting
          return pull(params) do |buffers|
            work.call(buffers)
            release_held(key, @held.delete(key))
          end
        end
        work.call(buffers_in(params))
      end
    end

    def pull(params, &done)
      sizes = Pulls.check(params["sizes"])
      return done.call(sizes.map { "" }) if sizes.sum.zero?

      @lock.synchronize { @pulls.push(params["memory"], sizes, &done) }
      wake
    end

    # @return [Array<String, nil>] the buffers that are in a frame itself
    def buffers_in(params)
      sizes = params["sizes"] or return []
      return Array.new(sizes.size) unless params["memory"].is_a?(String)

      memory = params["memory"].unpack1("m0")
      raise ProtocolError, "the sizes of buffers are wrong" if Pulls.extent(Pulls.check(sizes)) > memory.bytesize

      Pulls.split(memory, sizes)
    end

    def take_batch(batch, params = {})
      identifier, origin, = check_batch(batch)
      fresh = fresh_in(batch)
      return if fresh.empty?

      in_order([origin, identifier], params) do |buffers|
        messages = read_batch(batch, buffers)
        accept(fresh.size == messages.size ? messages : fresh.map { |index| messages[index] })
      end
    end

    # @return [Array<Integer>] which messages of a batch have not been received before, by their places
    def fresh_in(batch)
      _, origin, _, first, count = batch
      return [] if origin == @id

      unless @hub
        return (0...count).select do |index|
          key = [origin, first + index]
          next if @seen.key?(key)

          @seen.shift if @seen.size >= MAX_SEEN
          @seen[key] = true
        end
      end
      # Over a hub the numbers of an origin ascend; what is below was received before.
      highest = @highest.delete(origin) || 0
      @highest[origin] = [highest, first + count - 1].max
      @highest.shift if @highest.size > MAX_ORIGINS
      ([highest - first + 1, 0].max...count).to_a
    end

    # Take live messages: queues get them at once, followers on their thread.
    def accept(messages)
      messages = messages.select { |message| message.identifier.crosses? }
      return if messages.empty?

      @delivered += messages.size
      messages.each { |message| log_errors(@bus.dispatch(message, :queue)[1], message) }
      enqueue(messages.size) { messages.each { |message| deliver_one(message) } }
    end

    def deliver_one(message)
      log_errors(@bus.dispatch(message, :follower)[1], message)
    end

    def asked(params)
      question = Integer(params.fetch("question"))
      batch = check_batch(params.fetch("batch"))
      in_order([batch[1], batch[0]], params) do |buffers|
        message = read_batch(batch, buffers).first
        enqueue do
          values, errors = @bus.dispatch(message, :follower)
          reply(question, message, values, errors)
        end
      end
    end

    def reply(question, message, values, errors)
      follows = !values.empty? || !errors.empty?
      encoder = Values::Encoder.new
      answer = [@name, encoder.encode(values), encoder.encode(errors)]
      size = encoder.buffers.sum(&:bytesize)
      raise PayloadError, "the answer to #{message.id} has #{size} bytes; #{MAX_BUFFERS} can cross" if size > MAX_BUFFERS

      answer << { memory: in_a_row(encoder.buffers), sizes: encoder.buffers.map(&:bytesize), reason: "" } if size.positive?
      control("answer", { question:, answers: follows ? [answer] : [] })
    rescue PayloadError => e
      control("answer", { question:, answers: [[@name, [], [Values::Encoder.new.encode(e)]]] })
    ensure
      log_errors(errors, message)
    end

    def take_answer(params)
      number = params.fetch("question")
      question = @lock.synchronize { @questions[number] }
      values = []
      errors = []
      params.fetch("answers").each do |_source, some, failed, beside|
        in_order([:question, number], beside.is_a?(Hash) ? beside : {}) do |buffers|
          decoder = Values::Decoder.new(buffers)
          values.concat(decoder.decode(some))
          errors.concat(failed.map { |error| as_error(decoder.decode(error)) })
        end
      end
      in_order([:question, number], {}) { question&.finish(values, errors, Array(params["unanswered"])) }
    end

    def as_error(value)
      value.is_a?(Exception) ? value : RemoteError.new("Error", value.to_s)
    end

    def take_past(params)
      number = params.fetch("query")
      replay = @replays[number] or return
      batches = (params["batches"] || []).each { |batch| check_batch(batch) }
      in_order([:query, number], params) do |buffers|
        batches.each { |batch| replay.messages.concat(read_batch(batch, buffers, past: true)) }
        finish_past(number, replay) if params["end"] == true
      end
    end

    def finish_past(number, replay)
      @lock.synchronize { @replays.delete(number) }
      finish = lambda do
        replay.subscription.replayed(replay.messages) { |message| deliver_past(replay.subscription, message) }
      end
      replay.subscription.kind == :queue ? finish.call : enqueue(&finish)
    end

    def deliver_past(subscription, message)
      subscription.target.call(message) if subscription.accepts?(message)
    rescue StandardError => e
      log_errors([e], message)
    end

    # @param message [Hash] as `history` has it
    def retained(message)
      read_message([message["sent_at"], message["args"], message["kwargs"]], Identifier.parse(message["id"]),
                   buffers_of(message), source: message["source"], past: true, origin: nil, number: message["n"])
    end

    def buffers_of(message)
      return buffers_in(message) if message["sizes"] && !Pulls.number?(message["memory"])
      return Array(message["buffers"]).map { |one| one.is_a?(String) ? one.unpack1("m0") : nil } unless message["sizes"]

      pulled = Question.new(nil, self)
      pull(message) { |buffers| pulled.finish(*buffers) }
      pulled.result(PULL_SECONDS) || Array.new(message["sizes"].size)
    end

    def take_jobs(params)
      jobs = params.fetch("jobs").each { |number, batch| Integer(number) && check_batch(batch) }
      in_order([:group, params["group"]], params) do |buffers|
        found = jobs.flat_map do |first, batch|
          read_batch(batch, buffers).each_with_index.map { |message, index| [first + index, message] }
        end
        group_of(params)&.receive(found)
      end
    end

    def group_of(params)
      @bus.groups.find { |group| group.identifier.text == params["group"] && group.link? }
    end

    def answered(message)
      question, = @lock.synchronize { @calls[message["id"]] }
      error = message["error"]
      question&.finish(message["result"], error.is_a?(Hash) ? error : nil)
    end

    # -- the delivery thread -------------------------------------------------------------------------------------------

    def enqueue(count = 1, &work)
      @lock.synchronize { @waiting += count }
      @inbox << [count, work]
    end

    def deliver
      while (count, work = @inbox.pop)
        begin
          work ? work.call : count.call
        rescue StandardError => e
          log_errors([e], nil)
        end
        next unless work

        held_back = @waiting > MAX_WAITING
        @lock.synchronize { @waiting -= count }
        wake if held_back && @waiting <= MAX_WAITING
      end
    end

    def log_errors(errors, message)
      errors.each do |error|
        BerryMQ.logger.error("a follower of #{message&.id || 'the link'} failed: #{error.full_message(highlight: false)}")
      end
    end

    def change_state(state)
      @lock.synchronize do
        return if @state == state || @state == :closed

        @state = state
        @changed.broadcast
        @listeners.each { |block| @inbox << -> { block.call(state) } }
      end
    end

    def ended
      return if closed?

      change_state(:closed)
      Link.open.delete(self)
      @bus.groups.each(&:unlink)
      @bus.unlinked(self)
      @lock.synchronize { @questions.values + @calls.values.map(&:first) }.each do |question|
        question.abandon(ClosedError.new("the link was closed"))
      end
      @inbox.close
      @deliverer.join(1) unless [@deliverer, @thread].include?(Thread.current)
    end

    def wait_for(deadline)
      @lock.synchronize do
        until yield
          left = deadline && (deadline - Clock.now)
          break if left && left <= 0

          @changed.wait(left)
        end
      end
    end
  end
end
