"""One end of a link, which outlives the connections that carry it.

Each side numbers its frames, keeps them until the other side acknowledges them, and sends them again on the
next connection when one was cut; the receiving side drops the numbers that it has. So within a session
nothing is lost, doubled or put out of order.

What may be under way is limited by a window. A receiver that is behind withholds its acknowledgements; the
window fills, then the queue behind it up to its bound, and from there on the oldest waiting messages are
dropped, counted, and the loss is told to the other side. Neither side ever stops reading, so
acknowledgements and heartbeats pass.

What a hub has confirmed it may not have handed on when it is killed. So on the way to a hub the latest
messages are kept a little longer than until they are confirmed, and its successor gets them once more; the
nodes behind it tell copies by their numbers (see ``seen.py``).

There is no I/O here and no clock: ``now`` is in seconds of any steady clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from .accounts import Limits, LinkStats
from .frames import (
    HEARTBEAT,
    Ack,
    Announce,
    Dropped,
    Frame,
    NodeRecord,
    SendMessages,
    WireMessage,
    ack_frame,
    announce_frame,
    counted,
    dropped_frame,
    messages_frame,
    record_size,
    said_again,
)
from .receipts import Receipts
from .retention import Retention
from .window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Session"]


DROP_REPORT_SECONDS = 1.0
"""Losses are told to the other side this often at most."""

RECORDS_IN_FRAME = 1_000
"""How many nodes are announced in one frame at most."""


class Session:
    """One end of a link.

    Args:
        id: names the session to both sides.
        now: the time.
        limits: its bounds.
        to_hub: the other side hands on; what it has confirmed last is kept for its successor.
    """

    def __init__(self, id: str, now: float, limits: Limits | None = None, *, to_hub: bool = False) -> None:
        self.id = id
        self.limits = limits or Limits()
        self.attached = False
        self.behind = False
        """Set while this side is behind with what it received: acknowledgements are withheld."""
        self.holding = False
        """Set while messages wait for the nodes behind the other side to be there again."""
        self.overflowed = 0
        """Messages that were dropped since more waited than may."""
        self._stats = LinkStats()
        self._queue: deque[WireMessage] = deque()
        self._queue_bytes = 0
        self._announcements: dict[str, NodeRecord] = {}
        self._unreported_drops = 0
        self._drop_report_due = now
        self._window = Window(self.limits)
        self._retained = Retention(self.limits.window_messages, self.limits.window_bytes) if to_hub else None
        self._resend: list[bytes] = []
        self._receipts = self._new_receipts()
        self._heard = now
        self._spoke = now

    def _new_receipts(self) -> Receipts:
        return Receipts(self.limits.ack_delay, self.limits.window_messages // 4)

    # -- what goes out ---------------------------------------------------------------------------------------

    def send(self, message: WireMessage) -> None:
        """Put a message into the queue; on overflow the oldest ones there make room."""
        limits, queue = self.limits, self._queue
        queue.append(message)
        self._queue_bytes += len(message.payload)
        if len(queue) > limits.queue_messages or self._queue_bytes > limits.queue_bytes:
            while len(queue) > limits.queue_messages or (
                self._queue_bytes > limits.queue_bytes and len(queue) > 1
            ):
                self._queue_bytes -= len(queue.popleft().payload)
                self._stats.dropped += 1
                self._unreported_drops += 1
                self.overflowed += 1

    def announce(self, records: Iterable[NodeRecord]) -> None:
        """Tell the other side about nodes; of two records of one node that wait, the later one is sent."""
        for record in records:
            self._announcements[record.id] = record

    def outgoing(self, now: float) -> list[bytes]:
        """The frames that can go now, in order. Call it after anything else was called."""
        if not self.attached:
            return []
        frames = self._resend
        self._resend = []
        window = self._window
        while self._announcements and window.takes_control:
            records = self._next_records()
            more = bool(self._announcements)
            frames.append(window.add(announce_frame(window.next, records, more=more), []))
        if self._unreported_drops and now >= self._drop_report_due and window.takes_control:
            self._drop_report_due = now + DROP_REPORT_SECONDS
            count, self._unreported_drops = self._unreported_drops, 0
            frames.append(window.add(dropped_frame(window.next, count), []))
        while self._queue and not self.holding and window.is_open:
            messages = self._next_batch()
            self._stats.sent += counted(messages)
            frames.append(window.add(messages_frame(window.next, messages), messages))
        if not self.behind and self._receipts.are_due(now):
            frames.append(ack_frame(self._receipts.acknowledge()))
        if not frames and now - self._spoke >= self.limits.heartbeat:
            frames.append(HEARTBEAT)
        if frames:
            self._spoke = now
        if self._retained is not None:
            self._retained.trim(now)
        return frames

    def _next_records(self) -> list[NodeRecord]:
        waiting = self._announcements
        records: list[NodeRecord] = []
        size = 0
        while waiting and len(records) < RECORDS_IN_FRAME:
            id, record = next(iter(waiting.items()))
            size += record_size(record)
            if records and size > self.limits.announced_bytes:
                break
            records.append(waiting.pop(id))
        return records

    def _next_batch(self) -> list[WireMessage]:
        queue, limits, room = self._queue, self.limits, self._window.room
        batch: list[WireMessage] = []
        size = 0
        while queue and (not batch or (len(batch) < room and size < limits.frame_bytes)):
            message = queue.popleft()
            size += len(message.payload)
            batch.append(message)
        self._queue_bytes -= size
        return batch

    # -- what comes in ---------------------------------------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> Frame | None:
        """Take what came; the frame, if there is something in it to act on.

        Raises:
            ValueError: the other side does not keep to the protocol; the connection is to be closed.
        """
        self._heard = now
        if isinstance(frame, SendMessages | Announce | Dropped):
            if not self._receipts.take(frame.params.n, now):
                self._stats.duplicates += 1
                return None
            if isinstance(frame, SendMessages):
                self._stats.received += counted(frame.params.batch)
                self._receipts.count(len(frame.params.batch))
            elif isinstance(frame, Dropped):
                self._stats.lost += frame.params.count
            return frame
        if isinstance(frame, Ack):
            self._acknowledge(frame.params.n)
        return None

    def heard(self, now: float) -> None:
        """Something came on the connection that is not a frame."""
        self._heard = now

    def _acknowledge(self, n: int) -> None:
        self.check_received(n)
        for sent in self._window.confirm(n):
            if self._retained is not None and sent.messages:
                self._retained.add(sent.messages, len(sent.data), self._heard)

    # -- connections -----------------------------------------------------------------------------------------

    @property
    def received(self) -> int:
        """The number of the last frame that came: what the other side is told when the link resumes."""
        return self._receipts.received

    def check_received(self, n: int) -> None:
        """Raise ValueError if that was never sent."""
        if n > self._window.last:
            raise ValueError(f"frame {n} was acknowledged and {self._window.last} was the last one sent")

    def attach(self, now: float, peer_received: int) -> None:
        """A connection carries the session; the other side has everything up to *peer_received*.

        Raises:
            ValueError: that was never sent.
        """
        self._heard = self._spoke = now
        self._acknowledge(peer_received)
        self._resend = self._window.frames()
        self.attached = True

    def detach(self) -> None:
        """The connection is gone; the session waits for the next one."""
        if self.attached:
            self.attached = False
            self._stats.cuts += 1
            self._resend = []

    def restart(self, id: str) -> None:
        """Start counting anew, with what the other side, a new one, may have to hand on.

        They may have reached the former one, so the nodes behind it tell copies by origin and sequence (see
        ``seen.py``).
        """
        self.id = id
        unconfirmed = self._window.messages()
        if self._retained is not None:
            unconfirmed = self._retained.messages() + unconfirmed
            self._retained.clear()
        _say_again(unconfirmed)
        self._queue.extendleft(reversed(unconfirmed))
        self._queue_bytes += sum(len(message.payload) for message in unconfirmed)
        self._stats.sent -= counted(unconfirmed)
        self._announcements.clear()
        self._window = Window(self.limits)
        self._receipts = self._new_receipts()

    def unconfirmed(self) -> list[WireMessage]:
        """What the other side may not have, in order."""
        return [*self._window.messages(), *self._queue]

    def drop_waiting(self, is_wanted: Callable[[WireMessage], bool]) -> int:
        """Drop those of the waiting messages that nobody behind the other side wants any more.

        Returns:
            How many that were; they count as dropped.
        """
        wanted = deque(message for message in self._queue if is_wanted(message))
        count = len(self._queue) - len(wanted)
        self._queue = wanted
        self._queue_bytes = sum(len(message.payload) for message in wanted)
        self._stats.dropped += count
        return count

    def inherit(self, former: Session, *, ended: bool) -> None:
        """Send what another session has not got across, and tell of what was dropped there.

        Args:
            former: the other session.
            ended: its other side has ended, and may have confirmed what it did not hand on; else this is a
                session with the same node.
        """
        for message in former.surrender() if ended else former.unconfirmed():
            self.send(message)
        self._unreported_drops += former._unreported_drops

    def surrender(self) -> list[WireMessage]:
        """What the other side may have to hand on or may not have, in order, for another session to send."""
        messages = self.pending()
        _say_again(messages)
        self._clear()
        return messages

    def pending(self) -> list[WireMessage]:
        """What the other side may have to hand on or may not have, in order."""
        confirmed = self._retained.messages() if self._retained is not None else []
        return [*confirmed, *self.unconfirmed()]

    def discard(self) -> int:
        """Give up what is not confirmed, at the end of the session.

        Returns:
            How many messages that were; they count as dropped.
        """
        count = len(self._queue) + self._window.count
        self._stats.dropped += count
        self._clear()
        return count

    def _clear(self) -> None:
        self._queue.clear()
        self._queue_bytes = 0
        self._window.clear()
        if self._retained is not None:
            self._retained.clear()

    # -- state -----------------------------------------------------------------------------------------------

    def is_dead(self, now: float) -> bool:
        """Whether the connection has been silent for so long that it must be broken."""
        return self.attached and now - self._heard >= 3 * self.limits.heartbeat

    def deadline(self) -> float:
        """When `outgoing` or `is_dead` has to be asked again, if nothing else happens before."""
        due = min(self._spoke + self.limits.heartbeat, self._heard + 3 * self.limits.heartbeat)
        if self._receipts.due is not None and not self.behind:
            due = min(due, self._receipts.due)
        if self._unreported_drops and self._window.takes_control:
            due = min(due, self._drop_report_due)
        return due

    @property
    def room(self) -> tuple[int, int]:
        """How many messages, and how many bytes of payload, the queue takes without dropping anything."""
        limits = self.limits
        return limits.queue_messages - len(self._queue), limits.queue_bytes - self._queue_bytes

    @property
    def is_flushed(self) -> bool:
        """Whether the other side has confirmed everything."""
        return not (self._queue or self._window or self._announcements or self._unreported_drops)

    @property
    def stats(self) -> LinkStats:
        """A copy of the counters."""
        return replace(
            self._stats,
            in_flight=self._window.count,
            queued=len(self._queue),
            queued_bytes=self._queue_bytes,
        )


def _say_again(messages: list[WireMessage]) -> None:
    """Have hubs that have seen them hand them on once more."""
    for message in messages:
        message.again = said_again(message)
