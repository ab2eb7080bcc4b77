# frozen_string_literal: true

require_relative "test_helper"

# The client's side of a WebSocket, at a socket that the test writes to.
class WebSocketTest < BerryTest
  def setup
    super
    @server = TCPServer.new("127.0.0.1", 0)
    accepting = Thread.new { accept }
    @client = BerryMQ::WebSocket.new(URI("http://127.0.0.1:#{@server.addr[1]}/ws"))
    @socket = accepting.value
  end

  def teardown
    super
    [@client, @socket, @server].each(&:close)
  end

  def accept
    socket = @server.accept
    head = socket.gets("\r\n\r\n")
    key = head[/Sec-WebSocket-Key: (\S+)/, 1]
    accept = [Digest::SHA1.digest("#{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")].pack("m0")
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
                 "Sec-WebSocket-Accept: #{accept}\r\nSec-WebSocket-Protocol: berrymq.v1\r\n\r\n")
    socket
  end

  def test_messages_in_parts_with_a_ping_between_them
    @socket.write("\x01\x01a\x89\x01p\x80\x01b\x81\x01c".b)
    assert_equal [BerryMQ::WebSocket::PING, "p"], @client.receive(5)
    assert_equal [BerryMQ::WebSocket::TEXT, "ab"], @client.receive(5)
    assert_equal [BerryMQ::WebSocket::TEXT, "c"], @client.receive(5)
    assert_nil @client.receive(0)
  end

  def test_what_is_sent_is_masked_and_whole
    texts = ["", "a", "ü" * 62, "x" * 126, "y" * 65_535, "z" * 70_001]
    reading = Thread.new { texts.map { read_frame } }
    texts.each { |text| @client.send_text(text) }
    assert_equal texts, reading.value
  end

  def read_frame
    first, second = @socket.read(2).bytes
    assert_equal [0x81, 0x80], [first, second & 0x80]
    size = second & 0x7f
    size = @socket.read(2).unpack1("n") if size == 126
    size = @socket.read(8).unpack1("Q>") if size == 127
    mask = @socket.read(4).bytes
    payload = size.zero? ? "" : @socket.read(size)
    payload.bytes.each_with_index.map { |byte, index| byte ^ mask[index % 4] }.pack("C*").force_encoding("UTF-8")
  end
end
