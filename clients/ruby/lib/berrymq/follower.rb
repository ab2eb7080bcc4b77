# frozen_string_literal: true

module BerryMQ
  # Lets methods of a class follow, and report their calls.
  #
  #   class Diary
  #     include BerryMQ::Follower
  #
  #     following("*:log")
  #     def write(message)
  #       puts message.args.first
  #     end
  #
  #     auto_twitter("diary")
  #     def close = :closed      # sends diary:entry, then diary:exit with result: :closed
  #   end
  #
  # The methods of an object follow from `new` on, until `BerryMQ.unfollow(object)`; a bus keeps its followers alive.
  # Class methods follow at once. Marks are inherited, also from modules.
  module Follower
    Mark = Struct.new(:method, :identifier, :guard)
    private_constant :Mark

    def self.included(base)
      super
      base.extend(ClassMethods)
    end

    # Observes calls for `auto_twitter`, and never changes them.
    # @api private
    class Observer
      def initialize(identifier, entry, exit)
        name, action, namespace = identifier.name, identifier.action, identifier.namespace
        if entry == exit
          entry = action != "exit"
          exit = action != "entry"
        end
        @entry = Identifier.new(name, "entry", namespace) if entry
        @exit = Identifier.new(name, "exit", namespace) if exit
      end

      def call(args, kwargs)
        report(@entry, args, kwargs)
        outcome = {}
        result = yield
        outcome = { free(:result, kwargs) => result }
        result
      rescue Exception => e # rubocop:disable Lint/RescueException -- it is raised again
        outcome = e.is_a?(SystemStackError) ? nil : { free(:error, kwargs) => e }
        raise
      ensure
        # Also where the method is left by `throw`, which has neither result nor error.
        report(@exit, args, kwargs.merge(outcome)) if outcome
      end

      private

      def report(identifier, args, kwargs)
        BerryMQ.default_bus.publish(Message.new(identifier, args.dup, kwargs)) if identifier
      rescue StandardError => e
        BerryMQ.logger.error("a follower of #{identifier}, which only observes, failed: #{e.full_message(highlight: false)}")
      end

      def free(key, kwargs)
        key = :"#{key}_" while kwargs.key?(key)
        key
      end
    end

    # The words of the class body.
    module ClassMethods
      # Have the next method follow an identifier; several may stand above one method.
      #
      # @param identifier [String]
      # @param guard [#call, Symbol] takes the message, and says whether the method is called; or the name of such a
      #   method
      # @raise [IdentifierError, RegistrationError]
      def following(identifier, guard: nil)
        unless guard.nil? || guard.is_a?(Symbol) || guard.respond_to?(:call)
          raise RegistrationError, "a guard is something with `call`, or the name of a method, not a #{guard.class}"
        end
        berrymq_pending << Mark.new(nil, Identifier.parse(identifier), guard)
        nil
      end

      # Have each call of the next method send `NAME:entry` with its arguments, and `NAME:exit` with these and
      # `result:` or `error:`. What goes wrong in a follower of them is logged and never reaches the caller.
      #
      # @param identifier [String] an action `entry` or `exit` asks for that one alone, as do the keywords
      def auto_twitter(identifier, entry: false, exit: false)
        berrymq_pending << Observer.new(Identifier.parse(identifier), entry, exit)
        nil
      end

      def new(*args, **kwargs, &block)
        berrymq_check_pending
        super.tap do |instance|
          berrymq_marks_of_all.each do |mark|
            guard = mark.guard.is_a?(Symbol) ? instance.method(mark.guard) : mark.guard
            BerryMQ.default_bus.follow(mark.identifier, instance.method(mark.method), guard:)
          end
        end
      end

      # A module that is included hands its marks on.
      def included(base)
        super
        base.extend(ClassMethods)
      end

      def inherited(base)
        berrymq_check_pending
        super
      end

      def method_added(name)
        super
        berrymq_take_pending(self, name) { |mark| (berrymq_marks[name] ||= []) << mark }
      end

      def singleton_method_added(name)
        super
        berrymq_take_pending(singleton_class, name) do |mark|
          guard = mark.guard.is_a?(Symbol) ? method(mark.guard) : mark.guard
          BerryMQ.default_bus.follow(mark.identifier, method(name), guard:)
        end
      end

      protected

      # @api private
      def berrymq_marks = (@berrymq_marks ||= {})

      private

      def berrymq_pending = (@berrymq_pending ||= [])

      def berrymq_check_pending
        return if berrymq_pending.empty?

        berrymq_pending.clear
        raise RegistrationError, "#{self}: `following` and `auto_twitter` stand above a method, and none came"
      end

      # The marks of the class and its ancestors, the oldest first; of a method that is marked again, the last ones.
      def berrymq_marks_of_all
        ancestors.grep(ClassMethods).reverse.map { |one| one.berrymq_marks }.reduce({}, :merge).values.flatten(1)
      end

      def berrymq_take_pending(owner, name)
        pending = berrymq_pending.slice!(0..)
        return if pending.empty?

        method = owner.instance_method(name)
        marks, observers = pending.partition { |one| one.is_a?(Mark) }
        if marks.any? && (name == :initialize || !method.arity.between?(-2, 1) || method.arity.zero?)
          raise RegistrationError, "#{self}: a method that follows takes one message; `#{name}` does not"
        end
        observers.reverse_each { |observer| berrymq_observe(owner, name, method, observer) }
        marks.each { |mark| yield Mark.new(name, mark.identifier, mark.guard) }
      end

      def berrymq_observe(owner, name, method, observer)
        visibility = %i[private protected].find { |one| owner.public_send(:"#{one}_method_defined?", name) }
        wrapper = Module.new do
          define_method(name) do |*args, **kwargs, &block|
            observer.call(args, kwargs) { super(*args, **kwargs, &block) }
          end
          send(visibility, name) if visibility
        end
        owner.prepend(wrapper)
        method
      end
    end
  end
end
