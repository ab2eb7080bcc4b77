# frozen_string_literal: true

require_relative "test_helper"

# Two buses at a real hub.
class LinkTest < BerryTest
  def test_messages_cross_in_order
    one, two = linked("one"), linked("two")
    seen = record(two, "link:*")
    until_known(one, "link:run")
    500.times { |number| one.twitter("link:run", number, x: { "y" => [nil] }) }
    assert one.flush(timeout: 10)
    messages = Array.new(500) { seen.pop }
    assert_equal (0...500).to_a, messages.map { |message| message[0] }
    assert_equal "one", messages.first.source
    assert_equal({ x: { "y" => [nil] } }, messages.first.kwargs)
  end

  def test_an_answer_from_afar
    one, two = linked("one"), linked("two")
    two.follow("calc:add") { |message| message.args.sum }
    two.follow("calc:fail") { raise KeyError, "not here" }
    until_known(one, "calc:add")
    assert_equal [6], one.ask("calc:add", 1, 2, 3, timeout: 10)
    until_known(one, "calc:fail")
    error = assert_raises(BerryMQ::RemoteError) { logged { one.ask("calc:fail", timeout: 10) } }
    assert_equal ["KeyError", "not here"], [error.remote_class, error.text]
    assert_match(/link_test/, error.notes.join)
  end

  def test_a_question_that_times_out_names_the_node
    one, two = linked("one"), linked("slow one")
    release = Thread::Queue.new
    two.follow("slow:*") { release.pop }
    until_known(one, "slow:run")
    error = assert_raises(BerryMQ::AskTimeout) { one.ask("slow:run", timeout: 0.1) }
    assert_match(/slow one/, error.message)
  ensure
    release << 1
  end

  def test_an_error_of_a_follower_is_logged
    one, two = linked("one"), linked("two")
    two.follow("bad:run") { raise "it went wrong" }
    seen = record(two, "bad:end")
    until_known(one, "bad:end")
    log = logged do
      one.twitter("bad:run")
      one.twitter("bad:end")
      seen.pop
    end
    assert_match(/bad:run.*it went wrong/m, log)
  end

  def test_history
    one, two = linked("one"), linked("two")
    one.keep("kept:*", last: 3)
    5.times { |number| one.twitter("kept:run", number) }
    assert_equal [2, 3, 4], one.past("kept:*").map { |message| message[0] }
    assert_equal 4, two.latest("kept:run")[0]
    assert_nil two.latest("other:run")
    seen = record(two, "kept:*", past: 2)
    assert_equal [[3, true], [4, true]], Array.new(2) { seen.pop }.map { |message| [message[0], message.past?] }
    until_known(one, "kept:run")
    one.twitter("kept:run", 5)
    assert_equal [5, false], seen.pop.then { |message| [message[0], message.past?] }
    queue = BerryMQ::Queue.new("kept:*", past: true, bus: two)
    assert_equal [3, 4, 5], Array.new(3) { queue.pop(timeout: 5)[0] }
  end

  def test_shared_queues_over_the_hub
    one, two = linked("one"), linked("two")
    queues = [one, two].map { |bus| BerryMQ::Queue.new("job:*", shared: true, bus:) }
    20.times { |number| one.twitter("job:run", number) }
    one.flush
    taken = queues.map { |queue| Thread.new { Array.new(10) { queue.pop(timeout: 10)[0] } } }
    assert_equal (0...20).to_a, taken.flat_map(&:value).sort
    assert_nil queues[0].pop(timeout: 0)
    one.twitter("job:run", "last")
    assert_equal "last", queues[1].pop(timeout: 10)[0]
    assert_equal 0, queues[1].size
  end

  def test_the_size_of_a_shared_queue_counts_no_job_that_was_taken
    one, two = linked("one"), linked("two")
    queue = BerryMQ::Queue.new("sized:*", shared: true, bus: two)
    until_known(one, "sized:run")
    500.times { |number| one.twitter("sized:run", number) }
    one.flush
    sizes = Array.new(500) { queue.pop(timeout: 10).then { queue.size if _1[0] % 7 == 6 } }.compact
    assert_equal 493.step(3, -7).to_a, sizes
  end

  def test_a_consumer_that_only_polls_keeps_no_jobs_from_others
    one, two = linked("one"), linked("two")
    polled, other = [one, two].map { |bus| BerryMQ::Queue.new("polled:*", shared: true, bus:) }
    2.times do |number|
      one.twitter("polled:run", number)
      one.flush
      assert_equal number, polled.pop(timeout: 0)[0]
    end
    assert_nil polled.pop(timeout: 0)
    2.times { |number| one.twitter("polled:run", number) }
    one.flush
    assert_equal [0, 1], Array.new(2) { other.pop(timeout: 5)[0] }.sort
  end

  def test_jobs_that_a_busy_consumer_has_prefetched_go_to_an_idle_one
    one, two = linked("one"), linked("two")
    busy, idle = [one, two].map { |bus| BerryMQ::Queue.new("ahead:*", shared: true, bus:) }
    300.times { |number| one.twitter("ahead:run", number) }
    taken = Array.new(150) { busy.pop(timeout: 10)[0] } + Array.new(150) { idle.pop(timeout: 10)[0] }
    assert_equal (0...300).to_a, taken.sort
    idle.close
    300.times { |number| one.twitter("ahead:run", number) } # with pauses, in which jobs are returned
    taken = Array.new(300) { |index| busy.pop(timeout: 10)[0].tap { sleep(index % 50 == 49 ? 0.07 : 0) } }
    assert_equal (0...300).to_a, taken
  end

  def test_jobs_that_were_collected_before_the_link
    bus.twitter("early:run", "before the queue")
    queue = BerryMQ::Queue.new("early:*", shared: true, bus:)
    bus.twitter("early:run", 1)
    other = BerryMQ::Queue.new("early:*", shared: true, bus: linked("other"))
    bus.link(name: "late")
    assert_equal 1, other.pop(timeout: 10)[0]
    queue.close
  end

  def test_local_names_stay_here
    one, two = linked("one"), linked("two")
    seen = record(two, "*:*")
    until_known(one, "a:b")
    one.twitter("_local:b")
    one.twitter("a:b")
    assert_equal "a:b", seen.pop.id
  end

  def test_rooms_are_apart
    one, two, three = linked("one", room: "red"), linked("two", room: "red"), linked("three")
    seen = record(two, "a:*")
    until_known(one, "a:b")
    three.twitter("a:b", 3)
    one.twitter("a:b", 1)
    assert_equal 1, seen.pop[0]
  end

  def test_states_and_the_end
    states = Thread::Queue.new
    one = linked("one")
    link = one.current_link
    assert_same link, one.link
    assert_same link, one.link(BerryMQ::Discovery.hub.url)
    assert_raises(BerryMQ::LinkError) { one.link("http://localhost:1/", token: "x") }
    link.on_state { |state| states << state }
    assert_equal :linked, states.pop
    assert link.close
    assert_equal :closed, states.pop
    assert_predicate link, :closed?
    one.twitter("a:b")
    one.link(name: "again")
  end

  def test_a_block_closes_the_link
    inner = bus.link(name: "short") { |link| [link.state, link] }
    assert_equal :linked, inner[0]
    assert_predicate inner[1], :closed?
    assert_nil bus.current_link
    assert_raises(KeyError) { bus.link(name: "failing") { raise KeyError } }
    assert_nil bus.current_link
  end

  def test_the_end_of_a_link_ends_questions
    one, two = linked("one"), linked("two")
    release = Thread::Queue.new
    asked = Thread::Queue.new
    two.follow("slow:*") { asked << 1 and release.pop }
    until_known(one, "slow:run")
    waiting = Thread.new do
      one.ask("slow:run")
    rescue BerryMQ::ClosedError => e
      e
    end
    asked.pop
    one.current_link.close
    assert_instance_of BerryMQ::ClosedError, waiting.value
  ensure
    release << 1
  end

  def test_what_has_arrived_is_delivered_before_the_end
    one, two = linked("one"), linked("two")
    seen = []
    first = Thread::Queue.new
    two.follow("late:*") { |message| sleep 0.001 and first << (seen << message[0]) }
    until_known(one, "late:run")
    100.times { |number| one.twitter("late:run", number) }
    one.flush(timeout: 5)
    first.pop
    two.current_link.close
    assert_equal (0...100).to_a, seen
  end

  def test_a_closed_link_leaves_nothing_open
    linked("warm").current_link.close
    open_files = -> { Dir.children("/proc/self/fd").size }
    before = open_files.call
    threads = Thread.list.size
    found = BerryMQ::Discovery.hub
    5.times do
      linked("short").current_link.close
      assert_raises(BerryMQ::RefusedError) { bus.link(found.url, token: "wrong") }
    end
    assert_operator open_files.call, :<=, before
    assert_operator Thread.list.size, :<=, threads
  end

  def test_errors_of_a_link
    found = BerryMQ::Discovery.hub
    error = assert_raises(BerryMQ::RefusedError) { bus.link(found.url, token: "wrong") }
    assert_match(/does not know the access token/, error.message)
    assert_raises(BerryMQ::RefusedError) { bus.link(found.url) }
    assert_raises(BerryMQ::NoHubError) { bus.link("http://127.0.0.1:9/", token: "x") }
    assert_nil bus.current_link
  end

  def test_what_is_too_large_is_refused_at_the_sender
    one, two = linked("one"), linked("two")
    record(two, "large:*")
    until_known(one, "large:run")
    assert_raises(BerryMQ::PayloadError) { one.twitter("large:run", "x" * (17 * 1024 * 1024)) }
  end

  def test_large_bytes_and_arrays_cross
    one, two = linked("one"), linked("two")
    seen = record(two, "big:*")
    until_known(one, "big:run")
    one.twitter("big:run", ("\xff\x00" * 50_000).b, BerryMQ::NDArray.from((0...20_000).to_a))
    message = seen.pop
    assert_equal ("\xff\x00" * 50_000).b, message[0]
    assert_equal (0...20_000).map(&:to_f), message[1].to_a
  end

  def test_shared_values
    one, two = linked("one"), linked("two")
    one.share("ruby array", BerryMQ::NDArray.from([[1, 2], [3, 4]]))
    until_known(two, "ruby array@berrymq:take")
    assert_equal [[1.0, 2.0], [3.0, 4.0]], two.take("ruby array").to_a
    one.share("ruby array", BerryMQ::NDArray.from((0...100_000).to_a))
    assert_equal 99_999, two.take("ruby array").max
    assert_equal "ruby array", two.ask("*@berrymq:describe").first[0]
    assert_equal 99_999, one.take("ruby array").max
    one.share("ruby array", "\0".b * (13 * 1024 * 1024))
    assert_raises(BerryMQ::RemoteError) { two.take("ruby array") }
    one.unshare("ruby array")
    assert_raises(KeyError) { one.unshare("ruby array") }
    assert_raises(BerryMQ::IdentifierError) { one.share("a:b", 1) }
  end

  def test_a_forked_child_has_no_link
    one = linked("one")
    record(linked("two"), "a:*")
    until_known(one, "a:b")
    read, write = IO.pipe
    child = fork do
      write.puts(logged { one.twitter("a:b") })
      write.close
      exit!(0)
    end
    write.close
    assert_match(/forked/, read.read)
    Process.wait(child)
    assert_equal :linked, one.current_link.state
  end
end
