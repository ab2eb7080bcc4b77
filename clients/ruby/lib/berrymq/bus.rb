# frozen_string_literal: true

require "monitor"

module BerryMQ
  # A bus of messages in this process, and over its link those of other programs. Thread-safe. The methods of
  # {BerryMQ} itself are those of {BerryMQ.default_bus}.
  #
  # A message is delivered in the thread of its sender, to each matching follower in the order of registration. What
  # comes over a link is delivered on one thread, in order. Errors are never lost: all followers run, then the sender
  # gets the error; those of a message that came over a link are logged.
  class Bus
    MAX_ROUTES = 1024

    def initialize
      @lock = Monitor.new
      @linking = Monitor.new
      @subscriptions = [].freeze
      @routes = {}
      @groups = {}
      @shares = {}
      @link = nil
    end

    # Follow an identifier.
    #
    # @param identifier [String] may have wildcards
    # @param callable [#call] what is called with each {Message}; else the block
    # @param guard [#call] takes the message, and says whether the follower is called
    # @param past [Integer, true] begin with so many, or all, of the messages that the hub retains, in order; needs a
    #   link. They are marked {Message#past?}
    # @return [Subscription]
    # @raise [IdentifierError, RegistrationError]
    def follow(identifier, callable = nil, guard: nil, past: nil, &block)
      raise RegistrationError, "a follower is either a block or an object, not both" if callable && block
      raise RegistrationError, "`follow` takes a block that is called with each message" unless callable || block

      subscription = Subscription.new(self, identifier, callable || block, guard:)
      past ? require_link("follow with past:").replay(subscription, past) : add(subscription)
      subscription
    end

    # Stop to follow.
    #
    # @param what [Subscription, String, Identifier, Object] a subscription, all of an identifier, a callable, or an
    #   object with methods that follow
    # @return [Boolean] whether something was followed
    def unfollow(what)
      identifier = Identifier.parse(what) if what.is_a?(String) || what.is_a?(Identifier)
      ended = @lock.synchronize do
        ended, kept = @subscriptions.partition { |one| one.equal?(what) || one.for?(what, identifier) }
        replace(kept) unless ended.empty?
        ended
      end
      return false if ended.empty?

      ended.each(&:end)
      @link&.interest_changed
      true
    end

    # Send a message to all that follow it, here and, with a link, in other programs.
    #
    # @return [nil]
    # @raise [IdentifierError]
    # @raise [PayloadError] what it carries is too large to cross
    # @raise [StandardError] that of a follower here; {FollowerErrors} if several failed
    def twitter(identifier, *args, **kwargs)
      publish(Message.new(identifier, args, kwargs))
    end

    # Send a message, and what each of its followers returns on to `callback`, as a message with one argument.
    def talk(identifier, callback, *args, **kwargs)
      publish(Message.new(identifier, args, kwargs, callback: Identifier.parse(callback)))
    end

    # Send a message, and gather what its followers return, here and in other programs.
    #
    # @param timeout [Numeric] in seconds
    # @return [Array] the answers
    # @raise [AskTimeout] it names the nodes that have not answered, and has the others' answers
    # @raise [RemoteError, StandardError] what a follower raised; {FollowerErrors} if several failed
    def ask(identifier, *args, timeout: 25, **kwargs)
      message = Message.new(identifier, args, kwargs)
      link = @link
      question = link&.ask(message)
      answers, errors = dispatch(message, :follower, :queue, :group)
      if question
        found, failed, unanswered = link.answers(question, timeout)
        answers += found
        errors += failed
        raise AskTimeout.new(message.id, timeout, answers:, unanswered:) if unanswered
      end
      raise_all(errors, answers)
      answers
    end

    # Join the hub of this user, or a node at a URL; see {Link}.
    #
    # @param url [String, nil] `http`, `https`, `ws` or `wss`; without one, the hub of this user, found by its
    #   connection file
    # @param token [String, nil] the access token that belongs to the URL
    # @param name [String] the source of what is sent
    # @param room [String, nil] nodes in one room do not see another room
    # @param ttl [Numeric] for how many seconds the hub keeps messages while the connection is cut
    # @param timeout [Numeric] seconds for all of it
    # @yieldparam link [Link] is closed after the block
    # @return [Link] the open one if it is linked already; with a block, what that returns
    # @raise [NoHubError, RefusedError, PermissionsError, LinkError]
    def link(url = nil, token: nil, name: File.basename($PROGRAM_NAME), room: nil, ttl: 1000, timeout: 10)
      link = make_link(url, timeout, token:, name:, room:, ttl:)
      return link unless block_given?

      begin
        yield link
      ensure
        link.close
      end
    end

    # Wait until the other side has all that was sent.
    #
    # @param timeout [Numeric, nil] in seconds
    # @return [Boolean] whether it has
    def flush(timeout: nil)
      @link.nil? || @link.flush(timeout:)
    end

    # Have the hub retain the newest messages of each identifier that matches; 0 ends it.
    def keep(identifier, last: 1000)
      require_link("keep").keep(Identifier.parse(identifier), last)
      nil
    end

    # @param last [Integer, nil] at most so many
    # @return [Array<Message>] the messages that the hub retains, in order
    def past(identifier, last: nil)
      require_link("past").past(Identifier.parse(identifier), last)
    end

    # @return [Message, nil] the newest message that the hub retains
    def latest(identifier)
      past(identifier, last: 1).last
    end

    # Share a value by a name, for {#take} and Python's `take` everywhere, until {#unshare} or the end of this process.
    #
    # @param name [String]
    # @param value an {NDArray}, a Hash of columns, anything that crosses; of at most 12 MiB
    # @raise [IdentifierError]
    def share(name, value)
      take = Identifier.new(name.to_s, "take", "berrymq")
      shape = value.is_a?(NDArray) ? value.shape : []
      bytes = value.is_a?(NDArray) ? value.bytes.bytesize : 0
      about = [value.class.name.to_s.delete_prefix("BerryMQ::"), shape, bytes]
      shared_at = Time.now.to_f
      followers = [follow(take) { [shared_at, value] },
                   follow("#{name}@berrymq:describe") { [name, *about, @link&.name, shared_at] }]
      @lock.synchronize { @shares[name], followers = followers, @shares[name] }
      followers&.each(&:cancel)
      twitter("#{name}@berrymq:shared", *about)
    end

    # Share a value no more.
    # @raise [KeyError] nothing of that name is shared here
    def unshare(name)
      followers = @lock.synchronize { @shares.delete(name) }
      raise KeyError.new("nothing is shared here as #{name.inspect}", receiver: self, key: name) unless followers

      followers.each(&:cancel)
      nil
    end

    # Take what a program shares by a name: an array as {NDArray}, a table as a Hash of its columns.
    #
    # @raise [KeyError] nothing of that name is shared
    def take(name, timeout: 25)
      shared = ask(Identifier.new(name.to_s, "take", "berrymq"), timeout:).grep(Array).max_by { |at, _| at.to_f }
      raise KeyError.new("nothing is shared as #{name.inspect}", receiver: self, key: name) unless shared

      shared[1]
    end

    # @api private
    def publish(message)
      message = @link&.publish(message) || message
      _, errors = dispatch(message, :follower, :queue, :group)
      raise_all(errors)
      nil
    end

    # Call what follows a message, and send results on to its callback.
    # @api private
    # @return [Array(Array, Array<StandardError>)] the results and the errors
    def dispatch(message, *kinds)
      results = []
      errors = []
      route(message.identifier).each do |subscription|
        next unless kinds.include?(subscription.kind)

        begin
          next unless subscription.accepts?(message)

          result = subscription.deliver(message)
        rescue StandardError => e
          errors << e
          call_back(message, errors, nil, error: e) if subscription.kind == :follower
        else
          next unless subscription.kind == :follower

          results << result
          call_back(message, errors, result)
        end
      end
      [results, errors]
    end

    # @api private
    def add(subscription)
      @lock.synchronize { replace([*@subscriptions, subscription]) }
      @link&.interest_changed
      subscription
    end

    # @api private
    # @return [Array<String>] what is followed here and may cross
    def interest
      @subscriptions.filter_map { |one| one.identifier.text if one.kind != :group && one.identifier.crosses? }.uniq
    end

    # @api private
    # @return [JobGroup] that of the shared queues of an identifier
    def group(identifier, maxsize)
      @lock.synchronize { @groups[identifier.text] ||= JobGroup.new(self, identifier, maxsize) }
    end

    # @api private
    def remove_group(group)
      @lock.synchronize { @groups.delete(group.identifier.text) }
    end

    # @api private
    def groups = @lock.synchronize { @groups.values }

    # @api private
    # @return [Link, nil] the open link
    def current_link = @link

    # @api private
    def unlinked(link)
      @link = nil if @link.equal?(link)
    end

    private

    def make_link(url, timeout, **options)
      @linking.synchronize do
        if @link&.own_process? && !@link.closed?
          return @link if url.nil? || @link.to?(url)

          raise LinkError, "this bus is linked already; close that link first, or make a BerryMQ::Bus of its own"
        end
        link = Link.new(self, url, **options)
        link.open(timeout) { @link = link }
      end
    end

    def require_link(what)
      link = @link
      raise ClosedError, "#{what} needs a link: call BerryMQ.link first" if link.nil? || link.closed?

      link
    end

    def raise_all(errors, answers = [])
      return if errors.empty?
      raise FollowerErrors.new(errors, answers:) if errors.size > 1

      error = errors.first
      error.answers = answers if error.is_a?(RemoteError) && !error.frozen?
      raise error
    end

    # Send what a follower returned to the callback of its message.
    def call_back(message, errors, result, **failure)
      twitter(message.callback, result, **failure) if message.callback
    rescue StandardError => e
      errors << e
    end

    def route(identifier)
      routes = @routes
      routes[identifier.text] || @lock.synchronize do
        @routes = {} if @routes.size >= MAX_ROUTES
        @routes[identifier.text] = @subscriptions.select { |one| one.identifier.match?(identifier) }.freeze
      end
    end

    def replace(subscriptions)
      @subscriptions = subscriptions.freeze
      @routes = {}
    end
  end

  class << self
    # @return [Bus]
    attr_reader :default_bus
  end

  @default_bus = Bus.new
end
