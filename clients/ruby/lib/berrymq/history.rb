# frozen_string_literal: true

module BerryMQ
  class Link
    # Calls of the hub; what it retains, asked for, or delivered to a follower before the live messages.
    module History
      PULL_SECONDS = 300

      # A query for retained messages, and what has come of its answer.
      Replay = Struct.new(:subscription, :last, :messages)
      private_constant :Replay

      # @return [Array<Hash>] the nodes at the hub, in the room of this link
      def nodes = call("nodes", {})

      # Follow with what the hub retains.
      # @api private
      def replay(subscription, past)
        raise LinkError, "past: is retained by hubs alone, and #{@found.url} is none" unless @hub

        last = past == true ? nil : Integer(past)
        subscription.await_replay
        @bus.add(subscription)
        @lock.synchronize do
          number = (@last_id += 1)
          @replays[number] = Replay.new(subscription, last, [])
          announce if @announced
          query(number)
        end
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

      private

      # Call a method of the hub.
      def call(method, params, timeout: 10)
        raise ClosedError, "the link is closed" if closed?

        answer = @lock.synchronize do
          id = (@last_id += 1)
          @outbox.push(:call, JSON.generate({ jsonrpc: "2.0", id:, method:, params: }), id)
          @changed.broadcast
          @calls[id] = Answer.new(id)
        end
        result, error = await(answer, timeout) ||
                        raise(LinkError, "the hub does not answer #{method.inspect} within #{timeout} s")
        return result unless error

        raise error["code"] == -32_006 ? IdentifierError : LinkError, error["message"].to_s
      ensure
        @lock.synchronize { @calls.delete(answer.number) } if answer
      end

      def answered(message)
        error = message["error"]
        @lock.synchronize { @outbox.calls.delete(message["id"]) }
        finish(@calls[message["id"]], [message["result"], (error if error.is_a?(Hash))])
      end

      def query(number)
        replay = @replays[number]
        body = JSON.generate({ query: number, identifier: replay.subscription.identifier.text, last: replay.last })
        update { @outbox.push("replay", body[1..-2], number) }
      end

      # A query is not answered on a link that was started again.
      def replay_again
        @lock.synchronize do
          @replays.each do |number, replay|
            replay.messages.clear
            query(number)
          end
        end
      end

      def end_replays
        @replays.each_value { |replay| @deliveries << -> { deliver_replay(replay) } }
        @replays.clear
      end

      def take_past(params)
        number = params.fetch("query")
        replay = @replays[number] or return
        batches = (params["batches"] || []).each { |batch| Wire.check(batch) }
        @buffers.in_order([:query, number], params) do |buffers|
          batches.each { |batch| replay.messages.concat(Wire.read(batch, buffers, past: true)) }
          finish_past(number, replay) if params["end"] == true
        end
      end

      def finish_past(number, replay)
        @lock.synchronize { @replays.delete(number) }
        replay.subscription.kind == :queue ? deliver_replay(replay) : @deliveries << -> { deliver_replay(replay) }
      end

      def deliver_replay(replay)
        subscription = replay.subscription
        subscription.replayed(replay.messages) do |message|
          subscription.target.call(message) if subscription.accepts?(message)
        rescue StandardError => e
          BerryMQ.log_errors([e], message)
        end
      end

      # @param message [Hash] as `history` has it
      def retained(message)
        Wire.read_message(message.values_at("sent_at", "args", "kwargs"), Identifier.parse(message["id"]),
                          buffers_of(message), source: message["source"], past: true, number: message["n"])
      end

      def buffers_of(message)
        return Array(message["buffers"]).map { |one| one.unpack1("m0") if one.is_a?(String) } unless message["sizes"]
        return Buffers.inside(message) unless message["memory"].is_a?(Integer)

        answer = Answer.new
        @buffers.pull(message) { |buffers| finish(answer, buffers) }
        update { nil }
        await(answer, PULL_SECONDS) || Array.new(message["sizes"].size)
      end
    end
  end
end
