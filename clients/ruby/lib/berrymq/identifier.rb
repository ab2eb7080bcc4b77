# frozen_string_literal: true

module BerryMQ
  # The address of a message and the filter of a follower: `name:action` or `name@namespace:action`, where `*` stands
  # for a whole name or action, on either side. Immutable, and equal by its text.
  #
  #   BerryMQ::Identifier.parse("train:epoch").match?("train:*")   # => true
  class Identifier
    WILDCARD = "*"
    MAX_PART = 255

    # @return [String] the parts, `"*"` for a wildcard
    attr_reader :name, :action
    # @return [String, nil]
    attr_reader :namespace
    # @return [String] the canonical text
    attr_reader :text
    alias to_s text

    @cache = {}

    class << self
      # @param value [String, Symbol, Identifier]
      # @return [Identifier]
      # @raise [IdentifierError]
      def parse(value)
        return value if value.is_a?(Identifier)

        @cache[value] || parse_new(value)
      end

      private

      def parse_new(value)
        unless value.is_a?(String) || value.is_a?(Symbol)
          raise IdentifierError, "an identifier is text such as \"test:run\", not a #{value.class}"
        end
        text = value.to_s.encode(Encoding::UTF_8)
        raise IdentifierError, "#{text.inspect[0, 80]} is not valid UTF-8" unless text.valid_encoding?

        new(*split(text)).tap do |identifier|
          @cache = {} if @cache.size >= 4096
          @cache[value.is_a?(String) ? value.dup.freeze : value] = identifier
        end
      rescue EncodingError
        raise IdentifierError, "#{value.inspect[0, 80]} can't be written in UTF-8"
      end

      def split(text)
        head, colon, action = text.partition(":")
        if action.include?(":")
          raise IdentifierError, "#{text[0, 60].inspect} has more than one ':'; write one as in \"test:run\""
        end
        if action.include?("@")
          raise IdentifierError, "#{text[0, 60].inspect} has '@' after the ':'; write one as in \"test@lab:run\""
        end
        name, at, namespace = head.partition("@")
        [name, colon.empty? ? WILDCARD : action, at.empty? ? nil : namespace]
      end
    end

    # @raise [IdentifierError] a part is not valid
    def initialize(name, action = WILDCARD, namespace = nil)
      @text = -(namespace ? "#{name}@#{namespace}:#{action}" : "#{name}:#{action}")
      check("name", name)
      check("action", action)
      check("namespace", namespace) if namespace
      @name = -name
      @action = -action
      @namespace = namespace && -namespace
      freeze
    end

    # @param other [String, Identifier]
    # @return [Boolean] whether a message of one reaches a follower of the other; symmetric
    def match?(other)
      other = Identifier.parse(other)
      namespace == other.namespace && part?(name, other.name) && part?(action, other.action)
    end

    # Lets identifiers filter messages in `case` and `grep`.
    def ===(other)
      match?(other.respond_to?(:identifier) ? other.identifier : other)
    rescue IdentifierError
      false
    end

    # @return [Boolean] whether the name begins with `_`: such messages never leave the process
    def local?
      name.start_with?("_")
    end

    # @return [Boolean] whether it may cross a link
    def crosses?
      !local? && name != "berrymq"
    end

    # @return [Boolean] whether name or action is the wildcard
    def wild?
      name == WILDCARD || action == WILDCARD
    end

    def ==(other)
      other.is_a?(Identifier) && text == other.text
    end
    alias eql? ==

    def hash
      text.hash
    end

    def inspect
      "#<BerryMQ::Identifier #{text}>"
    end

    private

    def part?(one, other)
      one == other || one == WILDCARD || other == WILDCARD
    end

    def check(kind, part)
      problem = problem_of(kind, part) or return
      raise IdentifierError, "#{@text[0, 60].inspect} #{problem}"
    end

    def problem_of(kind, part)
      if part == WILDCARD
        "has '*' as its namespace: write that out" if kind == "namespace"
      elsif part.empty?
        "has an empty #{kind}; write one as in \"test:run\" or \"test:*\""
      elsif part.length > MAX_PART
        "has a #{kind} of #{part.length} characters; #{MAX_PART} is the most"
      elsif part.include?(WILDCARD)
        "has '*' inside its #{kind}; a wildcard stands for a whole part"
      elsif part.match?(/[:@]/)
        "has ':' or '@' inside its #{kind}; use another character"
      elsif part.match?(/[\u0000-\u001f\u007f-\u009f]/)
        "has a control character in its #{kind}; write it without"
      elsif part.match?(/\A[[:space:]]|[[:space:]]\z/)
        "has a space around its #{kind}; write it without"
      end
    end
  end
end
