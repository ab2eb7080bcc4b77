from collections import deque

import pytest

from berrymq.bridge.protocol import batches, frames
from berrymq.bridge.protocol.batches import parse_batch
from berrymq.bridge.protocol.frames import ANSWER, ASK, INTEREST, parse, parse_params
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.limits import Limits, LinkStats
from berrymq.bridge.protocol.reliable_stream import DROP_REPORT_SECONDS, Account, Stream, Total

NOW = 1000.0
SMALL = Limits(
    window_messages=4,
    window_bytes=100_000,
    buffer_messages=6,
    buffer_bytes=100_000,
    frame_messages=2,
    frame_bytes=10_000,
)


def batch(number, count=1, size=0):
    """A batch whose messages say which they are."""
    messages = [b'[1,[%d,"%b"],{}]' % (number + place, b"x" * size) for place in range(count)]
    return batches.encode_batch(batches.batch_head("a:b", "o", "s"), number, messages, count)


def read(data):
    """The method of a frame, and its params."""
    envelope = parse(data)
    return envelope.method, parse_params(envelope.method, envelope.params)


def numbers(params):
    """What the messages of a frame say."""
    return [one.args[0] for raw in params.batches for one in batches.parse_messages(parse_batch(raw))]


def read_frames(stream, now=NOW):
    """The frames that a stream has to say now; a large one is in several pieces."""
    return [frames.join(one) for one in stream.frames(now)]


def said(stream, now=NOW):
    """The messages of all frames that a stream has to say now."""
    return [number for data in read_frames(stream, now) for number in numbers(read(data)[1])]


def fill(stream, count, first=1):
    for number in range(first, first + count):
        stream.send_batch(batch(number), 1)


class TestSending:
    def test_batches_go_in_order_joined_into_frames(self):
        stream = Stream(SMALL)
        fill(stream, 3)
        first, second = [read(data)[1] for data in stream.frames(NOW)]
        assert (first.n, numbers(first)) == (1, [1, 2])
        assert (second.n, numbers(second)) == (2, [3])
        assert stream.frames(NOW) == []

    def test_other_frames_keep_their_place_among_messages(self):
        stream = Stream()
        stream.send_batch(batch(1), 1)
        stream.send(INTEREST, b'"add":["a:b"]')
        stream.send_batch(batch(2), 1)
        assert [read(data)[0] for data in stream.frames(NOW)] == ["messages", "interest", "messages"]

    def test_a_frame_has_no_more_bytes_than_told_unless_one_batch_has(self):
        stream = Stream(Limits(frame_bytes=300))
        for number in range(1, 4):
            stream.send_batch(batch(number, size=100), 1)
        stream.send_batch(batch(4, size=1000), 1)
        assert [numbers(read(data)[1]) for data in stream.frames(NOW)] == [[1, 2], [3], [4]]

    def test_no_more_messages_are_in_flight_than_the_window_holds(self):
        stream = Stream(SMALL)
        fill(stream, 6)
        assert said(stream) == [1, 2, 3, 4]
        stream.acknowledged(1)
        assert said(stream) == [5, 6]

    def test_a_batch_that_does_not_fit_into_the_window_waits(self):
        stream = Stream(SMALL)
        stream.send_batch(batch(1, count=3), 3)
        stream.send_batch(batch(4, count=2), 2)
        assert said(stream) == [1, 2, 3]
        stream.acknowledged(1)
        assert said(stream) == [4, 5]

    def test_a_batch_larger_than_the_window_goes_alone(self):
        stream = Stream(SMALL)
        stream.send_batch(batch(1), 1)
        stream.send_batch(batch(2, count=5), 5)
        assert said(stream) == [1]
        stream.acknowledged(1)
        assert said(stream) == [2, 3, 4, 5, 6]

    def test_no_more_bytes_are_in_flight_than_the_window_holds(self):
        stream = Stream(Limits(window_bytes=3000, frame_bytes=1000))
        for number in range(1, 6):
            stream.send_batch(batch(number, size=900), 1)
        assert said(stream) == [1, 2]
        assert stream.held_bytes - stream.snapshot().buffered_bytes <= 3000

    def test_what_is_published_counts_as_sent_once_it_is_in_a_frame(self):
        stream = Stream(SMALL)
        fill(stream, 5)
        assert stream.snapshot().sent == 0
        stream.frames(NOW)
        assert stream.snapshot() == LinkStats(
            sent=4, in_flight=4, buffered=1, buffered_bytes=stream.snapshot().buffered_bytes
        )

    def test_it_is_idle_once_all_is_acknowledged(self):
        stream = Stream()
        assert stream.idle
        stream.send_batch(batch(1), 1)
        assert not stream.idle
        stream.frames(NOW)
        assert not stream.idle
        stream.acknowledged(1)
        assert stream.idle


class TestOverflow:
    def test_the_oldest_in_the_buffer_are_dropped_and_counted(self):
        stream = Stream(SMALL)
        fill(stream, 9)
        assert stream.snapshot().dropped == 3
        assert stream.snapshot().buffered == 6
        assert said(stream) == [4, 5, 6, 7]

    def test_the_bytes_count_as_well(self):
        stream = Stream(Limits(buffer_bytes=3000))
        for number in range(1, 6):
            stream.send_batch(batch(number, size=800), 1)
        assert stream.snapshot().dropped == 3
        assert stream.held_bytes <= 3000

    def test_the_newest_batch_is_kept_however_large(self):
        stream = Stream(Limits(buffer_bytes=10, buffer_messages=1))
        stream.send_batch(batch(1, count=3, size=100), 3)
        assert stream.snapshot().dropped == 0
        assert said(stream) == [1, 2, 3]

    def test_other_frames_are_never_dropped(self):
        stream = Stream(SMALL)
        stream.send(INTEREST, b'"add":["a:b"]')
        fill(stream, 20)
        assert read(stream.frames(NOW)[0])[0] == "interest"

    def test_the_other_side_is_told_once_in_a_while(self):
        stream = Stream(SMALL)

        def told(now):
            """How many were dropped, as the other side hears it, which takes everything at once."""
            counts = []
            while found := [read(data) for data in stream.frames(now)]:
                counts += [params.count for method, params in found if method == "dropped"]
                stream.acknowledged(found[-1][1].n)
            return counts

        fill(stream, 7)
        assert told(NOW) == [1]
        fill(stream, 8)
        assert told(NOW + 0.1) == []
        fill(stream, 7)
        assert told(NOW + DROP_REPORT_SECONDS) == [3]

    def test_room_is_what_the_buffer_takes_before_it_overflows(self):
        stream = Stream(SMALL)
        assert stream.capacity == 6
        fill(stream, 4)
        assert stream.capacity == 2
        fill(stream, 2, first=5)
        assert stream.capacity == 0
        assert stream.snapshot().dropped == 0

    def test_there_is_no_room_where_the_bytes_are_used_up(self):
        stream = Stream(Limits(buffer_bytes=1000))
        stream.send_batch(batch(1, size=2000), 1)
        assert stream.capacity == 0


def messages_in(found):
    """The messages among frames."""
    return [number for method, params in found if method == "messages" for number in numbers(params)]


class TestReceiving:
    def test_each_frame_counts_once(self):
        stream = Stream()
        assert stream.receive(1, 0, 3, NOW)
        assert not stream.receive(1, 0, 3, NOW)
        assert (stream.stats.received, stream.stats.duplicates) == (3, 3)

    def test_a_gap_is_against_the_protocol(self):
        stream = Stream()
        with pytest.raises(FrameError, match="frame 2 came after frame 0"):
            stream.receive(2, 0, 1, NOW)

    def test_what_was_never_sent_can_not_be_acknowledged(self):
        stream = Stream()
        with pytest.raises(FrameError, match="frame 1 is acknowledged, and the last one sent was 0"):
            stream.receive(1, 1, 0, NOW)
        with pytest.raises(FrameError):
            stream.acknowledged(1)

    def test_an_acknowledgement_that_is_overtaken_changes_nothing(self):
        stream = Stream(SMALL)
        fill(stream, 4)
        stream.frames(NOW)
        stream.acknowledged(2)
        stream.acknowledged(1)
        assert stream.idle

    def test_an_acknowledgement_goes_with_what_is_said_anyhow(self):
        stream = Stream()
        stream.receive(1, 0, 1, NOW)
        stream.send_batch(batch(1), 1)
        (data,) = stream.frames(NOW)
        assert read(data)[1].ack == 1
        assert stream.ack_due_at() is None

    def test_else_it_goes_alone_after_a_moment(self):
        stream = Stream()
        stream.receive(1, 0, 1, NOW)
        assert stream.frames(NOW) == []
        due = stream.ack_due_at()
        assert due == NOW + stream.limits.ack_delay
        (data,) = stream.frames(due)
        assert read(data) == ("ack", frames.AckParams(1))
        assert stream.frames(due + 1) == []

    def test_it_goes_at_once_when_much_has_come(self):
        stream = Stream(SMALL)
        stream.receive(1, 0, SMALL.window_messages, NOW)
        assert len(stream.frames(NOW)) == 1

    def test_who_is_behind_withholds_it(self):
        stream = Stream()
        stream.receive(1, 0, 1, NOW)
        stream.behind = True
        stream.receive(2, 0, 1, NOW)
        (data,) = stream.frames(NOW + 1)
        assert read(data)[1].ack == 1
        assert stream.frames(NOW + 100) == []
        stream.caught_up()
        (data,) = stream.frames(NOW + 100)
        assert read(data)[1].ack == 2

    def test_an_acknowledgement_that_was_lost_is_said_again(self):
        stream = Stream()
        stream.receive(1, 0, 1, NOW)
        stream.frames(NOW + 1)
        stream.receive(1, 0, 1, NOW + 2)
        (data,) = stream.frames(NOW + 3)
        assert read(data)[1].ack == 1


class TestCuts:
    def test_what_was_not_received_is_said_again_with_its_numbers(self):
        stream = Stream(SMALL)
        fill(stream, 6)
        before = stream.frames(NOW)
        fill(stream, 1, first=7)
        stream.resume(1)
        again = stream.frames(NOW)
        assert read(again[0])[1].n == 2
        assert numbers(read(again[0])[1]) == numbers(read(before[1])[1])
        assert stream.snapshot().sent == 4 + len(numbers(read(again[1])[1]))

    def test_the_claim_of_the_other_side_must_fit(self):
        stream = Stream(SMALL)
        fill(stream, 4)
        stream.frames(NOW)
        stream.acknowledged(1)
        assert [stream.can_resume(received) for received in (0, 1, 2, 3)] == [False, True, True, False]
        for received in (0, 3):
            with pytest.raises(FrameError):
                stream.resume(received)

    def test_a_restart_counts_anew_and_says_messages_again(self):
        stream = Stream(SMALL)
        fill(stream, 6)
        stream.send(INTEREST, b'"add":["a:b"]')
        stream.send(ASK, b'"question":1,"batch":[]')
        stream.frames(NOW)
        stream.acknowledged(1)
        stream.receive(1, 1, 1, NOW)
        stream.restart()
        found = [read(data) for data in stream.frames(NOW)]
        assert [params.n for _, params in found] == [1, 2]
        assert messages_in(found) == [3, 4, 5, 6]
        assert (stream.received, stream.snapshot().sent, stream.snapshot().dropped) == (0, 6, 0)

    def test_a_full_buffer_drops_nothing_in_a_restart(self):
        account = Account(Total())
        stream = Stream(SMALL, account=account)
        for number in range(1, SMALL.window_messages + SMALL.buffer_messages + 1):
            stream.send_batch(batch(number), 1)
            stream.frames(NOW)
        before = stream.snapshot()
        assert before.buffered == SMALL.buffer_messages
        assert before.in_flight
        stream.restart()
        assert account.held == stream.held_bytes
        assert messages_in([read(data) for data in stream.frames(NOW)]) == list(
            range(1, before.in_flight + 1)
        )
        assert stream.snapshot() == before

    def test_what_goes_again_after_a_restart_is_not_counted_twice_however_often(self):
        stream = Stream(SMALL)
        fill(stream, 6)
        for _ in range(3):
            stream.frames(NOW)
            stream.restart()
        stream.frames(NOW)
        assert stream.snapshot().sent == 4
        stream.acknowledged(stream._last)
        assert said(stream) == [5, 6]
        assert stream.snapshot().sent == 6

    def test_a_frame_that_is_refused_is_given_up_and_its_number_used_to_say_so(self):
        stream = Stream(SMALL)
        fill(stream, 4)
        stream.frames(NOW)
        assert stream.oldest_in_flight == 1
        assert stream.skip_oldest() == 2
        stream.resume(0)
        (first, dropped), (second, rest) = [read(data) for data in stream.frames(NOW)]
        assert (first, dropped.n, dropped.count) == ("dropped", 1, 2)
        assert (second, rest.n, numbers(rest)) == ("messages", 2, [3, 4])
        assert stream.snapshot().dropped == 2

    def test_what_was_dropped_is_told_also_if_that_is_refused(self):
        stream = Stream(SMALL)
        fill(stream, 1)
        stream.frames(NOW)
        assert (stream.skip_oldest(), stream.skip_oldest()) == (1, 0)
        stream.resume(0)
        (told,) = [read(data)[1] for data in stream.frames(NOW)]
        assert told.count == stream.snapshot().dropped == 1

    def test_nothing_is_given_up_where_nothing_is_in_flight(self):
        stream = Stream()
        assert (stream.oldest_in_flight, stream.skip_oldest()) == (0, 0)

    def test_the_end_counts_what_the_other_side_did_not_get(self):
        stream = Stream(SMALL)
        fill(stream, 6)
        stream.frames(NOW)
        assert stream.end() == 6
        assert stream.snapshot() == LinkStats(sent=4, dropped=6)


class TestWhatIsHeld:
    def test_it_is_told_as_it_grows_and_shrinks(self):
        account = Account(Total())
        stream = Stream(SMALL, account=account)
        fill(stream, 9)
        assert account.held == stream.held_bytes > 0
        stream.frames(NOW)
        assert account.held == stream.held_bytes
        stream.skip_oldest()
        assert account.held == stream.held_bytes
        stream.acknowledged(1)
        stream.restart()
        assert account.held == stream.held_bytes
        stream.end()
        assert account.held == stream.held_bytes == 0

    def test_shedding_drops_what_waits_first_and_then_what_is_in_flight(self):
        account = Account(Total())
        stream = Stream(Limits(window_messages=4, frame_messages=2), account=account)
        for number in range(1, 9):
            stream.send_batch(batch(number, size=1000), 1)
        stream.frames(NOW)
        stream.shed(5000)
        assert (stream.snapshot().buffered, stream.snapshot().in_flight, stream.snapshot().dropped) == (
            0,
            4,
            4,
        )
        stream.shed(3000)
        assert (stream.snapshot().in_flight, stream.snapshot().dropped) == (2, 6)
        stream.shed(0)
        assert (stream.snapshot().in_flight, stream.snapshot().dropped) == (0, 8)
        assert account.held == stream.held_bytes < 1500
        stream.resume(0)
        assert [read(data)[0] for data in stream.frames(NOW)][:2] == ["dropped", "dropped"]

    def test_what_can_not_be_dropped_is_what_remains(self):
        stream = Stream()
        stream.send(ASK, b'"question":1,"batch":[]')
        stream.shed(0)
        assert stream.held_bytes > 0


def test_a_drop_does_not_walk_past_all_that_is_never_dropped():
    """Else whoever lets answers pile up would have each drop take as long as they are many."""
    stream = Stream(Limits(window_messages=1, buffer_messages=5))
    stream.send_batch(b"0", 1)
    stream.frames(0.0)
    for _ in range(1000):
        stream.send(ANSWER, b"")
    looked = 0

    class Buffer(deque):
        def __getitem__(self, index):
            nonlocal looked
            looked += 1
            return super().__getitem__(index)

    stream._buffer = Buffer(stream._buffer)
    for number in range(1000):
        stream.send_batch(b"%d" % number, 1)
    assert stream.snapshot().buffered == 5
    assert stream.stats.dropped == 995
    assert looked < 4_000
    assert [item.body for item in stream._buffer if item.messages] == [b"995", b"996", b"997", b"998", b"999"]


class TestLargeBatches:
    """What is passed on to many is in memory once."""

    @pytest.fixture
    def shared(self):
        return []

    @pytest.fixture
    def stream(self, shared, monkeypatch):
        account = Account(Total())
        monkeypatch.setattr(Account, "share", lambda _, data, by: shared.append((data, by)))
        return Stream(Limits(window_bytes=1_000_000), account=account)

    def test_the_bytes_are_not_copied(self, stream, shared):
        data = batch(1, size=2_000_000)
        stream.send_batch(data, 1)
        (frame,) = stream.frames(NOW)
        assert frame[1] is stream._in_flight[0].body is data
        assert numbers(read(frames.join(frame))[1]) == [1]
        assert shared == [(data, 1)]
        stream.acknowledged(1)
        assert shared == [(data, 1), (data, -1)]

    def test_they_are_resumed_and_restarted(self, stream, shared):
        data = batch(1, size=200_000)
        stream.send_batch(data, 1)
        stream.frames(NOW)
        stream.resume(0)
        assert stream.frames(NOW)[0][1] is data
        stream.restart()
        assert stream.frames(NOW)[0][1] is data
        stream.end()
        assert sum(by for _, by in shared) == 0

    def test_those_of_questions_are_not_copied(self, stream, shared):
        data = batch(1, size=2_000_000)
        stream.send(ASK, data, head=b'"question":7,"batch":')
        (frame,) = stream.frames(NOW)
        assert frame[1] is data
        params = frames.parse_params("ask", frames.parse(frames.join(frame)).params)
        assert (params.n, params.question, bytes(params.batch)) == (1, 7, data)
        stream.resume(0)
        assert stream.frames(NOW)[0][1] is data
        stream.send(ASK, data, head=b'"question":8,"batch":')
        assert sum(by for _, by in shared) == 2
        stream.restart()  # who begins anew is not asked again
        assert stream.frames(NOW) == []
        assert sum(by for _, by in shared) == stream.held_bytes == 0

    def test_those_that_go_in_one_frame_with_others_are_joined(self, stream, shared):
        for number in (1, 2):
            stream.send_batch(batch(number, size=100_000), 1)
        (frame,) = stream.frames(NOW)
        assert isinstance(frame, bytes)
        assert numbers(read(frame)[1]) == [1, 2]
        assert sum(by for _, by in shared) == 0

    @pytest.mark.parametrize("how", ["drop", "skip", "shed", "end"])
    def test_they_are_given_up(self, stream, shared, how):
        for number in (1, 2):
            stream.send_batch(batch(number, size=900_000), 1)
        stream.frames(NOW)
        stream.drop_oldest()
        if how == "skip":
            stream.skip_oldest()
        elif how == "shed":
            stream.shed(0)
        elif how == "end":
            stream.end()
        assert sum(by for _, by in shared) == (1 if how == "drop" else 0)
