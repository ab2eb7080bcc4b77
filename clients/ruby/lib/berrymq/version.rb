# frozen_string_literal: true

module BerryMQ
  VERSION = "0.4.0"
end
