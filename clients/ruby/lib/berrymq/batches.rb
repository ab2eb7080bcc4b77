# frozen_string_literal: true

require "json"

module BerryMQ
  # Messages as frames have them: in batches, with large buffers beside them.
  # @api private
  module Batches
    MAX_BUFFERS = 12 * 1024 * 1024 # that are sent in base64

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

    # @return [Array] the part of this node in an answer
    # @raise [PayloadError]
    def answer(source, values, errors)
      encoder = Values::Encoder.new
      answer = [source, encoder.encode(values), encoder.encode(errors)]
      size = encoder.buffers.sum(&:bytesize)
      raise PayloadError, "the answer has #{size} bytes; #{MAX_BUFFERS} can cross" if size > MAX_BUFFERS

      size.zero? ? answer : [*answer, beside(encoder.buffers)]
    end

    # @return [Hash] the parameters of a frame for the buffers of its message
    def beside(buffers)
      return {} if buffers.empty?

      row = buffers.map { |buffer| buffer.b + ("\0" * Pulls.padding(buffer.bytesize)) }.join
      { memory: [row].pack("m0"), sizes: buffers.map(&:bytesize), reason: "" }
    end

    # @return [Array] the batch, if it is one
    # @raise [ProtocolError]
    def check(batch)
      raise ProtocolError, "that is no batch" unless batch.is_a?(Array)

      text, origin, source, first, count, messages = batch
      return batch if text.is_a?(String) && origin.is_a?(String) && source.is_a?(String) && first.is_a?(Integer) &&
                      messages.is_a?(Array) && count == messages.size

      raise ProtocolError, "that is no batch"
    end

    # @param batch [Array]
    # @param buffers [Array<String, nil>] those beside it
    # @return [Array<Message>]
    # @raise [ProtocolError, IdentifierError]
    def read(batch, buffers = [], past: false)
      text, origin, source, first, _, messages = check(batch)
      identifier = Identifier.parse(text)
      messages.each_with_index.map do |message, index|
        read_message(message, identifier, buffers, source:, past:, origin:, number: first + index)
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

    # @param params [Hash] of a frame
    # @return [Array<String, nil>] the buffers that are in the frame itself, nil for those that are gone
    # @raise [ProtocolError]
    def buffers_in(params)
      sizes = params["sizes"] or return []
      Pulls.check(sizes)
      return Array.new(sizes.size) unless params["memory"].is_a?(String)

      memory = params["memory"].unpack1("m0")
      raise ProtocolError, "the sizes of buffers are wrong" if Pulls.extent(sizes) > memory.bytesize

      Pulls.split(memory, sizes)
    end
  end
end
