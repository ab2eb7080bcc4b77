# frozen_string_literal: true

module BerryMQ
  # What a follower is called with. Read-only.
  #
  #   case message
  #   in { action: "epoch", kwargs: { loss: } } then puts loss
  #   end
  class Message
    # @return [Identifier]
    attr_reader :identifier
    # @return [Array] what was sent by position; also `message[0]`
    attr_reader :args
    # @return [Hash{Symbol => Object}] what was sent by keyword; also `message[:loss]`
    attr_reader :kwargs
    # @return [String, nil] the name of the node that sent it; nil for one of this process
    attr_reader :source
    # @return [Float] in seconds since 1970
    attr_reader :sent_at
    # @return [Identifier, nil] where followers' results go, of a message by `talk`
    attr_reader :callback
    # @api private
    # @return [String, Integer, nil] the node that published it and its number there
    attr_reader :origin, :number

    def initialize(identifier, args = [], kwargs = {}, source: nil, sent_at: nil, past: false, callback: nil,
                   origin: nil, number: nil)
      @identifier = Identifier.parse(identifier)
      @args = args.freeze
      @kwargs = kwargs.freeze
      @source = source
      @sent_at = sent_at || Time.now.to_f
      @past = past
      @callback = callback
      @origin = origin
      @number = number
    end

    # @return [String] the canonical text of the identifier
    def id = identifier.text
    # @return [String]
    def name = identifier.name
    # @return [String]
    def action = identifier.action
    # @return [String, nil]
    def namespace = identifier.namespace
    # @return [Boolean] whether it was retained before the follower began
    def past? = @past

    # @param key [Integer, Symbol, String] a position or a keyword
    def [](key)
      key.is_a?(Integer) ? args[key] : kwargs[key.to_sym]
    end

    # Call a block with what was sent.
    def apply
      yield(*args, **kwargs)
    end

    def deconstruct_keys(_keys)
      { name:, action:, namespace:, args:, kwargs:, source:, sent_at:, past: past? }
    end

    # @api private
    # @return [Message] the same one, with its number at a link
    def numbered(origin, number)
      Message.new(identifier, args, kwargs, source:, sent_at:, past: @past, callback:, origin:, number:)
    end

    def inspect
      values = [*args.map(&:inspect), *kwargs.map { |key, value| "#{key}: #{value.inspect}" }].join(", ")
      "#<BerryMQ::Message #{id}(#{values[0, 200]})#{" from #{source}" if source}>"
    end
    alias to_s inspect
  end
end
