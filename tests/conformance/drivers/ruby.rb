# frozen_string_literal: true

# The driver of the Ruby client: commands as JSON lines on stdin, events as JSON lines on stdout; see `README.md`.

require "json"

require_relative "../../../clients/ruby/lib/berrymq"

# What was made so far, and the commands that make it.
class Driver
  LEVEL = 3
  KINDS = {
    BerryMQ::IdentifierError => "identifier", BerryMQ::AskTimeout => "timeout", BerryMQ::PermissionsError => "permissions",
    BerryMQ::NoHubError => "no_hub", BerryMQ::RefusedError => "refused", BerryMQ::ClosedError => "closed",
    BerryMQ::RemoteError => "answer", BerryMQ::FollowerErrors => "answer", RuntimeError => "answer",
    BerryMQ::Error => "protocol"
  }.freeze

  def initialize
    @output = Mutex.new
    @subscriptions = Hash.new { |hash, identifier| hash[identifier] = [] }
    @queues = []
  end

  def run
    $stdin.each_line { |line| command(JSON.parse(line, max_nesting: 200)) unless line.strip.empty? }
    close
  end

  private

  def command(params)
    verb = params.delete("do")
    number = params.delete("n")
    params = params.transform_keys(&:to_sym)
    if respond_to?(:"do_#{verb}", true)
      put(n: number, ok: send(:"do_#{verb}", **params))
    else
      put(n: number, error: { kind: "unsupported", message: "no command #{verb.inspect}" })
    end
  rescue StandardError => e
    kind = KINDS.find { |type, _| e.is_a?(type) }&.last || "protocol"
    put(n: number, error: { kind:, message: e.message })
  end

  def put(event)
    @output.synchronize do
      $stdout.puts(JSON.generate(event, max_nesting: 0))
      $stdout.flush
    end
  end

  def do_link(url: nil, token: nil, name: nil, room: nil, ttl: 1000)
    @link = BerryMQ.link(url, token:, name:, room:, ttl:)
    @link.on_state { |state| put(state:) }
    { id: @link.id }
  end

  def do_follow(identifier:, past: false)
    @subscriptions[identifier] << BerryMQ.follow(identifier, past: past || nil) do |message|
      put(message: described(message))
    end
    nil
  end

  def do_unfollow(identifier:)
    @subscriptions.delete(identifier)&.each(&:cancel)
    nil
  end

  def do_twitter(identifier:, args: [], kwargs: {}, count: nil)
    args = read(args)
    kwargs = keywords(kwargs)
    return BerryMQ.twitter(identifier, *args, **kwargs) unless count

    count.times { |number| BerryMQ.twitter(identifier, number, *args, **kwargs) }
    nil
  end

  def do_answer(identifier:, with:)
    @subscriptions[identifier] << BerryMQ.follow(identifier) do |message|
      case with
      when "sum" then message.args.sum
      when "echo" then message.args
      else raise "the follower was told to fail"
      end
    end
    nil
  end

  def do_ask(identifier:, args: [], kwargs: {}, timeout: 10)
    write(BerryMQ.ask(identifier, *read(args), timeout:, **keywords(kwargs)))
  end

  def do_talk(identifier:, callback:, args: [])
    BerryMQ.talk(identifier, callback, *read(args))
  end

  def do_queue(identifier:, shared: false, past: false)
    @queues << BerryMQ::Queue.new(identifier, shared:, past: past || nil)
    @queues.size
  end

  def do_get(queue:, timeout: 0)
    described(@queues[queue - 1].pop(timeout:))
  end

  def do_close_queue(queue:)
    @queues[queue - 1].close
    nil
  end

  def do_keep(identifier:, last: 1000)
    BerryMQ.keep(identifier, last:)
  end

  def do_latest(identifier:)
    described(BerryMQ.latest(identifier))
  end

  def do_past(identifier:, last: nil)
    BerryMQ.past(identifier, last:).map { |message| described(message) }
  end

  def do_take(name:)
    value = BerryMQ.take(name)
    case value
    when BerryMQ::NDArray then { dtype: value.dtype, shape: value.shape, values: write(value.flat) }
    when Hash then { columns: write(value) }
    else write(value)
    end
  end

  def do_flush(timeout: nil)
    BerryMQ.flush(timeout:)
  end

  def do_stats
    @link.stats
  end

  def do_close
    close
    nil
  end

  def close
    @subscriptions.each_value { |some| some.each(&:cancel) }
    @subscriptions.clear
    @queues.each(&:close).clear
    @link&.close
  end

  def described(message)
    message && { identifier: message.id, args: write(message.args), kwargs: write(message.kwargs), source: message.source,
                 past: message.past? }
  end

  def keywords(hash) = hash.to_h { |key, value| [key.to_sym, read(value)] }

  # Values have the form of the wire.
  def read(value) = BerryMQ::Values::Decoder.new.decode(value)

  def write(value)
    encoder = BerryMQ::Values::Encoder.new
    inline(encoder.encode(value), encoder.buffers)
  end

  # A printed value has its large buffers inside.
  def inline(value, buffers)
    case value
    when Array then value.map { |item| inline(item, buffers) }
    when Hash
      index = value["value"]
      return { **value, "value" => [buffers[index]].pack("m0") } if value["$type"] == "buffer" && index.is_a?(Integer)

      value.transform_values { |item| inline(item, buffers) }
    else value
    end
  end
end

Driver.new.run if $PROGRAM_NAME == __FILE__
