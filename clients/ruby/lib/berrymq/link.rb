# frozen_string_literal: true

require "digest"
require "json"

require_relative "link/connection"
require_relative "link/receiving"

module BerryMQ
  # A live connection of a bus to the hub, or to a node. It reconnects and resumes by itself: within the `ttl` a cut
  # loses, doubles and reorders nothing. Thread-safe.
  #
  # One thread reads and writes; another one calls the followers, in order.
  class Link
    include Connection
    include Receiving

    KEEPALIVE = 5
    SILENCE = 15
    HANDSHAKE = 5
    MAX_BACKOFF = 5.0
    MAX_FOLLOWED = 10_000
    MAX_NESTING = 200
    MAX_FRAME = 1024 * 1024
    PULL_SECONDS = 300
    WRITE_AHEAD = 256 * 1024
    FRAMES = %w[ack messages buffers interest ask answer dropped past jobs group gone].freeze

    # @return [Symbol] `:connecting`, `:linked`, `:reconnecting` or `:closed`
    attr_reader :state
    # @return [String] the public id of this node, and its name
    attr_reader :id, :name

    @live = []
    class << self
      # @api private
      # @return [Array<Link>] those that are closed at exit
      attr_reader :live

      # @api private
      def close_all
        @live.dup.each { |link| link.close(timeout: 2) if link.own_process? }
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
      @delivery = Delivery.new { wake }
      @state = :connecting
      @questions = {}
      @calls = {}
      @replays = {}
      @listeners = []
      @arrivals = Arrivals.new(@id, @lock)
      @peer = Interest.new
      @sequence = @last_call = @received = @acknowledged = 0
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
      @delivery.start
      @thread = Thread.new { run(handshake) }
      @thread.name = "berrymq link"
      Link.live << self
      wait_for([deadline, Clock.now + 2].min) { @peer.known? || @closing }
      self
    rescue LinkError
      [@read_end, @write_end].each(&:close)
      raise
    end

    # Wait until the other side has all that was sent.
    # @param timeout [Numeric, nil] in seconds
    # @return [Boolean] whether it has
    def flush(timeout: nil)
      return true unless own_process?

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
      @thread.join(2) || @thread.kill
      BerryMQ.logger.warn("#{left} messages did not get through before the link was closed") if left.positive?
      ended
      @delivery.finish(timeout)
      flushed && left.zero?
    end

    def closed? = @state == :closed

    # Call a block with the state of the link, now and whenever it changes.
    # @yieldparam state [Symbol]
    def on_state(&block)
      @lock.synchronize do
        @listeners << block
        state = @state
        @delivery.push { block.call(state) }
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
    # @return [Boolean] whether a URL is that of the other side
    def to?(url) = Discovery.parse(url) == @found.uri

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

      json, buffers = Batches.encode(message)
      question = @lock.synchronize do
        number = (@last_call += 1)
        body = members({ question: number }, message, @sequence += 1, json, buffers)
        @outbox.push(Outbox::Item.new("ask", nil, number, body, true))
        @questions[number] = Question.new(number, self)
      end
      wake
      question
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
      json, buffers = Batches.encode(message)
      @lock.synchronize do
        body = members({ group: }, message, @sequence += 1, json, buffers)
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
      raise LinkError, "past: is retained by hubs alone, and #{@found.url} is none" unless @hub

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
      group.join(self) if @hub
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
      json, buffers = Batches.encode(message)
      number = @lock.synchronize do
        number = (@sequence += 1)
        @outbox.push(if buffers.empty?
                       Outbox::Item.new(:message, message.id, number, json, true)
                     else
                       Outbox::Item.new("buffers", nil, number, members({}, message, number, json, buffers), true)
                     end)
        number
      end
      wake
      report_drops(@outbox.dropped, "too many messages wait to be sent") if @outbox.dropped.positive?
      message.numbered(@id, number)
    end

    # @return [String] members of a frame with one message
    def members(params, message, number, json, buffers)
      batch = "[#{JSON.generate(message.id)},#{JSON.generate(@id)},#{JSON.generate(@name)},#{number},1,[#{json}]]"
      others = JSON.generate({ **params, **Batches.beside(buffers) })[1..-2]
      [%("batch":#{batch}), others].reject(&:empty?).join(",")
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

    # -- states ----------------------------------------------------------------------------------------------------

    def change_state(state)
      @lock.synchronize do
        return if @state == state || @state == :closed

        @state = state
        @changed.broadcast
        @listeners.each { |block| @delivery.push { block.call(state) } }
      end
    end

    def ended
      return if closed?

      change_state(:closed)
      Link.live.delete(self)
      @bus.groups.each(&:unlink)
      @bus.unlinked(self)
      waiting, replays = @lock.synchronize do
        [@questions.values + @calls.values.map(&:first), @replays.values.tap { @replays = {} }]
      end
      waiting.each { |question| question.abandon(ClosedError.new("the link was closed")) }
      replays.each { |replay| @delivery.push { deliver_replay(replay) } }
      [@read_end, @write_end].each(&:close)
    end

    def report_drops(count, reason)
      return if @reported_drops

      @reported_drops = true
      BerryMQ.logger.warn("#{count} messages were dropped: #{reason}; see BerryMQ::Link#stats for what follows")
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
