# frozen_string_literal: true

require_relative "test_helper"

class IdentifierTest < BerryTest
  def test_parts_and_text
    one = BerryMQ::Identifier.parse("test@lab:run")
    assert_equal ["test", "run", "lab"], [one.name, one.action, one.namespace]
    assert_equal "test:*", BerryMQ::Identifier.parse(:test).to_s
    assert_equal "test@lab:*", BerryMQ::Identifier.parse("test@lab").to_s
    assert one.frozen?
  end

  def test_a_wildcard_stands_on_either_side
    assert BerryMQ::Identifier.parse("*:stop").match?("a:stop")
    assert BerryMQ::Identifier.parse("a:stop").match?("*:stop")
    refute BerryMQ::Identifier.parse("a@lab:stop").match?("a:stop")
  end

  def test_it_filters_in_case
    message = BerryMQ::Message.new("train:epoch")
    assert(case message when BerryMQ::Identifier.parse("train:*") then true end)
  end

  def test_an_error_says_what_to_write
    error = assert_raises(BerryMQ::IdentifierError) { BerryMQ.twitter("a:b:c") }
    assert_match(/more than one ':'/, error.message)
    assert_raises(BerryMQ::IdentifierError) { BerryMQ.twitter(5) }
    assert_raises(BerryMQ::IdentifierError) { BerryMQ.twitter("a\xff:b") }
  end

  # The file is written by Python: each text with its canonical text, or null where it is no identifier; and pairs of
  # them with whether they match.
  def test_the_same_as_in_python
    path = ENV.fetch("BERRYMQ_TEST_IDENTIFIERS", nil) or skip "Python has written no table"
    table = JSON.parse(File.read(path))
    table["texts"].each do |text, canonical|
      found = begin
        BerryMQ::Identifier.parse(text).text
      rescue BerryMQ::IdentifierError
        nil
      end
      canonical.nil? ? assert_nil(found, text.inspect) : assert_equal(canonical, found)
    end
    table["pairs"].each do |one, two, matches|
      assert_equal matches, BerryMQ::Identifier.parse(one).match?(two), "#{one.inspect} and #{two.inspect}"
    end
    table["local"].each { |text, local| assert_equal local, BerryMQ::Identifier.parse(text).local? }
  end
end
