# frozen_string_literal: true

module BerryMQ
  class Link
    # What arrives, on the thread of the connection.
    # @api private
    module Receiving
      private

      def handle(kind, text)
        return @arrivals.piece(text) if kind == WebSocket::BINARY

        message = JSON.parse(text, max_nesting: MAX_NESTING, allow_duplicate_key: true)
        raise ProtocolError, "that is no JSON-RPC" unless message.is_a?(Hash)
        return answered(message) unless message.key?("method")

        params = message["params"]
        unless params.is_a?(Hash)
          return unless FRAMES.include?(message["method"]) # of a later version

          raise ProtocolError, "a frame without parameters"
        end
        acknowledged(params["ack"])
        number = params["n"]
        if number.nil? # it has none, or is of a later version
          @arrivals.gone(params["memory"]) if message["method"] == "gone"
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
        when "interest" then @lock.synchronize { @peer.update(params) }
        when "ask" then asked(params)
        when "answer" then take_answer(params)
        when "dropped" then lose(Integer(params.fetch("count")))
        when "past" then take_past(params)
        when "jobs" then take_jobs(params)
        when "group" then group_of(params)&.update(params)
        end
      end

      def take_batch(batch, params = {})
        identifier, origin, = Batches.check(batch)
        fresh = @arrivals.fresh_in(batch, hub: @hub)
        return if fresh.empty?

        @arrivals.in_order([origin, identifier], params) do |buffers|
          messages = Batches.read(batch, buffers)
          accept(fresh.size == messages.size ? messages : messages.values_at(*fresh))
        end
      end

      # Take live messages: queues get them at once, followers on their thread.
      def accept(messages)
        messages = messages.select { |message| message.identifier.crosses? }
        return if messages.empty?

        @delivered += messages.size
        messages.each { |message| dispatch(message, :queue) }
        @delivery.push(messages.size) { messages.each { |message| dispatch(message, :follower) } }
      end

      def dispatch(message, kind)
        BerryMQ.log_errors(@bus.dispatch(message, kind)[1], message)
      end

      def asked(params)
        question = Integer(params.fetch("question"))
        batch = Batches.check(params.fetch("batch"))
        @arrivals.in_order([batch[1], batch[0]], params) do |buffers|
          message = Batches.read(batch, buffers).first
          @delivery.push { reply(question, message, *@bus.dispatch(message, :follower)) }
        end
      end

      def reply(question, message, values, errors)
        answer = Batches.answer(@name, values, errors)
        control("answer", { question:, answers: values.empty? && errors.empty? ? [] : [answer] })
      rescue PayloadError => e
        control("answer", { question:, answers: [Batches.answer(@name, [], [e])] })
      ensure
        BerryMQ.log_errors(errors, message)
      end

      def take_answer(params)
        number = params.fetch("question")
        question = @lock.synchronize { @questions[number] }
        values = []
        errors = []
        params.fetch("answers").each do |_source, some, failed, beside|
          @arrivals.in_order([:question, number], beside.is_a?(Hash) ? beside : {}) do |buffers|
            decoder = Values::Decoder.new(buffers)
            values.concat(decoder.decode(some))
            errors.concat(failed.map { |error| as_error(decoder.decode(error)) })
          end
        end
        @arrivals.in_order([:question, number]) { question&.finish(values, errors, Array(params["unanswered"])) }
      end

      def as_error(value)
        value.is_a?(Exception) ? value : RemoteError.new("Error", value.to_s)
      end

      def take_past(params)
        number = params.fetch("query")
        replay = @replays[number] or return
        batches = (params["batches"] || []).each { |batch| Batches.check(batch) }
        @arrivals.in_order([:query, number], params) do |buffers|
          batches.each { |batch| replay.messages.concat(Batches.read(batch, buffers, past: true)) }
          finish_past(number, replay) if params["end"] == true
        end
      end

      def finish_past(number, replay)
        @lock.synchronize { @replays.delete(number) }
        return deliver_replay(replay) if replay.subscription.kind == :queue

        @delivery.push(replay.messages.size) { deliver_replay(replay) }
      end

      def deliver_replay(replay)
        replay.subscription.replayed(replay.messages) { |message| deliver_past(replay.subscription, message) }
      end

      def deliver_past(subscription, message)
        subscription.target.call(message) if subscription.accepts?(message)
      rescue StandardError => e
        BerryMQ.log_errors([e], message)
      end

      # @param message [Hash] as `history` has it
      def retained(message)
        Batches.read_message([message["sent_at"], message["args"], message["kwargs"]], Identifier.parse(message["id"]),
                             buffers_of(message), source: message["source"], past: true, origin: nil, number: message["n"])
      end

      def buffers_of(message)
        return Array(message["buffers"]).map { |one| one.unpack1("m0") if one.is_a?(String) } unless message["sizes"]
        return Batches.buffers_in(message) unless Pulls.number?(message["memory"])

        pulled = Question.new(nil, self)
        @arrivals.pull(message) { |buffers| pulled.finish(*buffers) }
        wake
        pulled.result(PULL_SECONDS) || Array.new(message["sizes"].size)
      end

      def take_jobs(params)
        jobs = params.fetch("jobs").each { |number, batch| Integer(number) && Batches.check(batch) }
        @arrivals.in_order([:group, params["group"]], params) do |buffers|
          found = jobs.flat_map do |first, batch|
            Batches.read(batch, buffers).each_with_index.map { |message, index| [first + index, message] }
          end
          group_of(params)&.receive(found)
        end
      end

      def group_of(params)
        @bus.groups.find { |group| group.identifier.text == params["group"] && group.link? }
      end

      def lose(count)
        @lost += count
        report_drops(count, "the other side could not hold what this one did not take") if count.positive?
      end

      def answered(message)
        question, = @lock.synchronize { @calls[message["id"]] }
        error = message["error"]
        question&.finish(message["result"], error.is_a?(Hash) ? error : nil)
      end
    end
  end
end
