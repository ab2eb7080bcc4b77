# frozen_string_literal: true

module BerryMQ
  # Writes warnings and errors to stderr.
  # @api private
  class Log
    def error(text) = Kernel.warn("berrymq: #{text}")
    def warn(text) = Kernel.warn("berrymq: #{text}")
    def debug(_text) = nil
  end

  class << self
    # @return [#error, #warn, #debug] takes the errors of followers that have no caller, and warnings of links; such as a
    #   `Logger`. By default they go to stderr
    attr_accessor :logger

    # @api private
    # @param errors [Array<Exception>] those of followers
    def log_errors(errors, message)
      errors.each do |error|
        logger.error("a follower of #{message&.id || 'the link'} failed: #{error.full_message(highlight: false)}")
      end
    end
  end

  @logger = Log.new
end
