# frozen_string_literal: true

require_relative "test_helper"

class FollowerTest < BerryTest
  class Diary
    include BerryMQ::Follower

    attr_reader :lines

    def initialize(prefix = "", suffix: "")
      @prefix = prefix
      @suffix = suffix
      @lines = []
    end

    following("*:log")
    following("diary:write", guard: ->(message) { message.args.any? })
    def write(message)
      lines << "#{@prefix}#{message.args.first}#{@suffix}"
    end

    following("diary:clear", guard: :full?)
    private def clear(_message)
      lines.clear
    end

    def full?(_message) = lines.size > 1

    auto_twitter("diary_sum")
    def sum(one, two: 2)
      yield one + two
    end

    auto_twitter("diary_fail:exit")
    def fails = raise(KeyError, "no")

    auto_twitter("diary_thrown")
    def throws = throw(:out)
  end

  class Loud < Diary
    def write(message)
      super
      lines << "!"
    end
  end

  module Counting
    include BerryMQ::Follower

    following("count:up")
    def up(_message)
      @count = (@count || 0) + 1
    end
  end

  class Counter
    include Counting

    attr_reader :count
  end

  def follow(identifier)
    [].tap { |seen| (@subscriptions ||= []) << BerryMQ.follow(identifier) { |message| seen << message } }
  end

  def make(type, *args, **options)
    type.new(*args, **options).tap { |instance| (@made ||= []) << instance }
  end

  def teardown
    super
    Array(@made).each { |instance| BerryMQ.unfollow(instance) }
    Array(@subscriptions).each(&:cancel)
  end

  def test_marked_methods_follow_from_new_on
    diary = make(Diary, ">", suffix: "<")
    BerryMQ.twitter("do_something:log", "text")
    BerryMQ.twitter("diary:write")
    assert_equal [">text<"], diary.lines
    BerryMQ.unfollow(diary)
    BerryMQ.twitter("do_something:log", "again")
    assert_equal 1, diary.lines.size
  end

  def test_a_private_method_and_a_guard_that_is_a_method
    diary = make(Diary)
    BerryMQ.twitter("one:log", 1)
    BerryMQ.twitter("diary:clear")
    assert_equal 1, diary.lines.size
    BerryMQ.twitter("two:log", 2)
    BerryMQ.twitter("diary:clear")
    assert_empty diary.lines
    assert_raises(NoMethodError) { diary.clear(nil) }
  end

  def test_marks_are_inherited
    loud = make(Loud)
    BerryMQ.twitter("a:log", "x")
    assert_equal %w[x !], loud.lines
  end

  def test_marks_of_a_module
    counter = make(Counter)
    2.times { BerryMQ.twitter("count:up") }
    assert_equal 2, counter.count
  end

  def test_class_methods_follow_at_once
    type = Class.new do
      include BerryMQ::Follower
      class << self
        attr_reader :seen
      end

      following("of_class:*")
      def self.see(message)
        @seen = message.action
      end
    end
    BerryMQ.twitter("of_class:run")
    assert_equal "run", type.seen
    BerryMQ.unfollow(type)
  end

  def test_auto_twitter_reports_calls_and_changes_nothing
    seen = follow("diary_sum:*")
    assert_equal 7, make(Diary).sum(1, two: 5) { |sum| sum + 1 }
    assert_equal [["entry", [1], { two: 5 }], ["exit", [1], { two: 5, result: 7 }]],
                 seen.map { |message| [message.action, message.args, message.kwargs] }
  end

  def test_auto_twitter_reports_errors
    seen = follow("diary_fail:*")
    error = assert_raises(KeyError) { make(Diary).fails }
    assert_equal ["exit"], seen.map(&:action)
    assert_same error, seen.first[:error]
  end

  def test_auto_twitter_reports_what_is_left_by_throw
    seen = follow("diary_thrown:*")
    catch(:out) { make(Diary).throws }
    assert_equal %w[entry exit], seen.map(&:action)
  end

  def test_a_follower_of_auto_twitter_never_harms
    subscription = BerryMQ.follow("diary_sum:*") { raise "observer" }
    log = logged { assert_equal 3, make(Diary).sum(1) { |sum| sum } }
    assert_match(/observer/, log)
  ensure
    subscription.cancel
  end

  def test_marks_that_mark_nothing_are_refused
    error = assert_raises(BerryMQ::RegistrationError) do
      Class.new do
        include BerryMQ::Follower
        following("a:b")
        def no_argument; end
      end
    end
    assert_match(/no_argument/, error.message)
    type = Class.new { include BerryMQ::Follower }
    type.following("a:b")
    assert_raises(BerryMQ::RegistrationError) { type.new }
    assert_raises(BerryMQ::IdentifierError) { type.following("a:b:c") }
    assert_raises(BerryMQ::RegistrationError) { type.following("a:b", guard: 5) }
  end
end
