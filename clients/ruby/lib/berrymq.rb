# frozen_string_literal: true

require "forwardable"

# The Ruby client of berryMQ: a bus of messages in this process, and a link to the hub, where programs and notebooks in
# other languages follow and send.
#
#   require "berrymq"
#
#   BerryMQ.follow("train:*") { |message| puts "#{message.id} #{message[:loss]}" }
#   BerryMQ.link
#   BerryMQ.twitter("train:epoch", 3, loss: 0.12)
module BerryMQ
end

%w[version errors identifier message subscription bus follower queue job_group ndarray values wire discovery websocket
   handshake outbox buffers history link].each { |name| require_relative "berrymq/#{name}" }

module BerryMQ
  # The monotonic clock, in seconds.
  # @api private
  module Clock
    def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  class << self
    extend Forwardable

    # @return [#error, #warn, #debug] a `Logger`, which takes the errors of followers that have no caller, and warnings
    #   of links. By default they go to stderr
    attr_accessor :logger

    def_delegators :default_bus, :follow, :unfollow, :twitter, :talk, :ask, :link, :flush, :keep, :past, :latest,
                   :share, :unshare, :take

    # @api private
    # @param errors [Array<Exception>] those of followers
    def log_errors(errors, message)
      errors.each do |error|
        logger.error("a follower of #{message&.id || 'the link'} failed: #{error.full_message(highlight: false)}")
      end
    end
  end

  # Writes warnings and errors to stderr; `logger` is no default gem in newer Ruby.
  # @api private
  module Log
    def self.warn(text) = Kernel.warn("berrymq: #{text}")
    def self.error(text) = Kernel.warn("berrymq: #{text}")
    def self.debug(_text) = nil
  end

  @logger = Log
end
