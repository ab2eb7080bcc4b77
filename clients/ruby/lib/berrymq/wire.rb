# frozen_string_literal: true

require "json"

module BerryMQ
  # Messages as frames have them.
  # @api private
  module Wire
    module_function

    # @return [Array(String, Array<String>)] a message as JSON, and its large buffers
    # @raise [PayloadError]
    def encode(message)
      encoder = Values::Encoder.new
      values = [message.sent_at.round(6), encoder.encode(message.args), encoder.encode(message.kwargs)]
      values << message.callback.text if message.callback
      json = JSON.generate(values, max_nesting: 0)
      size = json.bytesize + encoder.buffers.sum { |buffer| buffer.bytesize * 4 / 3 }
      return [json, encoder.buffers] if size <= Values::MAX_PAYLOAD

      raise PayloadError, "the message #{message.id} has #{size} bytes; #{Values::MAX_PAYLOAD} can cross"
    end

    # @return [Array] the answers of this node: one, or none where nothing follows
    # @raise [PayloadError]
    def answers(source, values, errors)
      return [] if values.empty? && errors.empty?

      encoder = Values::Encoder.new
      answer = [source, encoder.encode(values), encoder.encode(errors)]
      size = encoder.buffers.sum(&:bytesize)
      raise PayloadError, "the answer has #{size} bytes; #{Buffers::MAX_SENT} can cross" if size > Buffers::MAX_SENT

      [size.zero? ? answer : [*answer, Buffers.beside(encoder.buffers)]]
    end

    # @return [Array] the batch, if it is one
    # @raise [ProtocolError]
    def check(batch)
      case batch
      in [String, String, String, Integer, Integer => count, Array => messages, *] if messages.size == count then batch
      else raise ProtocolError, "that is no batch"
      end
    end

    # @param batch [Array]
    # @param buffers [Array<String, nil>] those beside it
    # @return [Array<Message>]
    # @raise [ProtocolError, IdentifierError]
    def read(batch, buffers = [], past: false)
      text, origin, source, first, _, messages = batch
      identifier = Identifier.parse(text)
      messages.map.with_index(first) do |message, number|
        read_message(message, identifier, buffers, source:, past:, origin:, number:)
      end
    end

    # @param message [Array] `[sent_at, args, kwargs]`, and the identifier of a callback
    # @return [Message]
    # @raise [ProtocolError, IdentifierError]
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
  end
end
