# frozen_string_literal: true

require "digest"
require "json"
require "monitor"
require "openssl"
require "securerandom"

module BerryMQ
  # A live connection of a bus to the hub, or to a node. It reconnects and resumes by itself: within the `ttl` a cut
  # loses, doubles and reorders nothing. Thread-safe.
  #
  # One thread reads, one writes, and one calls the followers, in order.
  class Link
    include Groups
    include History

    KEEPALIVE = 5
    SILENCE = 15
    HANDSHAKE = 5
    CONCLUDE = 3
    MAX_BACKOFF = 5.0
    MAX_FOLLOWED = 10_000
    MAX_FOLLOWED_BYTES = 512 * 1024
    MAX_NESTING = 200
    MAX_UNDELIVERED = 10_000
    FRAMES = %w[ack messages buffers interest ask answer dropped past jobs group gone].freeze
    # The errors that reading raises when something does not have the form that WIRE.md describes.
    MALFORMED = [JSON::ParserError, IdentifierError, KeyError, TypeError, ArgumentError, NoMethodError].freeze
    OPEN = [] # rubocop:disable Style/MutableConstant

    # What is awaited: the answers of nodes to a question, or of the hub to a call.
    Answer = Struct.new(:number, :result, :error)
    private_constant :MALFORMED, :OPEN, :Answer

    at_exit { OPEN.dup.each { |link| link.close(timeout: 2) if link.own_process? } }

    # @return [Symbol] `:connecting`, `:linked`, `:reconnecting` or `:closed`
    attr_reader :state
    # @return [String] the public id of this node, and its name
    attr_reader :id, :name

    # @api private
    def initialize(bus, url, token:, name:, room:, ttl:)
      @bus, @url, @token, @name, @room, @ttl = bus, url, token, name.to_s, room, ttl
      @key = SecureRandom.hex(32)
      @id = Digest::SHA256.hexdigest("berrymq node #{@key}")[0, 16]
      @pid = Process.pid
      @lock = Monitor.new
      @changed = @lock.new_cond
      @outbox, @buffers, @deliveries = Outbox.new(@id, @name), Buffers.new(@lock), Thread::Queue.new
      @interest, @deduplicator = Interest.new, Deduplicator.new(@id)
      @questions, @calls, @replays, @listeners = {}, {}, {}, []
      @sequence = @last_id = @received = @delivered = @lost = @reconnects = 0
      @state = :connecting
    end

    # Connect, and wait until it is known what the other side follows.
    # @api private
    # @yield once the link can be used
    # @raise [NoHubError, RefusedError, PermissionsError, LinkError]
    def open(timeout)
      deadline = Clock.now + timeout
      socket = connect(deadline)
      yield self
      @interest_due = true # of what was followed while it was made
      @delivering = Thread.new { deliver }.tap { |thread| thread.name = "berrymq delivery" }
      @running = Thread.new { run(socket) }.tap { |thread| thread.name = "berrymq link" }
      OPEN << self
      wait_until([deadline, Clock.now + 2].min) { @interest.known? || closed? }
      self
    end

    # Wait until the other side has everything that was sent.
    # @param timeout [Numeric, nil] in seconds
    # @return [Boolean] whether it has
    def flush(timeout: nil)
      return true unless own_process?

      wait_until(timeout && (Clock.now + timeout)) { @outbox.empty? || closed? }
      @outbox.empty?
    end

    # End the link in good order.
    # @param timeout [Numeric] the seconds in which the other side may still receive what is buffered
    # @return [Boolean] whether it got everything
    def close(timeout: 2)
      return true if closed? || !own_process?

      @bus.groups.each(&:unlink)
      flush(timeout:) if @state == :linked
      update { @closing = true }
      @running.join(2) || @running.kill
      left = @outbox.unsent
      BerryMQ.logger.warn("#{left} messages did not get through before the link was closed") if left.positive?
      ended
      @delivering.join(timeout) unless Thread.current == @delivering
      left.zero?
    end

    def closed? = @state == :closed

    # Call a block with the state of the link, now and whenever it changes.
    # @yieldparam state [Symbol]
    def on_state(&block)
      @lock.synchronize do
        @listeners << block
        report_state(block)
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

    def inspect = "#<BerryMQ::Link #{@state} #{@found&.url}>"

    # -- for the bus -----------------------------------------------------------------------------------------------

    # @api private
    # @return [Boolean] whether a URL is that of the other side
    def to?(url) = Discovery.parse(url) == @found.uri

    # @api private
    def own_process? = Process.pid == @pid

    # @api private
    def interest_changed = update { @interest_due = true }

    # Send a message, if the other side follows it.
    # @api private
    # @return [Message, nil] the message with its number
    def publish(message)
      return unless wanted?(message) || group?(message)
      return warn_of_fork unless own_process?

      number = send_message(message)
      report_drops(@outbox.dropped, "too many messages wait to be sent") if @outbox.dropped.positive?
      message.numbered(@id, number)
    end

    # @api private
    # @return [Answer, nil] what {#answers} takes; nil where nothing follows on the other side
    def ask(message)
      return unless wanted?(message)
      return warn_of_fork unless own_process?

      @lock.synchronize do
        number = (@last_id += 1)
        send_message(message, "ask", question: number)
        @questions[number] = Answer.new(number)
      end
    end

    # Wait for the answers to a question; after the timeout, for those that the hub has by then.
    # @api private
    # @return [Array(Array, Array, Array)] the values, the errors, and the nodes that have not answered; nil for none
    def answers(question, timeout)
      found = await(question, timeout)
      control("conclude", { question: question.number }) if @hub && !found
      values, errors, unanswered = found ||= await(question, CONCLUDE) || [[], [], nil]
      [values, errors, (unanswered.to_a unless found && unanswered == [])]
    ensure
      @lock.synchronize { @questions.delete(question.number) }
    end

    # Send a frame that waits for no window.
    # @api private
    def control(method, params)
      body = JSON.generate(params)[1..-2]
      update do
        announce if @interest_due && @announced # before an answer, too
        @outbox.push(method, body, first: true)
      end
    end

    private

    # Change something, and wake the threads that wait for it.
    def update
      @lock.synchronize { yield.tap { @changed.broadcast } }
    end

    def wait_until(deadline)
      @lock.synchronize do
        until yield
          left = deadline && (deadline - Clock.now)
          break if left && left <= 0

          @changed.wait(left)
        end
      end
    end

    def await(answer, seconds)
      wait_until(Clock.now + seconds) { answer.result || answer.error }
      answer.result || (raise answer.error if answer.error)
    end

    # -- sending ---------------------------------------------------------------------------------------------------

    def wanted?(message)
      message.identifier.crosses? && @lock.synchronize { @interest.include?(message.identifier) }
    end

    # Send a message in a batch with others; in a frame of its own where it has large buffers, or a method is given.
    # @return [Integer] its number
    def send_message(message, method = nil, **params)
      json, buffers = Wire.encode(message)
      update do
        number = (@sequence += 1)
        if method || buffers.any?
          batch = "#{JSON.generate([message.id, @id, @name, number, 1])[..-2]},[#{json}]]"
          others = JSON.generate({ **params, **Buffers.beside(buffers) })[1..-2]
          body = [%("batch":#{batch}), others].reject(&:empty?).join(",")
          @outbox.push(method || "buffers", body, params[:question])
        else
          @outbox.push(:message, json, number, message.id)
        end
        number
      end
    end

    # Announce what the bus follows, as far as it has changed. The lock is held.
    def announce
      @interest_due = false
      wanted = @bus.interest
      wanted = :everything if wanted.size > MAX_FOLLOWED || wanted.sum(&:bytesize) > MAX_FOLLOWED_BYTES
      former, @announced = @announced, wanted
      return if wanted == former

      params = if wanted == :everything then { reset: true, everything: true }
               elsif former.is_a?(Array) then { add: wanted - former, remove: former - wanted }
               else { reset: true, add: wanted }
               end
      @outbox.push("interest", JSON.generate(params)[1..-2], first: true)
    end

    # @return [String, nil] the next text to be sent; the lock is held
    def outgoing
      announce if @interest_due
      released = @buffers.released
      @outbox.push("release", %("memory":#{released}), first: true) if released.any?
      # Followers that are slow have the other side wait, and not this one collect without end.
      @withheld = @deliveries.size > MAX_UNDELIVERED
      @buffers.take || @outbox.take(@withheld ? nil : @received)
    end

    def write(socket)
      until socket.closed?
        text = nil
        @lock.synchronize { @changed.wait_until { (text = outgoing) || socket.due? || socket.closed? || @closing } }
        socket.send_due
        next socket.send_text(text) if text
        return socket.send_close(1000) if @closing
      end
    rescue StandardError => e
      BerryMQ.log_errors([e], nil) unless e.is_a?(WebSocket::Cut)
      socket.close
    end

    # -- the connection --------------------------------------------------------------------------------------------

    def run(socket)
      attempt = 0
      until @closing
        begin
          socket ||= connect(Clock.now + HANDSHAKE)
          attempt = 0
          change_state(:linked)
          read(socket)
        rescue LinkError => e
          attempt += 2 if e.is_a?(ProtocolError)
          BerryMQ.logger.debug("link: #{e.message}")
        end
        socket = nil
        wait_to_reconnect(attempt) unless @closing
        attempt += 1
      end
    rescue StandardError => e
      BerryMQ.logger.error("the link has ended: #{e.full_message(highlight: false)}")
    ensure
      ended
    end

    def wait_to_reconnect(attempt)
      @bus.groups.each(&:pause)
      change_state(:reconnecting)
      seconds = attempt.zero? ? 0 : [0.05 * (2**[attempt, 10].min), MAX_BACKOFF].min * rand(0.5..1.0)
      wait_until(Clock.now + seconds) { @closing }
      @reconnects += 1
    end

    # @return [WebSocket]
    def connect(deadline)
      found = Discovery.find(@url, @token)
      Handshake.open(found, deadline) do |handshake|
        params = { name: @name, key: @key, ttl: @ttl, room: @room, pull: true }.compact
        unless handshake.hub
          params.update(id: @id, key: OpenSSL::HMAC.hexdigest("SHA256", @key, "berrymq direct #{found.url}"))
        end
        result = handshake.interconnect(params, @node && { id: @node, received: @received })
        @found, @hub = found, handshake.hub
        lose(result["lost"].to_i)
        result["resumed"] == true && @node == result["id"] ? resume(result) : start(result["id"])
        handshake.socket
      end
    end

    def resume(result)
      @lock.synchronize { @outbox.resume(Integer(result["received"]), @received) }
      @buffers.resume
      @bus.groups.each(&:resume)
    end

    # Begin at a node that knows nothing of this link.
    def start(node)
      @buffers.restart
      former, @node = @node, node
      update do
        @received = 0
        @announced = nil
        asked = @outbox.restart.filter_map { |item| item.number if item.method == "ask" }
        gone = ClosedError.new("the hub that had the question has gone")
        @questions.except(*asked).each_value { |question| question.error ||= gone }
      end
      @bus.groups.each { |group| group.join(self, keeps: !former.nil? && former != node) } if @hub
      @lock.synchronize { announce }
      replay_again if former
    end

    # Read until the connection ends, while another thread writes.
    def read(socket)
      writing = Thread.new { write(socket) }
      loop do
        kind, message = socket.receive(KEEPALIVE)
        raise WebSocket::Cut, "nothing was received for #{SILENCE} s" if Clock.now - socket.received_at > SILENCE

        kind ? receive(kind, message) : socket.ping
        update { nil }
      end
    rescue *MALFORMED, ProtocolError => e
      reason = e.is_a?(ProtocolError) ? e.message : "the other side sent something malformed: #{e.message[0, 200]}"
      socket.finish(1002, reason)
      raise ProtocolError, reason
    rescue WebSocket::Cut => e
      @lock.synchronize { @outbox.refused } if [1002, 1009].include?(e.code)
      raise
    ensure
      update { socket.close }
      writing&.join
    end

    # -- what arrives ----------------------------------------------------------------------------------------------

    def receive(kind, text)
      return if kind == WebSocket::PING
      return @buffers.piece(text) if kind == WebSocket::BINARY

      message = JSON.parse(text, max_nesting: MAX_NESTING, allow_duplicate_key: true)
      raise ProtocolError, "that is no JSON-RPC" unless message.is_a?(Hash)
      return answered(message) unless (method = message["method"])

      params = message["params"]
      return if !params.is_a?(Hash) && !FRAMES.include?(method) # of a later version

      @lock.synchronize { @outbox.acknowledge(Integer(params["ack"])) } if params["ack"]
      return (@buffers.gone(params["memory"]) if method == "gone") unless (number = params["n"])
      return if (number = Integer(number)) <= @received
      raise ProtocolError, "frame #{number} came after frame #{@received}" if number > @received + 1

      apply(method, params)
      @received = number
    end

    def apply(method, params)
      case method
      when "messages" then params.fetch("batches").each { |batch| take_batch(batch) }
      when "buffers" then take_batch(params.fetch("batch"), params)
      when "interest" then @lock.synchronize { @interest.update(params) }
      when "ask" then asked(params)
      when "answer" then take_answer(params)
      when "dropped" then lose(Integer(params.fetch("count")))
      when "past" then take_past(params)
      when "jobs" then take_jobs(params)
      when "group" then take_group(params)
      end
    end

    def take_batch(batch, params = {})
      identifier, origin, _, first, count = Wire.check(batch)
      places = @deduplicator.places(identifier, origin, first, count, hub: @hub)
      return if places.empty?

      @buffers.in_order([origin, identifier], params) do |buffers|
        messages = Wire.read(batch, buffers).values_at(*places).select { |message| message.identifier.crosses? }
        @delivered += messages.size
        messages.each do |message| # queues get it at once, followers on their thread
          BerryMQ.log_errors(@bus.dispatch(message, :queue)[1], message)
          @deliveries << -> { BerryMQ.log_errors(@bus.dispatch(message, :follower)[1], message) }
        end
      end
    end

    def asked(params)
      question = Integer(params.fetch("question"))
      identifier, origin, _, first, = batch = Wire.check(params.fetch("batch"))
      return control("answer", { question:, answers: [] }) unless @deduplicator.first?([origin, first]) # it comes again

      @buffers.in_order([origin, identifier], params) do |buffers|
        message = Wire.read(batch, buffers).first
        @deliveries << -> { reply(question, message, *@bus.dispatch(message, :follower)) }
      end
    end

    def reply(question, message, values, errors)
      control("answer", { question:, answers: Wire.answers(@name, values, errors) })
    rescue PayloadError => e
      control("answer", { question:, answers: Wire.answers(@name, [], [e]) })
    ensure
      BerryMQ.log_errors(errors, message)
    end

    def take_answer(params)
      number = params.fetch("question")
      values, errors = [], []
      params.fetch("answers").each do |_source, some, failed, beside|
        @buffers.in_order([:question, number], beside.is_a?(Hash) ? beside : {}) do |buffers|
          decoder = Values::Decoder.new(buffers)
          values.concat(decoder.decode(some))
          errors.concat(decoder.decode(failed).map { |e| e.is_a?(Exception) ? e : RemoteError.new("Error", e.to_s) })
        end
      end
      @buffers.in_order([:question, number]) do
        finish(@questions[number], [values, errors, Array(params["unanswered"])])
      end
    end

    def finish(answer, result) = update { answer.result ||= result if answer }

    def lose(count)
      @lost += count
      report_drops(count, "the other side could not hold what this one did not take") if count.positive?
    end

    # The thread on which followers are called.
    def deliver
      while (work = @deliveries.pop)
        begin
          work.call
        rescue StandardError => e
          BerryMQ.log_errors([e], nil)
        end
        update { nil } if @withheld && @deliveries.size <= MAX_UNDELIVERED
      end
    end

    # -- states ----------------------------------------------------------------------------------------------------

    def change_state(state)
      update do
        next if @state == state || closed?

        @state = state
        @listeners.each { |listener| report_state(listener) }
      end
    end

    def report_state(listener)
      state = @state
      @deliveries << -> { listener.call(state) } unless @deliveries.closed?
    end

    def ended
      return if closed?

      @bus.groups.each(&:unlink)
      @bus.unlinked(self)
      change_state(:closed)
      update do
        [*@questions.values, *@calls.values].each { |one| one.error ||= ClosedError.new("the link was closed") }
        end_replays
        @deliveries.close
      end
      OPEN.delete(self)
    end

    def report_drops(count, reason)
      BerryMQ.logger.warn("#{count} messages were dropped: #{reason}; see BerryMQ::Link#stats") unless @reported_drops
      @reported_drops = true
    end

    def warn_of_fork
      BerryMQ.logger.warn("a forked process has no link of its parent: call BerryMQ.link there") unless @warned
      @warned = true
      nil
    end

    # What the other side of a link follows. Used with the link's lock held.
    class Interest
      MAX_KNOWN = 4096

      def initialize
        @patterns, @known = {}, {}
      end

      # @return [Boolean] whether it was announced at all
      def known? = @announced

      # @param params [Hash] of a frame `interest`
      # @raise [ProtocolError, IdentifierError]
      def update(params)
        add, remove = %w[add remove].map { |key| params[key] || [] }
        raise ProtocolError, "an interest is a list of identifiers" unless [add, remove].all?(Array)

        added = add.to_h { |text| [text, Identifier.parse(text)] }
        @patterns, @everything = {}, false if params["reset"]
        @everything ||= params["everything"] == true
        @patterns = @patterns.except(*remove).merge(added)
        @announced, @known = true, {}
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

    # Which messages were received before, and are ignored when they come again.
    class Deduplicator
      MAX_HIGHEST = 50_000
      MAX_RECEIVED = 65_536

      def initialize(own)
        @own = own
        @highest, @received = {}, {}
      end

      # @param hub [Boolean] whether they come from a hub
      # @return [Array<Integer>] the places of those messages of a batch that were not received before
      def places(identifier, origin, first, count, hub:)
        return [] if origin == @own
        return (0...count).select { |index| first?([origin, first + index]) } unless hub

        # Over a hub the numbers of one origin and identifier ascend.
        highest = @highest.delete([origin, identifier]) || 0
        @highest[[origin, identifier]] = [highest, first + count - 1].max
        @highest.shift if @highest.size > MAX_HIGHEST
        ([highest - first + 1, 0].max...count).to_a
      end

      # @param key [Array(String, Integer)] the origin and number of a message
      # @return [Boolean] whether it was not received before
      def first?(key)
        return false if @received.key?(key)

        @received.shift if @received.size >= MAX_RECEIVED
        @received[key] = true
      end
    end
    private_constant :Interest, :Deduplicator
  end
end
