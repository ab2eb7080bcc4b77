# frozen_string_literal: true

module BerryMQ
  # What follows an identifier on a bus, until {#cancel}.
  class Subscription
    # @return [Identifier]
    attr_reader :identifier
    # @return [#call] what is called with each message
    attr_reader :target
    # @api private
    # @return [Symbol] `:follower`, `:queue` or `:group`
    attr_reader :kind

    # @api private
    def initialize(bus, identifier, target, guard: nil, kind: :follower)
      @bus = bus
      @identifier = Identifier.parse(identifier)
      @target = checked(target, "a follower")
      @guard = guard && checked(guard, "a guard")
      @kind = kind
      @hold = nil
      @ended = false
      @lock = Mutex.new
    end

    # Stop to follow. Safe to call twice.
    def cancel
      @bus.unfollow(self)
      nil
    end

    # @api private
    # @return [Boolean] whether a callable, the receiver of a method or an identifier means this one
    def for?(what, identifier)
      return kind == :follower && self.identifier == identifier if identifier

      target == what || (target.is_a?(Method) && target.receiver.equal?(what))
    end

    # @api private
    def end = @ended = true

    # @api private
    # @return [Boolean] whether a message is for it
    def accepts?(message)
      !@ended && (@guard.nil? || @guard.call(message))
    end

    # Deliver a message, unless a replay is awaited, which it is held back for.
    # @api private
    def deliver(message)
      return if @hold && hold(message)

      @target.call(message)
    end

    # Hold live messages back until {#replayed}.
    # @api private
    def await_replay
      @lock.synchronize { @hold = [] }
      self
    end

    # Deliver what was retained, then what was held back and is not among it.
    # @api private
    # @yield [Message] delivers one
    def replayed(messages)
      known = messages.to_h { |message| [[message.origin, message.number], true] }
      messages.each { |message| yield message }
      loop do
        held = @lock.synchronize do
          break if @hold.nil?
          next @hold.slice!(0..) unless @hold.empty?

          @hold = nil
          break
        end
        break if held.nil?

        held.each { |message| yield message unless message.origin && known.key?([message.origin, message.number]) }
      end
    end

    def inspect
      "#<BerryMQ::Subscription #{identifier} by #{target.inspect}>"
    end

    private

    def hold(message)
      @lock.synchronize { @hold&.push(message) }
    end

    def checked(callable, what)
      unless callable.respond_to?(:call)
        raise RegistrationError, "#{what} is a block or something with `call`, not a #{callable.class}"
      end
      takes_one = case callable
                  when Proc then !callable.lambda? || one?(callable)
                  when Method then one?(callable)
                  else one?(callable.method(:call))
                  end
      raise RegistrationError, "#{what} is called with one message, which #{callable.inspect} does not take" unless takes_one

      callable
    end

    def one?(method)
      method.arity == 1 || (method.arity.negative? && method.arity >= -2)
    end
  end
end
