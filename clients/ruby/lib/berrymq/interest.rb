# frozen_string_literal: true

module BerryMQ
  # What the other side of a link follows. Used with the link's lock held.
  # @api private
  class Interest
    MAX_KNOWN = 4096

    def initialize
      @patterns = {}
      @known = {}
      @everything = @heard = false
    end

    # @return [Boolean] whether it was announced at all
    def known? = @heard

    # @param params [Hash] of a frame `interest`
    # @raise [ProtocolError, IdentifierError]
    def update(params)
      add, remove = %w[add remove].map { |key| params[key] || [] }
      raise ProtocolError, "an interest is a list of identifiers" unless add.is_a?(Array) && remove.is_a?(Array)

      added = add.to_h { |text| [text, Identifier.parse(text)] }
      if params["reset"]
        @patterns = {}
        @everything = false
      end
      @everything ||= params["everything"] == true
      remove.each { |text| @patterns.delete(text) }
      @patterns.update(added)
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
end
