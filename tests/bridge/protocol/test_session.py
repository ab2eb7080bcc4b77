import pytest
from msgspec import Raw

from berrymq.bridge.protocol.accounts import Limits
from berrymq.bridge.protocol.frames import (
    HEARTBEAT,
    Announce,
    Dropped,
    Heartbeat,
    NodeRecord,
    SendMessages,
    WireMessage,
    ack_frame,
    announce_frame,
    decode_frame,
    messages_frame,
)
from berrymq.bridge.protocol.session import DROP_REPORT_SECONDS, Session

LIMITS = Limits()
NOW = 5_000.0
HOUR = 3600.0


def message(number, size=2):
    return WireMessage("test:run", Raw(b"1" * size), "here", 0.0, "node", number)


def attached(limits=LIMITS, now=NOW):
    session = Session("session", now, limits)
    session.attach(now, 0)
    return session


def frames(session, now=NOW):
    return [decode_frame(data) for data in session.outgoing(now)]


def sequences(got):
    return [m.sequence for frame in got if isinstance(frame, SendMessages) for m in frame.params.batch]


def batch(n, *numbers):
    return decode_frame(messages_frame(n, [message(number) for number in numbers]))


def small(**bounds):
    return Limits(**{"window_messages": 4, "queue_messages": 6, "frame_messages": 3, **bounds})


class TestSending:
    def test_nothing_goes_without_a_connection(self):
        session = Session("session", NOW)
        session.send(message(1))
        assert session.outgoing(NOW) == []
        session.attach(NOW, 0)
        assert sequences(frames(session)) == [1]

    def test_batches_are_bounded_by_number(self):
        session = attached(small(window_messages=100))
        for number in range(1, 6):
            session.send(message(number))
        assert [len(frame.params.batch) for frame in frames(session)] == [3, 2]

    def test_batches_are_bounded_by_size(self):
        session = attached(Limits(frame_bytes=100))
        for number in range(1, 5):
            session.send(message(number, size=60))
        assert [len(frame.params.batch) for frame in frames(session)] == [2, 2]

    def test_a_message_larger_than_the_window_goes_alone(self):
        session = attached(small(window_bytes=100, frame_bytes=100))
        session.send(message(1, size=1000))
        session.send(message(2))
        assert sequences(frames(session)) == [1]
        session.receive(decode_frame(ack_frame(1)), NOW)
        assert sequences(frames(session)) == [2]

    def test_the_window_closes_and_an_acknowledgement_opens_it(self):
        session = attached(small())
        for number in range(1, 11):
            session.send(message(number))
            session.outgoing(NOW)
        assert session.stats.in_flight == 4
        assert session.stats.queued == 6
        session.receive(decode_frame(ack_frame(1)), NOW)
        assert sequences(frames(session)) == [5]

    def test_announcements_go_before_messages_and_beside_a_full_window(self):
        session = attached(small())
        for number in range(1, 6):
            session.send(message(number))
        session.outgoing(NOW)
        session.announce([NodeRecord("node", "name", 1)])
        assert isinstance(frames(session)[0], Announce)

    def test_of_two_waiting_records_of_a_node_the_later_one_goes(self):
        session = attached()
        session.announce([NodeRecord("node", "name", 1), NodeRecord("other", "name", 1)])
        session.announce([NodeRecord("node", "name", 2)])
        (frame,) = frames(session)
        assert {record.id: record.version for record in frame.params.nodes} == {"node": 2, "other": 1}

    def test_many_announcements_go_in_frames_of_a_bounded_size(self):
        session = Session("s", NOW, Limits(announced_bytes=1000))
        session.attach(NOW, 0)
        follows = tuple(f"a:{number:03}" for number in range(30))
        records = [NodeRecord(f"node{number}", "name", 1, follows=follows) for number in range(20)]
        huge = NodeRecord("huge", "name", 1, follows=follows * 20)
        session.announce([*records[:10], huge, *records[10:]])
        frames = session.outgoing(NOW)
        announced = [decode_frame(frame).params for frame in frames]
        assert [record for params in announced for record in params.nodes] == [
            *records[:10],
            huge,
            *records[10:],
        ]
        assert all(len(frame) < 1100 for frame in frames if b"huge" not in frame)
        assert [params.more for params in announced] == [True] * (len(frames) - 1) + [False]

    def test_announcements_to_one_who_never_confirms_are_bounded(self):
        session = attached(small(window_bytes=2_000))
        for version in range(1, 1_000):
            session.announce([NodeRecord("node", "name", version)])
            session.outgoing(NOW)
        assert session._window.size < 4_400
        session.receive(decode_frame(ack_frame(session._window.last)), NOW)
        (frame,) = frames(session)
        assert [record.version for record in frame.params.nodes] == [999]


class TestOverflow:
    def test_the_oldest_waiting_message_makes_room_and_is_counted(self):
        session = Session("session", NOW, small())
        for number in range(1, 9):
            session.send(message(number))
        session.attach(NOW, 0)
        assert session.stats.dropped == 2
        assert sequences(frames(session)) == [3, 4, 5, 6]

    def test_by_size(self):
        session = Session("session", NOW, small(queue_bytes=100))
        for number in range(1, 6):
            session.send(message(number, size=40))
        assert (session.stats.queued, session.stats.queued_bytes, session.stats.dropped) == (2, 80, 3)

    def test_one_message_above_the_bound_is_kept(self):
        session = Session("session", NOW, small(queue_bytes=100))
        session.send(message(1))
        session.send(message(2, size=500))
        assert (session.stats.queued, session.stats.queued_bytes, session.stats.dropped) == (1, 500, 1)

    def test_the_other_side_is_told_at_most_once_a_second(self):
        session = attached(small())
        told = []
        for number in range(1, 101):
            session.send(message(number))
            told += [frame for frame in frames(session) if isinstance(frame, Dropped)]
        assert [frame.params.count for frame in told] == [1]
        later = NOW + DROP_REPORT_SECONDS
        assert session.deadline() <= later
        told += [frame for frame in frames(session, later) if isinstance(frame, Dropped)]
        assert sum(frame.params.count for frame in told) == session.stats.dropped == 90

    def test_what_it_was_told_is_counted_as_lost(self):
        sender, receiver = Session("session", NOW, small()), attached()
        for number in range(1, 10):
            sender.send(message(number))
        sender.attach(NOW, 0)
        for frame in frames(sender):
            receiver.receive(frame, NOW)
        assert receiver.stats.lost == sender.stats.dropped == 3

    @pytest.mark.parametrize("ended", [True, False])
    def test_a_session_in_its_place_sends_the_rest_and_tells_of_it(self, ended):
        former, session = Session("former", NOW, small()), attached()
        for number in range(1, 10):
            former.send(message(number))
        session.inherit(former, ended=ended)
        got = frames(session)
        assert [frame.params.count for frame in got if isinstance(frame, Dropped)] == [3]
        assert sequences(got) == list(range(4, 10))

    def test_room_is_what_goes_in_without_a_drop(self):
        session = Session("session", NOW, small(queue_bytes=100))
        session.send(message(1, size=30))
        assert session.room == (5, 70)


class TestReceiving:
    def test_news_is_handed_on_and_a_copy_is_not(self):
        session = attached()
        assert session.receive(batch(1, 1, 2), NOW) is not None
        assert session.receive(batch(1, 1, 2), NOW) is None
        assert (session.stats.received, session.stats.duplicates) == (2, 1)

    def test_a_gap_breaks_the_connection(self):
        session = attached()
        with pytest.raises(ValueError, match="frame 2 came where 1 was due"):
            session.receive(batch(2, 1), NOW)

    def test_an_acknowledgement_of_what_was_never_sent_breaks_it(self):
        session = attached()
        with pytest.raises(ValueError, match="frame 1 was acknowledged and 0"):
            session.receive(decode_frame(ack_frame(1)), NOW)

    def test_a_resumption_with_what_was_never_sent_breaks_it(self):
        session = Session("session", NOW)
        with pytest.raises(ValueError, match="frame 7 was acknowledged"):
            session.attach(NOW, 7)
        assert not session.attached

    def test_an_old_acknowledgement_changes_nothing(self):
        session = attached()
        session.send(message(1))
        session.outgoing(NOW)
        session.receive(decode_frame(ack_frame(1)), NOW)
        session.receive(decode_frame(ack_frame(0)), NOW)
        assert session.is_flushed

    def test_acknowledgements_wait_for_more(self):
        session = attached()
        session.receive(batch(1, 1), NOW)
        session.receive(batch(2, 2), NOW)
        assert session.outgoing(NOW) == []
        due = session.deadline()
        assert due == NOW + LIMITS.ack_delay
        assert session.outgoing(due) == [ack_frame(2)]
        assert session.outgoing(due + 1) == []

    def test_a_quarter_of_the_window_is_acknowledged_at_once(self):
        session = attached(small(window_messages=8))
        session.receive(batch(1, 1), NOW)
        assert session.outgoing(NOW) == []
        session.receive(batch(2, 2), NOW)
        assert session.outgoing(NOW) == [ack_frame(2)]

    def test_one_who_is_behind_withholds_them_and_catches_up_later(self):
        session = attached()
        session.behind = True
        session.receive(batch(1, *range(1, 5_000)), NOW)
        assert session.outgoing(NOW + 1) == []
        session.behind = False
        assert session.outgoing(NOW + 1) == [ack_frame(1)]

    def test_a_copy_is_acknowledged_again(self):
        session = attached()
        session.receive(batch(1, 1), NOW)
        session.outgoing(NOW + 1)  # lost on its way
        session.receive(batch(1, 1), NOW + 1)
        assert session.outgoing(NOW + 2) == [ack_frame(1)]


class TestConnections:
    def test_what_is_not_confirmed_goes_again_in_order(self):
        session = attached(small(frame_messages=1))
        for number in (1, 2, 3):
            session.send(message(number))
        session.outgoing(NOW)
        session.detach()
        session.send(message(4))
        session.attach(NOW, 1)
        assert sequences(frames(session)) == [2, 3, 4]
        assert session.stats.sent == 4
        assert session.stats.cuts == 1

    def test_a_second_detach_is_no_second_cut(self):
        session = attached()
        session.detach()
        session.detach()
        assert session.stats.cuts == 1

    def test_to_a_new_incarnation_the_unconfirmed_goes_first_and_is_counted_once(self):
        session = attached(small())
        for number in range(1, 7):
            session.send(message(number))
        session.outgoing(NOW)
        session.receive(decode_frame(ack_frame(1)), NOW)
        session.detach()
        session.restart("another")
        session.attach(NOW, 0)
        got = frames(session)
        assert sequences(got) == [4, 5, 6]
        assert [frame.params.n for frame in got] == [1]
        assert session.id == "another"
        assert session.stats.sent == 6

    def test_a_new_incarnation_counts_from_one(self):
        session = attached()
        session.receive(batch(1, 1), NOW)
        session.detach()
        session.restart("another")
        session.attach(NOW, 0)
        assert session.receive(batch(1, 1), NOW) is not None

    def test_discarding_counts_all_that_is_not_confirmed(self):
        session = attached(small())
        for number in range(1, 7):
            session.send(message(number))
        session.outgoing(NOW)
        assert session.discard() == 6
        stats = session.stats
        assert (stats.dropped, stats.in_flight, stats.queued, stats.queued_bytes) == (6, 0, 0, 0)


class TestTime:
    def test_silence_is_broken_by_a_heartbeat(self):
        session = attached()
        assert session.deadline() == NOW + LIMITS.heartbeat
        assert session.outgoing(NOW + LIMITS.heartbeat - 0.001) == []
        assert session.outgoing(NOW + LIMITS.heartbeat) == [HEARTBEAT]
        assert session.outgoing(NOW + LIMITS.heartbeat) == []

    def test_other_frames_stand_for_a_heartbeat(self):
        session = attached()
        session.send(message(1))
        assert HEARTBEAT not in session.outgoing(NOW + LIMITS.heartbeat)
        assert session.outgoing(NOW + LIMITS.heartbeat + 0.1) == []

    @pytest.mark.parametrize("sign_of_life", ["frame", "heard"])
    def test_a_silent_connection_is_dead_until_it_gives_a_sign(self, sign_of_life):
        session = attached()
        silence = 3 * LIMITS.heartbeat
        assert not session.is_dead(NOW + silence - 0.001)
        assert session.is_dead(NOW + silence)
        if sign_of_life == "frame":
            session.receive(Heartbeat(), NOW + silence - 1)
        else:
            session.heard(NOW + silence - 1)
        assert not session.is_dead(NOW + silence)
        assert session.is_dead(NOW + 2 * silence - 1)

    def test_the_deadline_comes_no_later_than_the_death(self):
        session = attached()
        session.outgoing(NOW + 14)
        assert session.deadline() <= NOW + 3 * LIMITS.heartbeat

    def test_a_clock_that_jumps_ahead_breaks_the_connection_and_loses_nothing(self):
        """A laptop was asleep, so this side has heard nothing for an hour."""
        sender, receiver = attached(), attached()
        for number in (1, 2):
            sender.send(message(number))
        on_their_way = frames(sender)
        awake = NOW + HOUR
        assert sender.is_dead(awake)
        assert receiver.is_dead(awake)
        sender.detach()
        receiver.detach()
        sender.attach(awake, receiver.received)
        receiver.attach(awake, sender.received)
        assert not sender.is_dead(awake)
        again = frames(sender, awake)
        assert sequences(again) == sequences(on_their_way) == [1, 2]
        for frame in again:
            receiver.receive(frame, awake)
        for frame in frames(receiver, awake + LIMITS.ack_delay):
            sender.receive(frame, awake)
        assert sender.is_flushed

    def test_a_clock_that_jumps_back_harms_nothing(self):
        session = attached()
        session.receive(batch(1, 1), NOW)
        before = NOW - HOUR
        session.send(message(1))
        assert sequences(frames(session, before)) == [1]
        assert not session.is_dead(before)
        session.receive(Heartbeat(), before)
        assert ack_frame(1) in session.outgoing(NOW + 1)

    def test_a_session_without_a_connection_is_never_dead(self):
        session = Session("session", NOW)
        assert not session.is_dead(NOW + HOUR)


def test_announcements_keep_a_session_from_being_flushed():
    session = attached()
    session.announce([NodeRecord("node", "name", 1)])
    assert not session.is_flushed
    assert session.outgoing(NOW) == [announce_frame(1, [NodeRecord("node", "name", 1)])]
    assert not session.is_flushed
    session.receive(decode_frame(ack_frame(1)), NOW)
    assert session.is_flushed
