# frozen_string_literal: true

require_relative "lib/berrymq/version"

Gem::Specification.new do |spec|
  spec.name = "berrymq"
  spec.version = BerryMQ::VERSION
  spec.summary = "Messages between the programs and notebooks of a working session"
  spec.description = "The Ruby client of berryMQ, a small in-memory message bus: a local bus, and a link to the hub " \
                     "where Python, Jupyter, JavaScript and R meet. Nothing beside the standard library."
  spec.authors = ["the berryMQ developers"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.1"
  spec.files = Dir["lib/**/*.rb", "README.md", base: __dir__]
  spec.require_paths = ["lib"]
  spec.metadata = { "rubygems_mfa_required" => "true" }
end
