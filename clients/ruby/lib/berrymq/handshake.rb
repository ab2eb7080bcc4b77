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
    class Refusal < LinkError
      attr_reader :code

      def initialize(code, text)
        @code = code
        super(text)
      end
    end

    # @param found [Discovery::Found]
    # @param deadline [Float] by {Clock}
    # @raise [NoHubError, RefusedError, LinkError]
    def initialize(found, deadline)
      @found = found
      @deadline = deadline
      @last = 0
      unless found.token.match?(/\A[\x20-\x7e]*\z/)
        raise RefusedError, "the access token has invalid characters; was it copied completely?"
      end

      explained do
        @socket = WebSocket.new(found.websocket, headers:, deadline:)
        trusted? ? greet : authenticate
      end
    end

    # Call a method; frames that arrive before its answer are not expected.
    # @return the result
    # @raise [Refusal, LinkError]
    def call(method, params)
      id = (@last += 1)
      @socket.send_text(JSON.generate({ jsonrpc: "2.0", id:, method:, params: }))
      loop do
        answer = parse(@socket.receive(@deadline)[1])
        next if answer.key?("method") || (answer["id"] != id && !answer["id"].nil?)

        error = answer["error"]
        raise Refusal.new(error["code"], error["message"].to_s) if error.is_a?(Hash)

        return answer["result"]
      end
    end

    # Run a block, whose errors are explained.
    def explained
      yield
    rescue Refusal => e
      close
      raise e.code == -32_001 ? RefusedError.new("#{url} refuses the access token: #{e.message}") : e
    rescue WebSocket::Refused => e
      close
      raise refused(e.status)
    rescue WebSocket::Cut => e
      close
      raise RefusedError, "#{url} refuses the access token" if e.code == 1008

      raise NoHubError, "no link to #{url}: #{e.message}"
    rescue Errno::ECONNREFUSED
      raise NoHubError, "nothing is listening at #{url}; has it stopped, or is the port wrong?"
    rescue Errno::ETIMEDOUT
      raise NoHubError, "#{url} does not answer in time"
    rescue SocketError, SystemCallError, OpenSSL::SSL::SSLError => e
      close
      raise NoHubError, "no connection to #{url}: #{e.message}"
    rescue LinkError
      close
      raise
    end

    def close
      @socket&.close
    end

    private

    def url = @found.url

    # Whether TLS or Jupyter stands for the node, so that it may see the token.
    def trusted? = !@found.token.empty? && (@found.secure? || @found.jupyter?)

    def headers
      trusted? ? { "Authorization" => "Bearer #{@found.token}" } : {}
    end

    def greet
      @nonce = SecureRandom.hex(16)
      hello = call("hello", { nonce: @nonce })
      raise LinkError, "something listens at #{url} that is no berryMQ node" unless hello.is_a?(Hash)

      @hub = hello["hub"] == true
      hello
    end

    def authenticate
      raise RefusedError, "an access token is required: pass it as token:" if @found.token.empty?

      hello = greet
      nonce, port = hello.values_at("nonce", "port")
      proof = proof("server", nonce, port)
      known = hello["proof"].is_a?(String) && OpenSSL.secure_compare(hello["proof"], proof)
      unless known && (port == @found.uri.port || !@found.loopback?)
        raise RefusedError, "the program at #{url} does not know the access token, so it was not sent: either the " \
                            "token is wrong, or another program has taken the port"
      end
      call("authenticate", { proof: proof("client", nonce, port) })
    end

    def proof(side, nonce, port)
      OpenSSL::HMAC.hexdigest("SHA256", @found.token, "berrymq #{side} #{@nonce} #{nonce} #{port}")
    end

    def parse(text)
      answer = JSON.parse(text)
      return answer if answer.is_a?(Hash)

      raise ProtocolError, "#{url} sent something that is no JSON-RPC"
    rescue JSON::ParserError
      raise ProtocolError, "#{url} sent something that is not JSON"
    end

    def refused(status)
      case status
      when 401, 403 then RefusedError.new("#{url} refuses the access token (HTTP #{status})")
      when 404 then NoHubError.new("there is no berryMQ node at #{url} (HTTP 404)")
      when 503 then NoHubError.new("#{url} has too many connections (HTTP 503)")
      else LinkError.new("#{url} did not open a WebSocket (HTTP #{status})")
      end
    end
  end
end
