# frozen_string_literal: true

module BerryMQ
  # The base of all errors of this library.
  class Error < StandardError; end

  # Text that is no identifier; the message says what to write instead.
  class IdentifierError < Error; end

  # Something that can't follow, such as `following` above nothing that takes a message.
  class RegistrationError < Error; end

  # A payload that can't cross: too large, nested too deeply.
  class PayloadError < Error; end

  # There is no link, or it can't be made or used.
  class LinkError < Error
    # @return [Integer, nil] with which the other side refused or closed
    attr_reader :code

    def initialize(message = nil, code = nil)
      super(message)
      @code = code
    end
  end

  # Nothing answers at the address, or no hub of this user runs.
  class NoHubError < LinkError; end

  # The hub refuses the access token, or can't prove that it knows it.
  class RefusedError < LinkError; end

  # Other users could read or replace the connection file.
  class PermissionsError < LinkError; end

  # The other side violates the protocol.
  class ProtocolError < LinkError; end

  # The link is closed, or closes while an answer is awaited.
  class ClosedError < LinkError; end

  # What went wrong when several followers failed, or one of several that answered.
  class FollowerErrors < Error
    # @return [Array<Exception>] the errors, in the order of the followers
    attr_reader :errors
    # @return [Array] of a question, the answers of the other followers
    attr_reader :answers

    def initialize(errors, answers: [])
      @errors = errors.freeze
      @answers = answers.freeze
      super("#{errors.size} followers failed: " + errors.map { |e| "#{e.message} (#{e.class})" }.join("; "))
    end
  end

  # What a follower of another program raised. Its message has the class of the error there, and its text.
  class RemoteError < Error
    # @return [String] the class of the error where it was raised
    attr_reader :remote_class
    # @return [String] its text
    attr_reader :text
    # @return [Array<String>] what was noted on its way, such as the follower's file and line
    attr_reader :notes
    # @return [Array] the answers of the other followers
    attr_accessor :answers

    def initialize(remote_class, text, notes = [])
      @remote_class = remote_class
      @text = text
      @notes = notes
      @answers = [].freeze
      super([text.empty? ? remote_class : "#{remote_class}: #{text}", *notes].join("\n"))
    end
  end

  # A question was not answered in time. It names the nodes that did not, and brings the answers of the others.
  class AskTimeout < Error
    attr_reader :answers, :unanswered

    def initialize(identifier, timeout, answers: [], unanswered: [])
      @answers = answers.freeze
      @unanswered = unanswered.freeze
      missing = unanswered.empty? ? "" : " by #{unanswered.join(', ')}"
      super("#{identifier} was not answered within #{timeout} s#{missing}")
    end
  end
end
