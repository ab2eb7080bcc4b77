# frozen_string_literal: true

module BerryMQ
  class Link
    # The thread of the connection: connects, resumes, reads and writes.
    # @api private
    module Connection
      private

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
        lose(result["lost"].to_i)
        if result["resumed"] == true && former == result["id"]
          frames = @lock.synchronize { @outbox.resend(Integer(result["received"]), @received) }
          raise ProtocolError, "the other side has received more than was sent" unless frames

          @acknowledged = @received
          frames.each { |text| socket.send_text(text) }
          @arrivals.resume
          @bus.groups.each(&:resume)
        else
          started(former, result["id"])
        end
        call_again
      end

      # Begin at a node that knows nothing of this link.
      def started(former, node)
        @arrivals.restart
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
        @bus.groups.each { |group| group.join(self, keeps: !former.nil? && former != node) } if @hub
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
          pulls, released = @arrivals.outgoing
          @outbox.push_control(Outbox::Item.new("release", nil, nil, %("memory":#{released}), false)) if released.any?
          pulls.each { |text| socket.send_text(text) }
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
        wake if socket.pending.zero? && @lock.synchronize { @outbox.ready? || @arrivals.outgoing? }
      end

      # Followers that are slow have the other side wait, and not this one collect without end.
      def acknowledgeable
        @delivery.full? ? @acknowledged : @received
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
    end
  end
end
