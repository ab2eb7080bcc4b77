# frozen_string_literal: true

require "digest/sha1"
require "openssl"
require "securerandom"
require "socket"
require "uri"

module BerryMQ
  # The client's side of a WebSocket (RFC 6455), without blocking once it is open. Not thread-safe.
  # @api private
  class WebSocket
    MAX_MESSAGE = 24 * 1024 * 1024
    MAX_HEAD = 16 * 1024
    CHUNK = 256 * 1024
    READS = 16 # at once, so that what is to be sent has its turn
    TEXT = 1
    BINARY = 2

    # The connection has ended, or was cut.
    class Cut < LinkError
      attr_reader :code

      def initialize(message = "the connection was cut", code = nil)
        super(message)
        @code = code
      end
    end

    # The server did not open a WebSocket.
    class Refused < LinkError
      attr_reader :status

      def initialize(status)
        @status = status
        super("HTTP #{status}")
      end
    end

    # @return [Float] when something was received last, by {Clock}
    attr_reader :heard_at

    # @param uri [URI] `http` or `https`, with the path of the WebSocket
    # @param headers [Hash{String => String}]
    # @param deadline [Float] by {Clock}
    def initialize(uri, headers: {}, deadline: Clock.now + 5)
      @in = String.new(encoding: Encoding::BINARY)
      @out = String.new(encoding: Encoding::BINARY)
      @messages = []
      @parts = nil
      @parts_size = 0
      @heard_at = Clock.now
      @socket = Socket.tcp(uri.hostname, uri.port, connect_timeout: [deadline - Clock.now, 0.01].max)
      @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      @io = uri.scheme == "https" ? secure(uri.hostname, deadline) : @socket
      open(uri, headers, deadline)
    rescue StandardError
      @socket&.close
      raise
    end

    # @return [IO] to wait for
    def to_io = @socket

    # @return [Integer] bytes that are not written yet
    def pending = @out.bytesize

    # @return [Boolean] whether something received waits in a buffer
    def buffered? = @io.is_a?(OpenSSL::SSL::SSLSocket) && @io.pending.positive?

    def send_text(text) = send_frame(TEXT, text)
    def ping = send_frame(9, "")

    # Begin to close. No more is sent after that.
    def send_close(code, reason = "")
      return if @closing

      send_frame(8, [code].pack("n") + reason.byteslice(0, 120).scrub("").b)
      @closing = true
    end

    # Write as much as goes at once.
    # @raise [Cut]
    def write
      until @out.empty?
        written = @io.write_nonblock(@out.byteslice(0, CHUNK), exception: false)
        return unless written.is_a?(Integer)

        @out = @out.byteslice(written..)
      end
    rescue SystemCallError, IOError, OpenSSL::SSL::SSLError => e
      raise Cut, e.message
    end

    # Read what is there.
    # @yield [Integer, String] TEXT or BINARY, and the message
    # @raise [Cut] it has ended
    # @raise [ProtocolError] the other side violates the protocol; the close is sent
    def read(&block)
      parse(&block)
      READS.times do
        data = @io.read_nonblock(CHUNK, exception: false)
        return if %i[wait_readable wait_writable].include?(data)
        raise Cut if data.nil?

        @heard_at = Clock.now
        @in << data
        parse(&block)
      end
    rescue SystemCallError, IOError, OpenSSL::SSL::SSLError => e
      raise Cut, e.message
    end

    # Wait for the next message; others stay for {#read}.
    # @raise [Cut, ProtocolError, NoHubError]
    def receive(deadline)
      while @messages.empty?
        write
        found = []
        begin
          read { |*message| found << message }
        rescue Cut
          raise if found.empty? # else it is seen again with the next one
        end
        @messages.concat(found)
        wait_for([@socket], @out.empty? ? nil : [@socket], deadline) if @messages.empty? && !buffered?
      end
      @messages.shift
    end

    # @yield those that {#receive} left
    def take_received
      yield(*@messages.shift) until @messages.empty?
    end

    # Close with a code, and wait a moment for the other side's answer.
    def finish(code, reason = "", seconds: 1)
      send_close(code, reason)
      deadline = Clock.now + seconds
      while (left = deadline - Clock.now).positive?
        write
        IO.select([@socket], @out.empty? ? nil : [@socket], nil, left)
        read { nil }
      end
    rescue LinkError
      nil
    ensure
      close
    end

    # Cut the connection.
    def close
      @socket.close
    rescue SystemCallError, IOError
      nil
    end

    # Fail the connection: send the code, as far as that goes at once.
    # @raise [ProtocolError]
    def violation(code, reason)
      send_close(code, reason)
      write
      raise ProtocolError, reason
    end

    private

    def secure(host, deadline)
      context = OpenSSL::SSL::SSLContext.new
      context.set_params
      tls = OpenSSL::SSL::SSLSocket.new(@socket, context)
      tls.hostname = host unless host.match?(/\A[\d.]+\z|:/)
      loop do
        case tls.connect_nonblock(exception: false)
        when :wait_readable then wait_for([@socket], nil, deadline)
        when :wait_writable then wait_for(nil, [@socket], deadline)
        else break
        end
      end
      tls.post_connection_check(host)
      tls
    end

    def wait_for(readable, writable, deadline)
      IO.select(readable, writable, nil, [deadline - Clock.now, 0].max) or raise NoHubError, "no answer in time"
    end

    def open(uri, headers, deadline)
      key = SecureRandom.base64(16)
      host = uri.port == uri.default_port ? uri.host : "#{uri.host}:#{uri.port}"
      lines = { "Host" => host, "Upgrade" => "websocket", "Connection" => "Upgrade", "Sec-WebSocket-Key" => key,
                "Sec-WebSocket-Version" => "13", "Sec-WebSocket-Protocol" => "berrymq.v1", **headers }
      @out << "GET #{uri.request_uri} HTTP/1.1\r\n" << lines.map { |name, value| "#{name}: #{value}\r\n" }.join << "\r\n"
      head = read_head(deadline)
      status, *fields = head.split("\r\n")
      code = status.to_s[%r{\AHTTP/1\.[01] (\d{3})}, 1]
      raise LinkError, "something listens there that is no HTTP server" unless code
      raise Refused, code.to_i unless code == "101"

      fields = fields.to_h { |line| line.split(":", 2).then { |name, value| [name.downcase, value.to_s.strip] } }
      accept = [Digest::SHA1.digest("#{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")].pack("m0")
      return if fields["sec-websocket-accept"] == accept && fields["sec-websocket-protocol"] == "berrymq.v1"

      raise LinkError, "something listens there that does not speak berrymq.v1"
    end

    def read_head(deadline)
      until (ending = @in.index("\r\n\r\n"))
        write
        raise LinkError, "something listens there that is no HTTP server" if @in.bytesize > MAX_HEAD

        wait_for([@socket], nil, deadline) unless buffered?
        data = @io.read_nonblock(CHUNK, exception: false)
        raise Cut if data.nil?

        @in << data if data.is_a?(String)
      end
      @in.slice!(0, ending + 4)
    rescue SystemCallError, IOError, OpenSSL::SSL::SSLError => e
      raise Cut, e.message
    end

    def send_frame(opcode, payload)
      return if @closing

      size = payload.bytesize
      mask = SecureRandom.bytes(4)
      @out << [0x80 | opcode, *(size < 126 ? [0x80 | size] : [size < 65_536 ? 0xfe : 0xff])].pack("C*")
      @out << [size].pack(size < 65_536 ? "n" : "Q>") if size > 125
      @out << mask << masked(payload, mask)
    end

    def masked(payload, mask)
      key = (mask * 2).unpack1("Q")
      whole = payload.bytesize / 8 * 8
      rest = payload.byteslice(whole..).bytes.each_with_index.map { |byte, i| byte ^ mask.getbyte(i % 4) }
      payload.byteslice(0, whole).unpack("Q*").map! { |word| word ^ key }.pack("Q*") << rest.pack("C*")
    end

    def parse
      while whole?
        next_frame
        yield(*@messages.shift) until @messages.empty?
      end
    end

    # Check the head of the next frame; remember where its payload is.
    def whole?
      return false if @in.bytesize < 2

      first, second = @in.getbyte(0), @in.getbyte(1)
      violation(1002, "a frame of the server is masked") if second >= 0x80
      violation(1002, "reserved bits are set") unless (first & 0x70).zero?
      opcode = first & 15
      violation(1002, "the opcode #{opcode} is unknown") unless [0, 1, 2, 8, 9, 10].include?(opcode)
      violation(1002, "a control frame in fragments") if opcode > 7 && (first < 0x80 || second > 125)
      size, @head = second, 2
      if second > 125
        @head = second == 126 ? 4 : 10
        return false if @in.bytesize < @head

        size = @in.byteslice(2, @head - 2).unpack1(second == 126 ? "n" : "Q>")
      end
      violation(1009, "a message of more than #{MAX_MESSAGE} bytes") if size + @parts_size > MAX_MESSAGE
      @size = size
      @in.bytesize >= @head + size
    end

    def next_frame
      first = @in.getbyte(0)
      payload = @in.byteslice(@head, @size)
      @in = @in.byteslice((@head + @size)..)
      opcode = first & 15
      case opcode
      when 8 then closed(payload)
      when 9 then send_frame(10, payload)
      when 10 then nil
      else add_part(opcode, payload, first >= 0x80)
      end
    end

    def add_part(opcode, payload, last)
      violation(1002, "a continuation of nothing") if opcode.zero? && @parts.nil?
      violation(1002, "a message inside of another") if opcode.positive? && @parts
      @kind = opcode if opcode.positive?
      (@parts ||= []) << payload
      @parts_size += payload.bytesize
      return unless last

      message = @parts.size == 1 ? payload : @parts.join
      @parts = nil
      @parts_size = 0
      if @kind == TEXT
        message.force_encoding(Encoding::UTF_8)
        violation(1007, "a text that is not UTF-8") unless message.valid_encoding?
      end
      @messages << [@kind, message]
    end

    def closed(payload)
      code = payload.bytesize >= 2 ? payload.unpack1("n") : 1005
      send_close(code == 1005 ? 1000 : code)
      write
      raise Cut.new("the other side closed the connection (#{code})", code)
    end
  end
end
