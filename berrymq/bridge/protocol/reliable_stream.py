"""One end of a link as a reliable stream of frames, which outlives the connections that carry it.

Each side numbers its frames, keeps them until the other side acknowledges them, and retransmits them on the
next connection when one was cut; the receiver ignores the numbers that it has. So within a stream nothing is
lost, duplicated or reordered.

The window bounds what is in flight. A receiver that is behind withholds its acknowledgements; then the window
fills, then the buffer behind it, and then the oldest messages in the buffer are dropped, counted, and
reported to the other side. Neither side ever stops reading, so acknowledgements always pass.

There is no I/O here and no clock: ``now`` is the time in seconds of any monotonic clock.

On the way of a message this is the last station before the connection: a router gives batches to
`Stream.send_batch`, and `Stream.frames` returns what may be written. On the way in, `Stream.receive` decides
whether a frame is new, before its content is looked at.

Invariants, by which a cut loses nothing:

- Frames in flight have consecutive numbers, ``acknowledged < n <= last``; a frame leaves only by an
  acknowledgement, so whatever the other side may lack is still here.
- A number is never used for other content that counts: where a frame in flight has to be dropped, a
  ``dropped`` frame takes its number, or the receiver would wait for it and refuse the next one.
- The receiver accepts exactly ``received + 1``. A smaller number is a duplicate, a greater one proves that
  frames were lost inside a connection, which TCP excludes, so the connection is closed.
- Batches in the buffer have no number yet. So dropping one leaves no gap.

The race at a cut: frames were written, and no acknowledgement came. Either they are lost or the
acknowledgement is. The sender can't know which, and retransmits; the receiver can, by the numbers. When both
sides link again each says how much it has received (``resume``), so that only what is really missing is sent
again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from .batches import LargeBatchBytes, Memory
from .frames import BUFFERS, DROPPED, MESSAGES, MESSAGES_FRAME, NUMBERED_FRAME, ack_frame
from .json_checks import FrameError
from .limits import Limits, LinkStats
from .offers import Offers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .frames import Frame

__all__ = ["DROP_REPORT_SECONDS", "SHARED_BYTES", "Account", "Bodies", "HoldingBody", "Stream", "Total"]

DROP_REPORT_SECONDS = 1.0
"""The least interval of reports of drops to the other side. Drops come by the thousand when they come; a
report for each would fill the link that is too slow."""

FRAME_BYTES = 256
"""The largest overhead of a frame in the window, with one batch in it. It is added to the length of the body
before that is compared with the window, so that a frame never exceeds it by its envelope."""

ITEM_BYTES = 200
"""The approximate memory for an element of the buffer beside its bytes."""


SHARED_BYTES = 64 * 1024
"""A batch of this size or more, of messages or of a question, is sent without a copy, so that several streams
hold one object."""


class Total:
    """Adds up the bytes of several accounts."""

    held = 0


class Account:
    """Counts the bytes that are held for one client; see ``transport/budget.py``.

    Args:
        total: counts them too.
    """

    __slots__ = ("held", "total")

    def __init__(self, total: Total) -> None:
        self.held = 0
        """In bytes, as if none were shared with other accounts."""
        self.total = total

    def grow(self, size: int) -> None:
        """Add to the number of bytes, or subtract.

        Args:
            size: in bytes; negative when something is released.
        """
        self.held += size
        self.total.held += size

    def share(self, data: bytes, by: int) -> None:
        """Note that a counted bytes object is held once more (1) or less (-1).

        The base class ignores it. A budget subtracts from its total what several accounts count, so that a
        large batch for fifty peers uses up the budget once.
        """


class Item(NamedTuple):
    """An element of the buffer: a batch of messages, or the body of another frame.

    It has no number: it gets one when it moves into the window.
    """

    method: bytes
    body: bytes
    messages: int
    """The number of messages in it; 0 for another frame, which is never dropped."""
    shared: bool = False
    """Other streams may hold the same body."""
    head: bytes = b""
    """The params before the body, for this stream only."""


LATER: Final = b"later"
"""The method of an element that stands for several frames, whose bodies are made when they can be sent."""


class Bodies(Protocol):
    """The bodies of several frames, each of which is made when it can be sent.

    A replay of a large history would otherwise fill the buffer at once, with frames that join copies of the
    batches that the history still holds.
    """

    method: bytes
    """Of all of the frames."""

    def next(self, *, to: Offers) -> bytes | None:
        """Return the next body; None at the end.

        Args:
            to: how the other side reads buffers.
        """

    def close(self) -> None:
        """Release what the remaining bodies would be made of."""


class Sent(NamedTuple):
    """A frame in flight.

    It is kept, unchanged, until it is acknowledged, so it can be retransmitted at any time.
    """

    n: int
    """Its number, the first one of a stream being 1."""
    method: bytes
    body: bytes
    """Of a ``messages`` frame, the batches alone, so that one large batch is the object that was given."""
    messages: int
    shared: bool = False
    head: bytes = b""


class HoldingBody(bytes):
    """The body of a frame with buffers; holds their memory for as long as the frame may be retransmitted.

    Buffers in shared memory are reused as soon as no reference is left. The receiver opens them when it reads
    the frame, so they must stay until the acknowledgement, and not only until the frame was written.

    Attributes:
        memories: the buffers.
    """

    memories: Sequence[Memory]

    @classmethod
    def of(cls, params: bytes, memories: Sequence[Memory]) -> HoldingBody:
        """Make the body of a frame.

        Args:
            params: the params.
            memories: the buffers that they name.
        """
        body = cls(params)
        body.memories = memories
        return body


class Stream:
    """The numbering, buffering and acknowledging of one end of a link.

    One object serves both directions. It is not thread-safe: the router's lock is held for every call.

    An example, with the time given by hand:

        >>> ours, theirs = Stream(), Stream()
        >>> ours.send_batch(b'["a:b","node","name",1,1,[[0,[],{}]]]', 1)
        >>> len(ours.frames(now=0.0)), ours.idle     # written, and in flight
        (1, False)
        >>> theirs.receive(1, 0, 1, now=0.0), theirs.receive(1, 0, 1, now=0.0)
        (True, False)
        >>> ours.acknowledged(1); ours.idle
        True

    Args:
        limits: its bounds.
        stats: its counters; those of the link, which may outlive the stream.
        account: counts what is held.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        stats: LinkStats | None = None,
        account: Account | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.stats = stats if stats is not None else LinkStats()
        self.received = 0
        """The number of the last frame received."""
        self.offers = Offers()
        """How the other side reads buffers, and those that it may pull."""
        self.behind = False
        """Set while messages are received faster than they are processed: acknowledgements are withheld."""
        self.wants_flush = False
        """Set when the last frame allows something to be written: an acknowledgement, or frames behind the
        window."""
        self._account = account or Account(Total())
        """Elements of the buffer and frames in flight, each with `ITEM_BYTES`."""
        self._buffer: deque[Item] = deque()
        self._later: deque[Bodies] = deque()
        """The frames that the `LATER` elements of the buffer stand for, in order."""
        self._undroppable = 0
        """The least number of elements at the head of the buffer that are no messages: with many unread
        answers, a drop must not walk past all of them each time."""
        self._buffered = 0
        """Messages in the buffer, which `Limits.buffer_messages` bounds."""
        self._buffered_bytes = 0
        """Bytes in the buffer, `ITEM_BYTES` for each element included."""
        self._in_flight: deque[Sent] = deque()
        """Frames that were written and not acknowledged, by ascending number without gaps."""
        self._in_flight_messages = 0
        self._in_flight_bytes = 0
        self._last = 0
        """The number of the last frame that was put into the window; 0 at the start."""
        self._acknowledged = 0
        """The greatest number that the other side has acknowledged."""
        self._ackable = 0
        """The number that the next frame acknowledges: `received`, or less while `behind`."""
        self._ack_sent = 0
        """The number that was acknowledged last on this connection."""
        self._ack_since: float | None = None
        """When the oldest frame without an acknowledgement was received; None if all have one."""
        self._unacked_messages = 0
        """Messages received since the last acknowledgement; a quarter of a window of them makes one due at
        once."""
        self.unreported_drops = 0
        """Messages that were dropped, and not reported to the other side yet."""
        self._drops_due = 0.0
        """The time before which no further report of drops is sent."""
        self._resend: list[Sent] = []
        """The frames in flight at the time of `resume`, until they have been written to the new
        connection."""
        self._counted_before = 0
        """The number of messages at the head of the buffer that are counted as sent already."""

    # -- sending ---------------------------------------------------------------------------------------------

    def send_batch(self, batch: bytes, count: int) -> None:
        """Add a batch of messages to the buffer; on overflow drop the oldest ones there.

        The batch that was added last is never dropped: a message larger than the whole buffer is sent all the
        same, and only then do older ones go.

        Args:
            batch: the encoded batch.
            count: the number of its messages.
        """
        method, kind = MESSAGES, type(batch)
        if kind is not bytes:
            method = BUFFERS
            if kind is LargeBatchBytes:
                memory = batch.memory  # type: ignore[attr-defined]
                params = b'"batch":%b,%b' % (
                    batch,
                    memory.parameter(to=self.offers, beside=len(batch)),
                )
                batch = HoldingBody.of(params, [memory])
        size = len(batch) + ITEM_BYTES
        shared = size > SHARED_BYTES
        self._buffer.append(Item(method, batch, count, shared))
        self._buffered += count
        self._buffered_bytes += size
        account = self._account
        account.held += size  # `Account.grow` without the call
        account.total.held += size
        if shared:
            account.share(batch, 1)
        limits = self.limits
        while self._buffered > limits.buffer_messages or self._buffered_bytes > limits.buffer_bytes:
            if not self.drop_oldest(spare=1):
                break

    def send(
        self, method: bytes, body: bytes, *, head: bytes = b"", first: bool = False, messages: int = 0
    ) -> None:
        """Add another frame at the end or the front of the buffer; it is dropped only if it has messages.

        There is no check of the bounds here: interest, questions and answers must arrive, or both sides would
        wait for each other. What they add up to is bounded by the budget of the node, which ends the link of
        a peer that does not read them (`Router._end_over_share`).

        Args:
            method: of the frame.
            body: its params; with a *head*, the last of them, an object that other streams may hold too.
            head: the first params, a few bytes, for this stream only.
            first: put it before the others.
            messages: the number of messages in it.
        """
        size = len(body) + ITEM_BYTES
        item = Item(method, body, messages, bool(head) and size > SHARED_BYTES, head)
        self._buffered += messages
        if item.shared:
            self._account.share(body, 1)
        if first:
            self._buffer.appendleft(item)
            self._undroppable += 1
        else:
            self._buffer.append(item)
        self._buffered_bytes += size
        self._account.grow(size)

    def send_later(self, bodies: Bodies) -> None:
        """Add several frames to the buffer, whose bodies are made when they can be sent.

        What is added next is sent after all of them; none of them is dropped.
        """
        self._later.append(bodies)
        self.send(LATER, b"")

    @property
    def unmade(self) -> int:
        """The number of elements of the buffer whose frames are not all made."""
        return len(self._later)

    def _make_next(self) -> None:
        """Add the next frame before the `LATER` element at the buffer's head; remove that after the last.

        It is put in front of the `LATER` element, so at most one body of a series exists at a time.
        """
        bodies = self._later[0]
        body = bodies.next(to=self.offers)
        if body is None:
            bodies.close()
            self._later.popleft()
            self._buffer.popleft()
            self._undroppable = max(0, self._undroppable - 1)
            self._buffered_bytes -= ITEM_BYTES
            self._account.grow(-ITEM_BYTES)
        else:
            self.send(bodies.method, body, first=True)

    def _drop_later(self) -> None:
        """Discard the frames that were not made yet."""
        for bodies in self._later:
            bodies.close()
        self._later.clear()

    def drop_oldest(self, spare: int = 0) -> int:
        """Drop the oldest batch of the buffer, but none of the last *spare*; return the bytes that frees.

        Interest, questions and other frames without messages stay, in their order. Frames in flight are not
        touched.
        """
        buffer = self._buffer
        index, end = self._undroppable, len(buffer) - spare
        while index < end and not buffer[index].messages:
            index += 1
        self._undroppable = index
        if index >= end:
            return 0
        item = buffer[index]
        del buffer[index]
        size = len(item.body) + ITEM_BYTES
        self._buffered -= item.messages
        self._buffered_bytes -= size
        self._account.grow(-size)
        self._unshare(item)
        self._counted_before -= min(item.messages, self._counted_before)
        self.count_drops(item.messages)
        return size

    def _unshare(self, held: Item | Sent) -> None:
        if held.shared:
            self._account.share(held.body, -1)

    def count_drops(self, count: int) -> None:
        """Count dropped messages, and report them to the other side.

        The report is a frame of its own, sent by the next call of `frames` that is not less than
        `DROP_REPORT_SECONDS` after the last report.
        """
        self.stats.dropped += count
        self.unreported_drops += count

    @property
    def held_bytes(self) -> int:
        """The number of bytes in the buffer and in flight."""
        return self._buffered_bytes + self._in_flight_bytes

    @property
    def idle(self) -> bool:
        """Whether the other side has acknowledged everything that was sent, and has pulled all buffers."""
        return not (self._buffer or self._in_flight or self._resend or self.offers)

    @property
    def capacity(self) -> int:
        """The number of messages that the buffer takes before it overflows."""
        if self._buffered_bytes >= self.limits.buffer_bytes:
            return 0
        return max(0, self.limits.buffer_messages - self._buffered)

    def frames(  # noqa: C901, PLR0912 - a loop, with each of its steps inlined
        self, now: float
    ) -> list[Frame]:
        """Return what may be written now, in order: frames within the window, or an ack that is due.

        Whatever was in flight at a `resume` comes first. Then elements of the buffer move into the window,
        consecutive batches joined to one frame of up to `Limits.frame_bytes`, until the window is full. A
        frame that exceeds the window by itself is sent when nothing else is in flight; otherwise it could
        never be sent.

        Every frame carries the present acknowledgement, so one of its own is returned only if there is
        nothing else to write.

        The caller writes what this returns, in order, to one connection. If that fails the connection is
        over, and `resume` returns the same frames again.

        Args:
            now: the time in seconds.
        """
        if self.unreported_drops and now >= self._drops_due:
            self.send(DROPPED, b'"count":%d' % self.unreported_drops)
            self.unreported_drops = 0
            self._drops_due = now + DROP_REPORT_SECONDS
        out: list[Frame] = []
        if self._resend:
            out = [as_frame(sent, self._ackable) for sent in self._resend]
            self._resend.clear()
        buffer, limits, account = self._buffer, self.limits, self._account
        while buffer:
            method, body, count, shared, head = buffer[0]
            if method is LATER:
                self._make_next()
                continue
            if self._in_flight_bytes and (  # a large one is sent when nothing else is in flight
                self._in_flight_messages + count > limits.window_messages
                or self._in_flight_bytes + len(body) + FRAME_BYTES > limits.window_bytes
            ):
                break
            item = buffer.popleft()
            freed = len(body) + ITEM_BYTES
            if self._undroppable:
                self._undroppable -= 1
            if buffer and method is MESSAGES:
                body, count, freed, shared = self._join(item)
            size = len(body) + ITEM_BYTES
            self._last = n = self._last + 1
            self._in_flight.append(sent := Sent(n, method, body, count, shared, head))
            self._in_flight_messages += count
            self._in_flight_bytes += size
            self._buffered -= count
            self._buffered_bytes -= freed
            account.held += size - freed
            account.total.held += size - freed
            if self._counted_before:  # messages resent after a restart were counted then
                counted = min(count, self._counted_before)
                self._counted_before -= counted
                self.stats.sent -= counted
            self.stats.sent += count
            if method is MESSAGES and not shared:  # `as_frame` without the call
                out.append(MESSAGES_FRAME % (n, self._ackable, body))
            else:
                out.append(as_frame(sent, self._ackable))
        if not out and self._ack_is_due(now):
            out = [ack_frame(self._ackable)]
        if out:
            self._ack_sent = self._ackable
            if self._ackable == self.received:
                self._ack_since = None
                self._unacked_messages = 0
        return out

    def _join(self, item: Item) -> tuple[bytes, int, int, bool]:
        """Add further batches of the buffer to a frame, as many as fit.

        Returns:
            All batches, the number of messages in them, their bytes in the buffer, and whether it is a single
                one that is shared.
        """
        buffer, limits = self._buffer, self.limits
        batches, size, count = [item.body], len(item.body), item.messages
        most_messages = min(limits.frame_messages, limits.window_messages - self._in_flight_messages)
        most_bytes = min(limits.frame_bytes, limits.window_bytes - FRAME_BYTES - self._in_flight_bytes)
        while buffer and size < most_bytes and count < most_messages:
            following = buffer[0]
            if (
                following.method is not MESSAGES
                or size + len(batches) + len(following.body) > most_bytes
                or count + following.messages > most_messages
            ):
                break
            buffer.popleft()
            self._unshare(following)
            batches.append(following.body)
            count += following.messages
            size += len(following.body)
        freed = size + len(batches) * ITEM_BYTES
        if len(batches) == 1:
            return item.body, count, freed, item.shared
        self._unshare(item)
        return b",".join(batches), count, freed, False

    def acknowledged(self, ack: int) -> None:
        """Process the acknowledgement of every frame up to a number.

        Also called for the acknowledgement that each frame carries. A number that was acknowledged before is
        no error: acknowledgements repeat.

        Raises:
            FrameError: that frame was never sent.
        """
        if ack > self._last:
            raise FrameError(f"frame {ack} is acknowledged, and the last one sent was {self._last}")
        in_flight = self._in_flight
        while in_flight and in_flight[0].n <= ack:
            sent = in_flight.popleft()
            size = len(sent.body) + ITEM_BYTES
            self._in_flight_messages -= sent.messages
            self._in_flight_bytes -= size
            self._account.grow(-size)
            self._unshare(sent)
            if type(sent.body) is HoldingBody:
                self.offers.hold(sent.body.memories)
        self._acknowledged = max(self._acknowledged, ack)

    # -- receiving -------------------------------------------------------------------------------------------

    def receive(self, n: int, ack: int, count: int, now: float) -> bool:
        """Record a numbered frame; return False for a duplicate.

        A duplicate is no error: it is what a retransmission looks like if only the acknowledgement was lost.
        It must be acknowledged again, or the other side would hold it for ever.

        Args:
            n: its number.
            ack: the number that it acknowledges.
            count: the number of its messages.
            now: the time.

        Raises:
            FrameError: a frame before it is missing.
        """
        if ack != self._acknowledged:
            self.acknowledged(ack)
        if n <= self.received:
            self.stats.duplicates += count
            self._ack_sent = min(self._ack_sent, self._ackable - 1)  # its ack was lost: send it again
            self._ack_since = self._ack_since or now
            self.wants_flush = True
            return False
        if n != self.received + 1:
            raise FrameError(f"frame {n} came after frame {self.received}")
        self.received = n
        self.stats.received += count
        self._unacked_messages += count
        if not self.behind:
            self._ackable = n
        if self._ack_since is None:
            self._ack_since = now
        self.wants_flush = bool(self._buffer) or self._unacked_messages >= self.limits.window_messages // 4
        return True

    def caught_up(self) -> None:
        """Send withheld acknowledgements: what was received has been processed.

        Does nothing but clear `behind` if no frame came since it was set.
        """
        self.behind = False
        if self._ackable != self.received:
            self._ackable = self.received
            self._ack_since = float("-inf")  # without delay

    def _ack_is_due(self, now: float) -> bool:
        if self._ackable == self._ack_sent or self._ack_since is None:
            return False
        return (
            now >= self._ack_since + self.limits.ack_delay
            or self._unacked_messages >= self.limits.window_messages // 4
        )

    def ack_due_at(self) -> float | None:
        """Return when an acknowledgement has to be sent on its own; None if none is due.

        In seconds of the same clock as ``now``. The owner sets a timer by it.
        """
        if self._ackable == self._ack_sent or self._ack_since is None:
            return None
        return self._ack_since + self.limits.ack_delay

    # -- cuts ------------------------------------------------------------------------------------------------

    def can_resume(self, received: int) -> bool:
        """Return whether the other side can have received exactly that many frames.

        If not, one side has lost its state, and the streams of both begin again at 1; see `restart`.
        """
        return self._acknowledged <= received <= self._last

    def resume(self, received: int) -> None:
        """Continue over a new connection: the other side has every frame up to *received*.

        The frames that the other side lacks are returned by the next call of `frames`, before any others,
        under their former numbers.

        Raises:
            FrameError: that frame was never sent, or one before it was acknowledged.
        """
        if received < self._acknowledged:
            raise FrameError(f"frame {self._acknowledged} was acknowledged, and now the last was {received}")
        self.acknowledged(received)
        self._resend = list(self._in_flight)
        self._ack_since = None
        self._ack_sent = self._ackable = self.received

    def restart(self) -> None:
        """Start a new stream to a peer that has lost its state; unacknowledged messages are sent first.

        Other frames are discarded: their senders send them again.

        Messages that were in flight are sent again under new numbers. If the peer has processed them before
        it lost its state, its deduplication by origin and sequence number recognises them
        (``node/duplicates.py``); this stream can't.

        They are not counted as sent a second time: see `_counted_before`. Nor do they make room for each
        other in the buffer, though it exceeds its limit until they are in flight again: what was dropped now
        would be counted as dropped, and may have been processed.
        """
        again = [
            Item(sent.method, sent.body, sent.messages, sent.shared, sent.head) for sent in self._in_flight
        ]
        self._counted_before += self._in_flight_messages
        self._in_flight.clear()
        self._resend = []
        self._in_flight_messages = self._in_flight_bytes = 0
        self._drop_later()
        held = [*again, *self._buffer]
        self._buffer.clear()
        self._undroppable = self._buffered = self._buffered_bytes = 0
        for item in held:
            size = len(item.body) + ITEM_BYTES
            if item.messages:
                self._buffer.append(item)
                self._buffered += item.messages
                self._buffered_bytes += size
            else:
                self._account.grow(-size)
                self._unshare(item)
        self._last = self._acknowledged = 0
        self.received = self._ackable = self._ack_sent = 0
        self._ack_since = None
        self._unacked_messages = 0

    def skip_oldest(self) -> int:
        """Drop the oldest frame in flight, which the other side refuses; return its number of messages.

        Its number is used by a frame that reports how many were dropped.

        A frame that the other side refuses, such as one above a limit that is lower there, would end each new
        connection after the first frame.
        """
        return self._skip(0) if self._in_flight else 0

    def _skip(self, index: int) -> int:
        """Put a report of its drops in the place of a frame in flight, under the same number."""
        sent = self._in_flight[index]
        if sent.method is DROPPED:  # its report must not get lost as well
            return 0
        body = b'"count":%d' % sent.messages
        self._in_flight[index] = Sent(sent.n, DROPPED, body, 0)
        self._in_flight_messages -= sent.messages
        self._in_flight_bytes -= len(sent.body) - len(body)
        self._account.grow(len(body) - len(sent.body))
        self._unshare(sent)
        self.stats.dropped += sent.messages
        return sent.messages

    def shed(self, target: int) -> None:
        """Drop messages until no more than *target* bytes are held: buffered ones first, the oldest first.

        Called when the budget of all links is exceeded, with this one among the largest.
        """
        while self.held_bytes > target and self.drop_oldest():
            pass
        for index, sent in enumerate(self._in_flight):
            if self.held_bytes <= target:
                break
            if sent.messages:
                self._skip(index)

    def last_ack(self) -> bytes | None:
        """Return the acknowledgement that is still to be sent before the link is ended, due or not."""
        if self._ackable == self._ack_sent:
            return None
        self._ack_sent = self._ackable
        return ack_frame(self._ackable)

    @property
    def oldest_in_flight(self) -> int:
        """The number of the oldest unacknowledged frame; 0 without one."""
        return self._in_flight[0].n if self._in_flight else 0

    def end(self) -> int:
        """Drop everything that is held; return the number of messages that the other side did not get.

        Nothing is sent after it. The messages are counted in `LinkStats.dropped`.
        """
        lost = self._in_flight_messages + self._buffered
        self._account.grow(-self.held_bytes)
        self._drop_later()
        for item in self._buffer:
            self._unshare(item)
        for sent in self._in_flight:
            self._unshare(sent)
        self._buffer.clear()
        self._undroppable = 0
        self._in_flight.clear()
        self._resend = []
        self._buffered = self._buffered_bytes = self._in_flight_messages = self._in_flight_bytes = 0
        self.stats.dropped += lost
        return lost

    def snapshot(self) -> LinkStats:
        """Return the counters, with the present state.

        A copy: it does not change with the link.
        """
        return replace(
            self.stats,
            in_flight=self._in_flight_messages,
            buffered=self._buffered,
            buffered_bytes=self._buffered_bytes,
        )


def as_frame(sent: Sent, ack: int) -> Frame:
    """Return a frame as bytes; with a shared body in parts, so that the body is not copied.

    Args:
        sent: the frame.
        ack: the number that it acknowledges, of now: a retransmitted frame does not repeat its former one.
    """
    if not sent.shared:
        if sent.method is MESSAGES:
            return MESSAGES_FRAME % (sent.n, ack, sent.body)
        return NUMBERED_FRAME % (sent.method, sent.n, ack, sent.head + sent.body)
    template = MESSAGES_FRAME if sent.method is MESSAGES else NUMBERED_FRAME
    before, _, after = template.rpartition(b"%b")
    values = (sent.n, ack) if sent.method is MESSAGES else (sent.method, sent.n, ack)
    return before % values + sent.head, sent.body, after
