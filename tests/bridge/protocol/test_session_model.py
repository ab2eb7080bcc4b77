"""Two ends of a link over a wire that cuts, delays and forgets, against a simple model.

The clock is virtual. What one end says is numbered, so the model of a direction is just the list of
numbers that were said, and the list of those that came.
"""

import math
from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import Raw

from berrymq.bridge.protocol.accounts import Limits
from berrymq.bridge.protocol.frames import (
    HEARTBEAT,
    Announce,
    NodeRecord,
    SendMessages,
    WireMessage,
    decode_frame,
)
from berrymq.bridge.protocol.session import Session

LIMITS = Limits(
    window_messages=8,
    window_bytes=1200,
    queue_messages=12,
    queue_bytes=1500,
    frame_messages=3,
    frame_bytes=300,
)
LARGEST_FRAME = LIMITS.frame_bytes + 400 + 600
"""One message of the largest size after a frame is all but full, and what stands around the payloads."""


class End:
    """One end, and what the model knows about the way from it to the other one."""

    def __init__(self, name, now):
        self.name = name
        self.session = Session("session", now, LIMITS)
        self.wire = deque()
        """Frames on their way to the other end."""
        self.said = []
        """The numbers of all messages that were said here, in order."""
        self.came = []
        """The numbers of those that the other end's present incarnation got."""
        self.came_before = set()
        """The numbers of those that its former incarnations got."""
        self.records = {}
        """The version of each node's record that was announced here last."""
        self.heard_records = {}
        """The same, as it came at the other end."""

    def say(self, size):
        number = len(self.said) + 1
        payload = Raw(b"[[" + b"1" * size + b"],{}]")
        self.session.send(WireMessage("test:run", payload, self.name, 0.0, self.name, number))
        self.said.append(number)

    def take(self, frame):
        """The other end got a frame from here."""
        if isinstance(frame, SendMessages):
            self.came += [message.sequence for message in frame.params.batch]
        elif isinstance(frame, Announce):
            for record in frame.params.nodes:
                self.heard_records[record.id] = record.version


SIDES = st.sampled_from(["left", "right"])


class Link(RuleBasedStateMachine):
    """The rules are what can happen to a link; `settle` says how it has to end."""

    @initialize()
    def connect_first(self):
        self.now = 1000.0
        self.restarted = False
        self.left = End("left", self.now)
        self.right = End("right", self.now)
        self.connect()

    def end(self, side):
        return self.left if side == "left" else self.right

    def other(self, end):
        return self.right if end is self.left else self.left

    def pump(self, end):
        session = end.session
        end.wire.extend(session.outgoing(self.now))
        assert session.outgoing(self.now) == []
        if session.attached and not session.is_dead(self.now):
            assert session.deadline() > self.now, "a timer that was set by this would never rest"

    def deliver(self, end, count):
        """Let the other end get so many of the frames that are on their way."""
        receiver = self.other(end).session
        for _ in range(min(count, len(end.wire))):
            data = end.wire.popleft()
            if receiver.attached:
                news = receiver.receive(decode_frame(data), self.now)
                if news is not None:
                    end.take(news)

    def connect(self, late=0):
        """A new connection, as `interconnect` makes it.

        Meanwhile up to *late* frames come over the former one.
        """
        left, right = self.left.session, self.right.session
        left.detach()
        claimed = left.received
        confirmed = right.received
        self.deliver(self.left, late)
        self.now += LIMITS.ack_delay if late else 0.0
        self.pump(self.right)  # into the void
        right.detach()
        self.left.wire.clear()
        self.right.wire.clear()
        right.attach(self.now, claimed)
        left.attach(self.now, confirmed)
        self.is_cut = False

    # -- what can happen -----------------------------------------------------------------------------------

    @rule(side=SIDES, sizes=st.lists(st.sampled_from([1, 50, 200, 400]), min_size=1, max_size=9))
    def say(self, side, sizes):
        end = self.end(side)
        for size in sizes:
            before = end.session.stats
            end.say(size)
            after = end.session.stats
            full = (
                before.queued >= LIMITS.queue_messages or before.queued_bytes + size + 8 > LIMITS.queue_bytes
            )
            assert (after.dropped > before.dropped) <= full, "something was dropped although there was room"
        self.pump(end)

    @rule(side=SIDES, node=st.sampled_from("abc"))
    def announce(self, side, node):
        end = self.end(side)
        version = end.records.get(node, 0) + 1
        end.records[node] = version
        end.session.announce([NodeRecord(node, "name", version)])
        self.pump(end)

    @rule(side=SIDES, count=st.integers(1, 6))
    def arrive(self, side, count):
        end = self.end(side)
        self.deliver(end, count)
        self.pump(self.other(end))

    @rule(side=SIDES)
    def turn(self, side):
        self.pump(self.end(side))

    @rule(seconds=st.sampled_from([0.001, 0.02, 1.0, 6.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(side=SIDES, behind=st.booleans())
    def fall_behind(self, side, behind):
        self.end(side).session.behind = behind

    @rule(from_left=st.integers(0, 4), from_right=st.integers(0, 4), side=st.none() | SIDES)
    def cut(self, from_left, from_right, side):
        """The connection ends; some of what was on its way comes through, and one side may notice later."""
        self.deliver(self.left, from_left)
        self.deliver(self.right, from_right)
        self.left.wire.clear()
        self.right.wire.clear()
        self.is_cut = True
        for end in (self.left, self.right):
            if side != end.name:
                end.session.detach()

    @rule(late=st.integers(0, 5))
    def resume(self, late):
        self.connect(late)

    @precondition(lambda self: not (self.left.session.attached and self.right.session.attached))
    @rule(side=SIDES)
    def restart(self, side):
        """One side is a new incarnation; the other one says again what was not confirmed, to the new one."""
        self.restarted = True
        gone = self.end(side)
        stays = self.other(gone)
        stays.session.detach()
        stays.came_before.update(stays.came)
        fresh = End(gone.name, self.now)
        fresh.said, fresh.came, fresh.came_before = gone.said[:], [], set(gone.said)
        gone.__dict__.update(fresh.__dict__)
        stays.wire.clear()
        stays.came = []
        stays.session.restart("another session")
        gone.session.id = "another session"
        stays.session.announce([NodeRecord(node, "name", version) for node, version in stays.records.items()])
        stays.heard_records = {}
        self.connect()

    # -- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def in_order_and_once(self):
        for end in (self.left, self.right):
            assert end.came == sorted(set(end.came))

    @invariant()
    def within_bounds(self):
        for end in (self.left, self.right):
            stats = end.session.stats
            assert stats.in_flight <= LIMITS.window_messages
            assert stats.queued <= LIMITS.queue_messages + LIMITS.window_messages  # after a restart
            assert end.session._window.size <= 2 * LIMITS.window_bytes + LARGEST_FRAME
            assert stats.queued_bytes == sum(len(message.payload) for message in end.session._queue)

    @invariant()
    def nothing_vanishes(self):
        """What was said has come, or is on its way, waits, or is counted as dropped."""
        for end in (self.left, self.right):
            stats = end.session.stats
            missing = set(end.said) - set(end.came) - end.came_before
            assert len(missing) <= stats.dropped + stats.queued + stats.in_flight

    def teardown(self):
        if hasattr(self, "left"):
            self.settle()

    def settle(self):
        """Quiet returns: both ends keep up, nothing is cut any more."""
        ends = (self.left, self.right)
        for end in ends:
            end.session.behind = False
        if self.is_cut:
            self.connect()
        for _ in range(100):
            for end in ends:
                self.pump(end)
                self.deliver(end, len(end.wire))
            if all(end.session.is_flushed for end in ends):
                break
            due = min(end.session.deadline() for end in ends)
            assert due < math.inf
            self.now = max(due, self.now)
        for end in ends:
            stats = end.session.stats
            assert end.session.is_flushed
            assert stats.in_flight == stats.queued == stats.queued_bytes == end.session._window.size == 0
            assert end.heard_records == end.records
            missing = len(set(end.said) - set(end.came) - end.came_before)
            told = self.other(end).session.stats.lost
            if self.restarted:  # what a former incarnation got may be said again, and dropped then
                assert missing <= stats.dropped
            else:
                assert missing == told == stats.dropped
                assert self.other(end).session.stats.received == len(end.came)
        self.falls_silent()

    def falls_silent(self):
        for _ in range(10):
            self.now += LIMITS.ack_delay
            for end in (self.left, self.right):
                self.pump(end)
                self.deliver(end, len(end.wire))
        for _ in range(3):
            self.now += LIMITS.heartbeat
            for end in (self.left, self.right):
                assert end.session.outgoing(self.now) == [HEARTBEAT]
                assert end.session.outgoing(self.now) == []


TestLink = Link.TestCase
TestLink.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
