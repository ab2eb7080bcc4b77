# frozen_string_literal: true

require "json"
require "openssl"
require "securerandom"

module BerryMQ
  # Opens a WebSocket to a node, on which both sides have proved that they know the access token.
  # @api private
  class Handshake
    # @return [WebSocket]
    attr_reader :socket
    # @return [Boolean] whether the node is a hub
    attr_reader :hub

    # An error that the node answered.
    class Refusal < LinkError; end

    # @param found [Discovery::Found]
    # @param deadline [Float] by {Clock}
    # @yield [Handshake] if the block fails, the connection is closed
    # @raise [NoHubError, RefusedError, LinkError]
    def self.open(found, deadline)
      handshake = new(found, deadline)
      begin
        handshake.greet
        yield handshake
      rescue StandardError
        handshake.socket.close
        raise
      end
    rescue WebSocket::Cut => e
      raise e.code == 1008 ? RefusedError : NoHubError, "no link to #{found.url}: #{e.message}"
    rescue Refusal => e
      raise e.code == -32_001 ? RefusedError : LinkError, "#{found.url} refuses: #{e.message}"
    end

    def initialize(found, deadline)
      @found = found
      @deadline = deadline
      @last = 0
      raise RefusedError, "the access token has invalid characters" unless found.token.match?(/\A[\x20-\x7e]*\z/)
      raise RefusedError, "an access token is required: pass it as token:" if found.token.empty?

      # TLS or Jupyter stands for the node, so that it may see the token.
      @trusted = found.secure? || found.jupyter?
      headers = @trusted ? { "Authorization" => "Bearer #{found.token}" } : {}
      @socket = WebSocket.new(found.websocket, headers:, deadline:)
    end

    # Call a method; frames that arrive before its answer are not expected.
    # @return the result
    # @raise [Refusal, LinkError]
    def call(method, params)
      id = (@last += 1)
      @socket.send_text(JSON.generate({ jsonrpc: "2.0", id:, method:, params: }))
      loop do
        _, text = @socket.receive(@deadline - Clock.now) || raise(NoHubError, "#{@found.url} does not answer in time")
        answer = JSON.parse(text)
        raise ProtocolError, "#{@found.url} sent something that is no JSON-RPC" unless answer.is_a?(Hash)
        next if answer.key?("method") || ![id, nil].include?(answer["id"])

        error = answer["error"]
        raise Refusal.new(error["message"].to_s, error["code"]) if error.is_a?(Hash)

        return answer["result"]
      end
    rescue JSON::ParserError
      raise ProtocolError, "#{@found.url} sent something that is not JSON"
    end

    # @param resume [Hash, nil] the link to be resumed; else, or if that can't be, a new one is made
    # @return [Hash] the answer
    def interconnect(params, resume = nil)
      result = begin
        call("interconnect", { **params, resume: }.compact)
      rescue Refusal => e
        raise unless resume && e.code == -32_602

        call("interconnect", params)
      end
      return result if result.is_a?(Hash) && result["id"].is_a?(String)

      raise ProtocolError, "#{@found.url} gives no id"
    end

    # Learn what the node is, and have it and this side prove that they know the token.
    def greet
      own = SecureRandom.hex(16)
      hello = call("hello", { nonce: own })
      raise LinkError, "something listens at #{@found.url} that is no berryMQ node" unless hello.is_a?(Hash)

      @hub = hello["hub"] == true
      return if @trusted

      nonce, port = hello.values_at("nonce", "port")
      proof = ->(side) { OpenSSL::HMAC.hexdigest("SHA256", @found.token, "berrymq #{side} #{own} #{nonce} #{port}") }
      known = hello["proof"].is_a?(String) && OpenSSL.secure_compare(hello["proof"], proof.("server"))
      unless known && (port == @found.uri.port || !@found.loopback?)
        raise RefusedError, "the program at #{@found.url} does not know the access token, so it was not sent: either " \
                            "the token is wrong, or another program has taken the port"
      end
      call("authenticate", { proof: proof.("client") })
    end
  end
end
