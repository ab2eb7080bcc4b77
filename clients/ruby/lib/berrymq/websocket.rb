# frozen_string_literal: true

require "digest/sha1"
require "openssl"
require "securerandom"
require "socket"

module BerryMQ
  # The client's side of a WebSocket (RFC 6455). One thread may read while another one writes.
  # @api private
  class WebSocket
    MAX_MESSAGE = 24 * 1024 * 1024
    MAX_HEAD = 16 * 1024
    CHUNK = 256 * 1024
    STUCK = 15
    TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
    OPCODES = [0, TEXT, BINARY, CLOSE, PING, PONG].freeze
    REFUSALS = { 401 => RefusedError, 403 => RefusedError, 404 => NoHubError, 503 => NoHubError }.freeze

    # The connection has ended, or was cut.
    class Cut < LinkError; end

    # @return [Float] when something was received last, by {Clock}
    attr_reader :received_at

    # @param uri [URI] `http` or `https`, with the path of the WebSocket
    # @param headers [Hash{String => String}]
    # @param deadline [Float] by {Clock}
    # @raise [NoHubError, RefusedError, LinkError]
    def initialize(uri, headers: {}, deadline: Clock.now + 5)
      @in, @parts = String.new(encoding: Encoding::BINARY), String.new(encoding: Encoding::BINARY)
      @due = {}
      @writing = Mutex.new
      @received_at = Clock.now
      @socket = Socket.tcp(uri.hostname, uri.port, connect_timeout: [deadline - Clock.now, 0.01].max)
      @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      @io = uri.scheme == "https" ? secure(uri.hostname, deadline) : @socket
      open(uri, headers, deadline)
    rescue SystemCallError, SocketError, IOError, OpenSSL::SSL::SSLError, LinkError => e
      close
      raise e if e.is_a?(LinkError) && !e.is_a?(Cut)

      raise NoHubError, "nothing that is a hub answers at #{uri}: #{e.message}"
    end

    # @return [Array(Integer, String), nil] TEXT or BINARY and the next message, or PING; nil after so many seconds
    # @raise [Cut] the connection has ended
    # @raise [ProtocolError] the other side violates the protocol; the connection is closed with the code for that
    def receive(seconds)
      deadline = Clock.now + seconds
      until (message = next_message)
        fill(deadline) or return
      end
      message
    end

    # @raise [Cut]
    def send_text(text) = send_frame(TEXT, text)

    # Have {#send_due} send a ping.
    def ping = @due[PING] = ""

    # @return [Boolean] whether a ping or a pong is to be sent
    def due? = @due.any?

    # @raise [Cut]
    def send_due
      while (opcode, payload = @due.shift)
        send_frame(opcode, payload)
      end
    end

    # Begin to close; nothing is sent after that.
    # @raise [Cut]
    def send_close(code, reason = "")
      send_frame(CLOSE, [code].pack("n") + reason.byteslice(0, 120).scrub("").b)
      @closing = true
    end

    # Close with a code, and give the other side a moment to read it.
    def finish(code, reason, seconds: 0.5)
      send_close(code, reason)
      deadline = Clock.now + seconds
      @in.clear while Clock.now < deadline && fill(deadline)
    rescue Cut
      nil
    ensure
      close
    end

    # Cut the connection; a thread that reads or writes gets a {Cut}.
    def close
      @closed = true
      @socket&.shutdown
    rescue SystemCallError, IOError
      nil
    ensure
      @socket&.close
    end

    def closed? = @closed

    private

    def secure(host, deadline)
      context = OpenSSL::SSL::SSLContext.new.tap(&:set_params)
      tls = OpenSSL::SSL::SSLSocket.new(@socket, context)
      tls.hostname = host unless host.match?(/\A[\d.]+\z|:/)
      while (wanted = tls.connect_nonblock(exception: false)).is_a?(Symbol)
        wait(wanted, deadline) or raise NoHubError, "no answer in time"
      end
      tls.post_connection_check(host)
      tls
    end

    def open(uri, headers, deadline)
      key = SecureRandom.base64(16)
      host = uri.port == uri.default_port ? uri.host : "#{uri.host}:#{uri.port}"
      fields = { "Host" => host, "Upgrade" => "websocket", "Connection" => "Upgrade", "Sec-WebSocket-Key" => key,
                 "Sec-WebSocket-Version" => "13", "Sec-WebSocket-Protocol" => "berrymq.v1", **headers }
      write("GET #{uri.request_uri} HTTP/1.1\r\n#{fields.map { |name, value| "#{name}: #{value}\r\n" }.join}\r\n")
      status, *fields = read_head(deadline).split("\r\n")
      code = status.to_s[%r{\AHTTP/1\.[01] (\d{3})}, 1].to_i
      raise REFUSALS.fetch(code, LinkError), "#{uri} opens no WebSocket: #{status.scrub[0, 80]}" unless code == 101

      fields = fields.to_h { |line| line.split(":", 2).then { |name, value| [name.downcase, value.to_s.strip] } }
      accept = [Digest::SHA1.digest("#{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")].pack("m0")
      return if fields.values_at("sec-websocket-accept", "sec-websocket-protocol") == [accept, "berrymq.v1"]

      raise LinkError, "what listens at #{uri} does not speak berrymq.v1"
    end

    def read_head(deadline)
      until (ending = @in.index("\r\n\r\n"))
        raise LinkError, "no HTTP server listens there" if @in.bytesize > MAX_HEAD

        fill(deadline) or raise NoHubError, "no answer in time"
      end
      @in.slice!(0, ending + 4)
    end

    def wait(wanted, deadline)
      @socket.public_send(wanted, [deadline - Clock.now, 0].max)
    end

    # Read what is there, or wait for it.
    # @return [Boolean] false if nothing came in time
    def fill(deadline)
      data = @io.read_nonblock(CHUNK, exception: false)
      return wait(data, deadline) if data.is_a?(Symbol)
      raise Cut, "the connection was cut" if data.nil?

      @received_at = Clock.now
      @in << data
    rescue SystemCallError, IOError, OpenSSL::SSL::SSLError => e
      raise Cut, e.message
    end

    # @raise [Cut] also if the other side reads nothing for so long
    def send_frame(opcode, payload)
      @writing.synchronize { write(frame_of(opcode, payload)) unless @closing }
    end

    def write(bytes)
      until bytes.empty?
        written = @io.write_nonblock(bytes, exception: false)
        if written.is_a?(Integer) then bytes = bytes.byteslice(written..)
        else wait(written, Clock.now + STUCK) or raise Cut, "the other side reads nothing"
        end
      end
    rescue SystemCallError, IOError, OpenSSL::SSL::SSLError => e
      raise Cut, e.message
    end

    def frame_of(opcode, payload)
      size = payload.bytesize
      mask = SecureRandom.bytes(4)
      head = if size < 126 then [0x80 | opcode, 0x80 | size].pack("CC")
             elsif size < 65_536 then [0x80 | opcode, 0xfe, size].pack("CCn")
             else [0x80 | opcode, 0xff, size].pack("CCQ>")
             end
      head << mask << masked(payload, mask)
    end

    def masked(payload, mask)
      key = (mask * 2).unpack1("Q")
      padded = payload.b << ("\0" * (-payload.bytesize % 8))
      padded.unpack("Q*").map! { |word| word ^ key }.pack("Q*").byteslice(0, payload.bytesize)
    end

    def next_message
      while (opcode, last, payload = next_frame)
        case opcode
        when CLOSE then closed_by(payload)
        when PING
          @due[PONG] = payload
          return [PING, payload]
        when PONG then next
        else
          add(opcode, payload)
          return whole if last
        end
      end
    end

    # @return [Array(Integer, Boolean, String), nil] opcode, whether it is the last part, payload
    def next_frame
      return if @in.bytesize < 2

      first, size = @in.unpack("CC")
      opcode = first & 15
      valid = OPCODES.include?(opcode) && (first & 0x70).zero? && size < 128 && (opcode < 8 || (first > 127 && size < 126))
      violation(1002, "the head of a frame is wrong") unless valid
      head = { 126 => 4, 127 => 10 }.fetch(size, 2)
      return if @in.bytesize < head

      size = @in.byteslice(2, head - 2).unpack1(head == 4 ? "n" : "Q>") if head > 2
      violation(1009, "a message of more than #{MAX_MESSAGE} bytes") if size + @parts.bytesize > MAX_MESSAGE
      return if @in.bytesize < head + size

      payload = @in.byteslice(head, size)
      @in = @in.byteslice((head + size)..)
      [opcode, first > 127, payload]
    end

    def add(opcode, payload)
      violation(1002, "a part of a message is out of place") if opcode.zero? == @kind.nil?
      @kind ||= opcode
      @parts << payload
    end

    def whole
      kind, message = @kind, @parts
      @kind, @parts = nil, String.new(encoding: Encoding::BINARY)
      return [kind, message] if kind == BINARY || message.force_encoding(Encoding::UTF_8).valid_encoding?

      violation(1007, "a text that is not UTF-8")
    end

    def closed_by(payload)
      code = payload.unpack1("n") || 1005
      send_close(code == 1005 ? 1000 : code)
      raise Cut.new("the other side closed the connection (#{code})", code)
    end

    def violation(code, reason)
      finish(code, reason)
      raise ProtocolError, reason
    end
  end
end
