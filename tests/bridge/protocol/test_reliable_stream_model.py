"""Two ends of a link over a wire that cuts, delays and forgets, against a simple model.

The clock is virtual. What one end publishes is numbered, so the model of a direction is just the list of
numbers that were published, and the list of those that came.
"""

from collections import Counter, deque

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from berrymq.bridge.protocol import batches, frames
from berrymq.bridge.protocol.batches import parse_batch, parse_messages
from berrymq.bridge.protocol.frames import INTEREST, parse, parse_params
from berrymq.bridge.protocol.limits import Limits
from berrymq.bridge.protocol.reliable_stream import Stream, Total

LIMITS = Limits(
    window_messages=8,
    window_bytes=2_400,
    buffer_messages=12,
    buffer_bytes=4_000,
    frame_messages=3,
    frame_bytes=400,
)
HEAD = batches.batch_head("test:run", "o", "s")


@pytest.fixture(autouse=True)
def some_batches_are_large():
    """As large as some of those that are passed on as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("berrymq.bridge.protocol.reliable_stream.SHARED_BYTES", 300)
        yield


class End:
    """One end, and what the model knows about the way from it to the other one."""

    def __init__(self, name):
        self.name = name
        self.held = 0
        self.other = Total()
        self.shared = Counter()
        self.stream = self.new_stream()
        self.attached = False
        self.wire = deque()
        """Frames on their way to the other end."""
        self.published = []
        """The numbers of all messages that were published here, in order."""
        self.came = []
        """The numbers of those that the other end's present incarnation got."""
        self.came_before = set()
        """The numbers of those that its former incarnations got."""
        self.interests = 0
        """How often something else was published between the messages; what came last of it is not older."""
        self.interests_came = 0

    def new_stream(self):
        return Stream(LIMITS, account=self)

    @property
    def total(self):
        return self.other

    def grow(self, size):
        self.held += size
        self.other.held += size

    def share(self, data, by):
        self.shared[id(data)] += by

    def publish(self, sizes):
        """Publish one batch."""
        first = len(self.published) + 1
        messages = [b'[1,[%d,"%b"],{}]' % (first + place, b"x" * size) for place, size in enumerate(sizes)]
        self.published += range(first, first + len(sizes))
        self.stream.send_batch(batches.encode_batch(HEAD, first, messages, len(sizes)), len(sizes))


SIDES = st.sampled_from(["left", "right"])
SIZES = st.sampled_from([1, 1, 50, 300, 3_000])


class Link(RuleBasedStateMachine):
    """The rules are what can happen to a link; `settle` says how it has to end."""

    @initialize()
    def connect_first(self):
        self.now = 1000.1
        self.sheds = self.restarts = 0
        self.left, self.right = End("left"), End("right")
        self.connect()

    @property
    def ends(self):
        return (self.left, self.right)

    def end(self, side):
        return self.left if side == "left" else self.right

    def other(self, end):
        return self.right if end is self.left else self.left

    def flush(self, end):
        """Write what may be written; as a router does, a cut link writes nothing."""
        if end.attached:
            end.wire.extend(frames.join(one) for one in end.stream.frames(self.now))
            assert end.stream.frames(self.now) == []

    def deliver(self, end, count):
        """Let the other end get so many of the frames that are on their way."""
        receiver = self.other(end)
        for _ in range(min(count, len(end.wire))):
            data = end.wire.popleft()
            if receiver.attached:
                self.take(end, receiver.stream, data)

    def take(self, end, stream, data):
        envelope = parse(data)
        params = parse_params(envelope.method, envelope.params)
        if envelope.method == "ack":
            stream.acknowledged(params.ack)
        elif envelope.method == "messages":
            batches = [parse_batch(raw) for raw in params.batches]
            if stream.receive(params.n, params.ack, sum(batch.count for batch in batches), self.now):
                for batch in batches:
                    end.came += [message.args[0] for message in parse_messages(batch)]
        elif stream.receive(params.n, params.ack, 0, self.now):
            if envelope.method == "interest":
                assert int(params.add[0][2:]) > end.interests_came
                end.interests_came = int(params.add[0][2:])
            else:
                stream.stats.lost += params.count

    def connect(self):
        """A new connection, as `interconnect` makes it: what each side has is told, and the wire is new."""
        received = self.left.stream.received, self.right.stream.received
        for end, has in zip(self.ends, reversed(received), strict=True):
            end.wire.clear()
            assert end.stream.can_resume(has)
            end.stream.resume(has)
            end.attached = True

    # -- what can happen -----------------------------------------------------------------------------------

    @rule(side=SIDES, batches=st.lists(st.lists(SIZES, min_size=1, max_size=4), min_size=1, max_size=5))
    def publish(self, side, batches):
        end = self.end(side)
        for sizes in batches:
            stream = end.stream
            dropped, room, size = stream.stats.dropped, stream.capacity, stream._buffered_bytes
            end.publish(sizes)
            full = len(sizes) > room or size + sum(sizes) + 300 + 30 * len(sizes) > LIMITS.buffer_bytes
            assert (stream.stats.dropped > dropped) <= full, "something was dropped although there was room"
        self.flush(end)

    @rule(side=SIDES)
    def announce_interest(self, side):
        end = self.end(side)
        end.interests += 1
        end.stream.send(INTEREST, b'"add":["a:%d"]' % end.interests)
        self.flush(end)

    @rule(side=SIDES, count=st.integers(1, 6))
    def arrive(self, side, count):
        end = self.end(side)
        self.deliver(end, count)
        self.flush(self.other(end))

    @rule(side=SIDES)
    def turn(self, side):
        self.flush(self.end(side))

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.02, 1.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(side=SIDES, behind=st.booleans())
    def fall_behind_or_catch_up(self, side, behind):
        stream = self.end(side).stream
        if behind:
            stream.behind = True
        else:
            stream.caught_up()

    @rule(from_left=st.integers(0, 4), from_right=st.integers(0, 4), notices=st.none() | SIDES)
    def cut(self, from_left, from_right, notices):
        """The connection ends; some of what was on its way comes through, and one side may notice later."""
        self.deliver(self.left, from_left)
        self.deliver(self.right, from_right)
        for end in self.ends:
            end.wire.clear()
            if notices in (None, end.name):
                end.attached = False

    @rule()
    def resume(self):
        self.connect()

    @rule(side=SIDES)
    def restart(self, side):
        """One side is a new process; the other one says again what was not acknowledged, to the new one."""
        self.restarts += 1
        gone = self.end(side)
        stays = self.other(gone)
        fresh = End(gone.name)
        fresh.published, fresh.came_before = gone.published[:], set(gone.published)
        gone.__dict__.update(fresh.__dict__)
        stays.came_before.update(stays.came)
        stays.came = []
        stays.interests_came = 0
        dropped = stays.stream.stats.dropped
        stays.stream.restart()
        assert stays.stream.stats.dropped == dropped
        gone.stream = gone.new_stream()
        for end in self.ends:
            end.wire.clear()
            end.attached = True
            self.flush(end)  # as the router does while it attaches

    @precondition(lambda self: self.left.stream.oldest_in_flight or self.right.stream.oldest_in_flight)
    @rule(side=SIDES, skip=st.booleans(), most=st.sampled_from([0, 1000, 3000]))
    def shed(self, side, skip, most):
        """Memory is short, or the other side has refused a frame twice; the connection was cut, then."""
        end = self.end(side)
        self.cut(0, 0, None)
        self.sheds += 1
        if skip:
            end.stream.skip_oldest()
        else:
            end.stream.shed(most)

    # -- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def in_order_and_once(self):
        for end in self.ends:
            assert end.came == sorted(set(end.came))

    @invariant()
    def within_the_window(self):
        for end in self.ends:
            stream = end.stream
            assert len(stream._in_flight) <= 1 or (
                stream._in_flight_messages <= LIMITS.window_messages
                and stream._in_flight_bytes <= LIMITS.window_bytes
            )

    @invariant()
    def within_the_buffer(self):
        for end in self.ends:
            stream = end.stream
            batches = sum(item.messages > 0 for item in stream._buffer)
            others = sum(len(item.body) + 200 for item in stream._buffer if not item.messages)
            assert stream.snapshot().buffered <= LIMITS.buffer_messages or batches == 1
            assert stream._buffered_bytes - others <= LIMITS.buffer_bytes or batches == 1

    @invariant()
    def what_is_said_to_be_held_is_held(self):
        for end in self.ends:
            stream = end.stream
            buffered = sum(len(item.body) + 200 for item in stream._buffer)
            in_flight = sum(len(sent.body) + 200 for sent in stream._in_flight)
            assert (stream._buffered_bytes, stream._in_flight_bytes) == (buffered, in_flight)
            assert end.held == stream.held_bytes == buffered + in_flight
            large = [id(one.body) for one in (*stream._buffer, *stream._in_flight) if one.shared]
            assert +end.shared == Counter(large)
            assert stream.snapshot().buffered == sum(item.messages for item in stream._buffer)
            assert stream._in_flight_messages == sum(sent.messages for sent in stream._in_flight)

    @invariant()
    def nothing_vanishes(self):
        """What was published has come, or is in flight, waits, or is counted as dropped."""
        for end in self.ends:
            stats = end.stream.snapshot()
            missing = set(end.published) - set(end.came) - end.came_before
            assert len(missing) <= stats.dropped + stats.buffered + stats.in_flight

    def teardown(self):
        if hasattr(self, "left"):
            self.settle()

    def settle(self):
        """Quiet returns: both ends keep up, nothing is cut any more."""
        for end in self.ends:
            end.stream.caught_up()
        self.connect()
        for _ in range(200):
            self.now += LIMITS.ack_delay
            for end in self.ends:
                self.flush(end)
                self.deliver(end, len(end.wire))
            if all(end.stream.idle for end in self.ends):
                break
        self.now += 1.0  # so that drops are told
        for _ in range(8):
            self.now += LIMITS.ack_delay
            for end in self.ends:
                self.flush(end)
                self.deliver(end, len(end.wire))
        for end in self.ends:
            self.has_settled(end)
            assert end.stream.frames(self.now + 100) == [], "it does not fall silent"

    def has_settled(self, end):
        stream, stats = end.stream, end.stream.snapshot()
        assert stream.idle
        assert stats.in_flight == stats.buffered == stats.buffered_bytes == end.held == 0
        missing = len(set(end.published) - set(end.came) - end.came_before)
        told = self.other(end).stream.stats.lost
        if self.restarts:  # what a former incarnation got may go again, and be dropped then
            assert missing <= stats.dropped
        elif self.sheds:  # what was given up in flight may have come before
            assert missing <= stats.dropped
            assert missing <= told
        else:
            assert missing == told == stats.dropped
            assert self.other(end).stream.stats.received == len(end.came)
            assert stats.sent == len(end.published) - stats.dropped
            assert end.interests == end.interests_came


TestLink = Link.TestCase
TestLink.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
