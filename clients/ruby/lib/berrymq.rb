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

require_relative "berrymq/version"
require_relative "berrymq/errors"
require_relative "berrymq/identifier"
require_relative "berrymq/message"
require_relative "berrymq/subscription"
require_relative "berrymq/bus"
require_relative "berrymq/follower"
require_relative "berrymq/queue"
require_relative "berrymq/job_group"
require_relative "berrymq/ndarray"
require_relative "berrymq/values"
require_relative "berrymq/websocket"
require_relative "berrymq/discovery"
require_relative "berrymq/handshake"
require_relative "berrymq/question"
require_relative "berrymq/outbox"
require_relative "berrymq/pulls"
require_relative "berrymq/link"

module BerryMQ
  class << self
    extend Forwardable

    def_delegators :default_bus, :follow, :unfollow, :twitter, :talk, :ask, :link, :flush, :keep, :past, :latest,
                   :share, :unshare, :take
  end
end
