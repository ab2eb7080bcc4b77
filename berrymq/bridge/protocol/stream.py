"""One end of a link as a reliable stream of frames, which outlives the connections that carry it.

Each side numbers its frames, keeps them until the other side acknowledges them, and retransmits them on the
next connection when one was cut; the receiver leaves out the numbers that it has. So within a stream nothing
is lost, doubled or put out of order.

The window bounds what is in flight. A receiver that is behind withholds its acknowledgements; then the window
fills, then the buffer behind it, and from there on the oldest messages in the buffer are dropped, counted,
and the loss is told to the other side. Neither side ever stops reading, so acknowledgements always pass.

There is no I/O here and no clock: ``now`` is in seconds of any steady clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from .frames import DROPPED, MESSAGES, MESSAGES_FRAME, NUMBERED_FRAME, FrameError, ack_frame
from .limits import Limits, LinkStats

if TYPE_CHECKING:
    from .frames import Frame

__all__ = ["DROP_REPORT_SECONDS", "SHARED_BYTES", "Account", "Bodies", "Stream", "Total"]

DROP_REPORT_SECONDS = 1.0
"""Drops are told to the other side this often at most."""

FRAME_BYTES = 256
"""What a frame takes in the window beside one batch of it, at most."""

ITEM_BYTES = 200
"""What one element of the buffer takes in memory beside its bytes, about."""


SHARED_BYTES = 64 * 1024
"""A batch of this size or more is passed on as the object that it is, which other streams hold too."""


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
        """In bytes, as if none of them were shared with other accounts."""
        self.total = total

    def grow(self, size: int) -> None:
        """Count so many bytes more; fewer, if negative."""
        self.held += size
        self.total.held += size

    def share(self, data: bytes, by: int) -> None:
        """Note that a bytes object that this has grown by is held once more (1) or less (-1)."""


class Item(NamedTuple):
    """Something that waits to be sent: a batch of messages, or the body of another frame."""

    method: bytes
    body: bytes
    messages: int
    """How many messages are in it; 0 for what is none, and is never dropped."""
    shared: bool = False
    """Other streams may hold the same object."""


LATER: Final = b"later"
"""The method of an item that stands for frames whose bodies are made when their turn comes."""


class Bodies(Protocol):
    """The bodies of frames that are made one after another, each when it can be sent."""

    method: bytes

    def next(self) -> bytes | None:
        """Return the next body; None at the end."""

    def close(self) -> None:
        """Let go of what the bodies are made of."""


class Sent(NamedTuple):
    """A frame in flight."""

    n: int
    method: bytes
    body: bytes
    """Of a frame of messages, the batches alone, so that one large batch is the object that was given."""
    messages: int
    shared: bool = False


class Stream:
    """The numbering, buffering and acknowledging of one end of a link.

    Args:
        limits: its bounds.
        stats: where it counts; those of the link, which may outlive the stream.
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
        """The number of the last frame that came."""
        self.behind = False
        """Set while what was received is not dealt with fast enough: acknowledgements are withheld."""
        self.wants_flush = False
        """Something may be written since the last frame came: an acknowledgement, or what waited for one."""
        self._account = account or Account(Total())
        self._buffer: deque[Item] = deque()
        self._later: deque[Bodies] = deque()
        """Those that `LATER` items of the buffer stand for, in their order."""
        self._undroppable = 0
        """At least this many items at the head of the buffer are no messages: whoever lets answers pile up
        must not make each drop walk past all of them.
        """
        self._buffered = 0
        self._buffered_bytes = 0
        self._in_flight: deque[Sent] = deque()
        self._in_flight_messages = 0
        self._in_flight_bytes = 0
        self._last = 0
        self._acknowledged = 0
        self._ackable = 0
        self._ack_sent = 0
        self._ack_since: float | None = None
        self._unacked_messages = 0
        self.unreported_drops = 0
        """Messages that were dropped, and of which the other side was not told yet."""
        self._drops_due = 0.0
        self._resend: list[Sent] = []
        self._counted_before = 0
        """So many of the messages at the head of the buffer are counted as sent already."""

    # -- sending ---------------------------------------------------------------------------------------------

    def send_batch(self, batch: bytes, count: int) -> None:
        """Put a batch of messages into the buffer; on overflow the oldest ones there are dropped."""
        size = len(batch) + ITEM_BYTES
        shared = size > SHARED_BYTES
        self._buffer.append(Item(MESSAGES, batch, count, shared))
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

    def send(self, method: bytes, body: bytes, *, first: bool = False) -> None:
        """Put another frame into the buffer, behind or before what waits there; it is never dropped."""
        size = len(body) + ITEM_BYTES
        item = Item(method, body, 0)
        if first:
            self._buffer.appendleft(item)
            self._undroppable += 1
        else:
            self._buffer.append(item)
        self._buffered_bytes += size
        self._account.grow(size)

    def send_later(self, bodies: Bodies) -> None:
        """Put frames into the buffer behind what waits there, whose bodies are made when their turn comes.

        What is put there next comes behind all of them; none of them is dropped.
        """
        self._later.append(bodies)
        self.send(LATER, b"")

    def _make_next(self) -> None:
        """Put the next frame before the `LATER` item at the head of the buffer, or take that out."""
        bodies = self._later[0]
        body = bodies.next()
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
        """Make no more frames."""
        for bodies in self._later:
            bodies.close()
        self._later.clear()

    def drop_oldest(self, spare: int = 0) -> int:
        """Drop the oldest batch of the buffer, but none of the last *spare*; return the bytes that frees."""
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
        """Count messages for the other side that were dropped, and have it told."""
        self.stats.dropped += count
        self.unreported_drops += count

    @property
    def held_bytes(self) -> int:
        """How many bytes this end holds in its buffer and in flight."""
        return self._buffered_bytes + self._in_flight_bytes

    @property
    def buffered(self) -> int:
        """How many messages wait behind the window."""
        return self._buffered

    @property
    def idle(self) -> bool:
        """Whether the other side has acknowledged everything that was sent."""
        return not (self._buffer or self._in_flight or self._resend)

    @property
    def capacity(self) -> int:
        """How many more messages the buffer takes before it overflows."""
        if self._buffered_bytes >= self.limits.buffer_bytes:
            return 0
        return max(0, self.limits.buffer_messages - self._buffered)

    def frames(  # noqa: C901, PLR0912 - a loop, with each of its steps inlined
        self, now: float
    ) -> list[Frame]:
        """Take out what may be written now, in order: frames within the window, or an ack that is due."""
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
            method, body, count, shared = buffer[0]
            if method is LATER:
                self._make_next()
                continue
            if self._in_flight_bytes and (  # a large one goes when nothing else is in flight
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
            self._in_flight.append(sent := Sent(n, method, body, count, shared))
            self._in_flight_messages += count
            self._in_flight_bytes += size
            self._buffered -= count
            self._buffered_bytes -= freed
            account.held += size - freed
            account.total.held += size - freed
            if self._counted_before:  # what goes again after a restart was counted then
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
        """Put further batches of the buffer into the frame of one, as many as fit.

        Returns:
            All of them, the messages in them, the bytes that they took in the buffer, and whether it is a
            single one that is shared.
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
        """The other side has every frame up to a number.

        Raises:
            FrameError: it acknowledges what was never sent.
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
        self._acknowledged = max(self._acknowledged, ack)

    # -- receiving -------------------------------------------------------------------------------------------

    def receive(self, n: int, ack: int, count: int, now: float) -> bool:
        """Note that a numbered frame has come; False if it came before.

        Args:
            n: its number.
            ack: what it acknowledges.
            count: how many messages it brings.
            now: the time.

        Raises:
            FrameError: a frame before it is missing.
        """
        if ack != self._acknowledged:
            self.acknowledged(ack)
        if n <= self.received:
            self.stats.duplicates += count
            self._ack_sent = min(self._ack_sent, self._ackable - 1)  # its ack was lost: say it again
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
        """What was received is dealt with: withheld acknowledgements may go."""
        self.behind = False
        if self._ackable != self.received:
            self._ackable = self.received
            self._ack_since = float("-inf")  # at once

    def _ack_is_due(self, now: float) -> bool:
        if self._ackable == self._ack_sent or self._ack_since is None:
            return False
        return (
            now >= self._ack_since + self.limits.ack_delay
            or self._unacked_messages >= self.limits.window_messages // 4
        )

    def ack_due_at(self) -> float | None:
        """When an acknowledgement has to go by itself; None if there is none to send."""
        if self._ackable == self._ack_sent or self._ack_since is None:
            return None
        return self._ack_since + self.limits.ack_delay

    # -- cuts ------------------------------------------------------------------------------------------------

    def can_resume(self, received: int) -> bool:
        """Whether the other side can have got exactly that many frames."""
        return self._acknowledged <= received <= self._last

    def resume(self, received: int) -> None:
        """Go on over a new connection: the other side has every frame up to *received*.

        Raises:
            FrameError: it has what was never sent, or lacks what it acknowledged.
        """
        if received < self._acknowledged:
            raise FrameError(f"frame {self._acknowledged} was acknowledged, and now the last was {received}")
        self.acknowledged(received)
        self._resend = list(self._in_flight)
        self._ack_since = None
        self._ack_sent = self._ackable = self.received

    def restart(self) -> None:
        """Begin anew with one who knows nothing of this stream: what was not acknowledged goes first.

        Only messages go again; what else was said is said anew by whoever says it.
        """
        again = [
            Item(sent.method, sent.body, sent.messages) for sent in self._in_flight if sent.method is MESSAGES
        ]
        for sent in self._in_flight:
            self._account.grow(-len(sent.body) - ITEM_BYTES)
            self._unshare(sent)
        self._counted_before += sum([item.messages for item in again])
        self._in_flight.clear()
        self._resend = []
        self._in_flight_messages = self._in_flight_bytes = 0
        waiting = [item for item in self._buffer if item.method is MESSAGES]
        self._account.grow(-self._buffered_bytes)
        self._drop_later()
        self._buffer.clear()
        self._undroppable = 0
        self._buffered = self._buffered_bytes = 0
        for item in again:  # the batches of a frame in a row are sent as one batch is
            self.send_batch(item.body, item.messages)
        for item in waiting:
            self._unshare(item)
            self.send_batch(item.body, item.messages)
        self._last = self._acknowledged = 0
        self.received = self._ackable = self._ack_sent = 0
        self._ack_since = None
        self._unacked_messages = 0

    def skip_oldest(self) -> int:
        """Give up the oldest frame in flight, which the other side refuses; return its number of messages.

        Its number is kept, with a frame that says how many were dropped.
        """
        return self._skip(0) if self._in_flight else 0

    def _skip(self, place: int) -> int:
        sent = self._in_flight[place]
        if sent.method is DROPPED:  # what it says must not get lost as well
            return 0
        body = b'"count":%d' % sent.messages
        self._in_flight[place] = Sent(sent.n, DROPPED, body, 0)
        self._in_flight_messages -= sent.messages
        self._in_flight_bytes -= len(sent.body) - len(body)
        self._account.grow(len(body) - len(sent.body))
        self._unshare(sent)
        self.stats.dropped += sent.messages
        return sent.messages

    def shed(self, target: int) -> None:
        """Hold no more bytes than that: drop the oldest messages that wait, then those in flight."""
        while self.held_bytes > target and self.drop_oldest():
            pass
        for place, sent in enumerate(self._in_flight):
            if self.held_bytes <= target:
                break
            if sent.method is MESSAGES:
                self._skip(place)

    @property
    def oldest_in_flight(self) -> int:
        """The number of the oldest frame that was not acknowledged; 0 if there is none."""
        return self._in_flight[0].n if self._in_flight else 0

    def end(self) -> int:
        """Give up everything that is held; return how many messages the other side did not get."""
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
        """What was counted, with what is held at this moment."""
        return replace(
            self.stats,
            in_flight=self._in_flight_messages,
            buffered=self._buffered,
            buffered_bytes=self._buffered_bytes,
        )


def as_frame(sent: Sent, ack: int) -> Frame:
    """Return a frame to be written, around a large batch in parts, so that the batch is not copied."""
    if sent.method is not MESSAGES:
        return NUMBERED_FRAME % (sent.method, sent.n, ack, sent.body)
    if not sent.shared:
        return MESSAGES_FRAME % (sent.n, ack, sent.body)
    head, _, tail = MESSAGES_FRAME.partition(b"%b")
    return head % (sent.n, ack), sent.body, tail
