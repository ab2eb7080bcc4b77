"""Buffers that a peer has offered, while they are pulled, and the frames that are held back for them.

Buffers of one peer are pulled one after the other. The frame that named them is processed when they have
arrived; until then, what has to come after it is held back, and everything else passes. So small messages
never wait behind large ones, but those of one identifier and origin stay in order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from berrymq.bridge.buffers import MAX_BUFFERS, MAX_SAMPLE_BYTES, Memory, PoolFullError, end_of, sample_of
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.offers import RELEASE, pull_frame

from .credit import Credit

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from berrymq.bridge.buffers import Filling, Own, Rows
    from berrymq.bridge.protocol.events import Piece
    from berrymq.bridge.protocol.reliable_stream import Account, Stream

    from .credit import Asked

__all__ = ["MAX_PULLED_BYTES", "MessageKey", "Pulls"]

MAX_PULLED_BYTES = 1024 * 1024 * 1024
"""The largest buffers of one message that are pulled."""

MANY_HELD, MANY_HELD_BYTES = 1_000, 8 * 1024 * 1024
"""The frames held back from which acknowledgements are withheld, so that the other side sends less."""
MAX_HELD, MAX_HELD_BYTES = 200_000, 64 * 1024 * 1024
"""More than these are sent only by a peer that ignores that."""

MAX_ASKED = 64
"""The pieces that are asked for at a time."""

HELD_BYTES = 500
"""The approximate memory for a frame that is held back, beside its bytes."""


class MessageKey(NamedTuple):
    """The key of messages that stay in order."""

    identifier: str
    origin: str


class _Held:
    """A frame that is held back, or waits for its buffers."""

    __slots__ = ("is_ready", "key", "process", "size")

    def __init__(self, key: Hashable, process: Callable[[], object], size: int, *, is_ready: bool) -> None:
        self.key = key
        self.process = process
        self.size = size
        self.is_ready = is_ready


class _Arriving:
    """Buffers that are being pulled, or a sample of them.

    Args:
        number: their number at the peer.
        sizes: of each.
        open_memory: returns memory for so many bytes.
        done: called with the result.
        sampled: see `Pulls.add`.
    """

    __slots__ = (
        "_open_memory",
        "_places",
        "_ranges",
        "_sampled",
        "asked",
        "done",
        "has_ended",
        "memory",
        "number",
        "received",
        "size",
        "sizes",
    )

    def __init__(
        self,
        number: int,
        sizes: Sequence[int],
        open_memory: Callable[[int], Filling | Own],
        done: Callable[[Memory], object],
        sampled: Mapping[int, Rows] | None,
    ) -> None:
        self._sampled = sampled
        self.number = number
        self.sizes = sizes
        self.size = end_of(sizes)
        """How many bytes are pulled; of a sample known as soon as it is opened."""
        self.done = done
        self.memory: Filling | Own | None = None
        self.asked = 0
        """How many bytes were asked for."""
        self.received = 0
        """How many bytes have arrived."""
        self.has_ended = False
        self._open_memory = open_memory
        self._ranges: list[tuple[int, int]] = [(0, self.size)]
        """Offset and size of the parts that are pulled, in order."""
        self._places = [0]
        """Where each of them begins in the memory here."""

    def open(self) -> None:
        """Get memory for them: of a sample not before it is pulled, or many offers would take much memory.

        Raises:
            PoolFullError: there is none.
            OSError: the same.
            ValueError: the same.
        """
        if self._sampled is None:
            self.memory = self._open_memory(self.size)
            return
        sample = sample_of(self.sizes, self._sampled)
        self.memory, self._ranges = sample, sample.ranges
        *self._places, self.size = accumulate([size for _, size in sample.ranges], initial=0)

    def next(self, most: int) -> tuple[int, int]:
        """Return offset and size of the piece that is asked for next, of *most* bytes at most."""
        number = bisect_right(self._places, self.asked) - 1
        start, size = self._ranges[number]
        position = self.asked - self._places[number]
        return start + position, min(most, size - position)


class _Pull(NamedTuple):
    """A piece that was asked for."""

    buffers: _Arriving
    offset: int
    """Where it begins at the peer."""
    position: int
    """Where it begins in the memory here."""
    asked: Asked

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.asked.size


class Pulls:
    """The buffers that are pulled from one peer. Used with the router's lock held.

    Args:
        stream: the link.
        account: counts the frames that are held back.
    """

    def __init__(self, stream: Stream, account: Account) -> None:
        self.is_paused: Callable[[], bool] = lambda: False
        """Returns whether no more buffers are to be pulled at present: those before have not been used."""
        self._stream = stream
        self._account = account
        self._queue: deque[_Arriving] = deque()
        self._asked: deque[_Pull] = deque()
        """Pieces that were asked for and have not arrived, in order."""
        self._received = 0
        """How much of the first of them has arrived."""
        self._credit = Credit()
        self._in_flight = 0
        self._moved_at = 0.0
        """When something was asked for on an idle link, or has arrived."""
        self._held: dict[Hashable, deque[_Held]] = {}
        self._held_count = self._held_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def received(self) -> int:
        """How many bytes of unfinished buffers have arrived."""
        return sum([buffers.received for buffers in self._queue]) + self._received

    # -- the order of frames ---------------------------------------------------------------------------------

    def holds(self, key: Hashable) -> bool:
        """Return whether a frame with that key has to be held back."""
        return key in self._held

    def hold(self, key: Hashable, process: Callable[[], object], size: int) -> None:
        """Hold a frame back until those with the same key that came before it have been processed.

        Args:
            key: what has to stay in order has the same.
            process: called then.
            size: of the frame in bytes.

        Raises:
            FrameError: the peer has sent much more than it may.
        """
        self._hold(_Held(key, process, size, is_ready=True))

    def _hold(self, held: _Held) -> None:
        self._held.setdefault(held.key, deque()).append(held)
        self._count(1, held.size + HELD_BYTES)
        if self._held_count > MANY_HELD or self._held_bytes > MANY_HELD_BYTES:
            self._stream.behind = True
        if self._held_count > MAX_HELD or self._held_bytes > MAX_HELD_BYTES:
            raise FrameError("more is sent behind buffers that are pulled than the window allows")

    def _count(self, number: int, size: int) -> None:
        self._held_count += number
        self._held_bytes += size
        self._account.grow(size)

    def _process(self, key: Hashable) -> None:
        """Process the frames at the head of a queue that are ready."""
        queue = self._held.get(key)
        while queue and queue[0].is_ready:
            held = queue.popleft()
            self._count(-1, -held.size - HELD_BYTES)
            try:
                held.process()
            except FrameError as error:
                peers_log.warning("what came with buffers can't be read and is left out: %s", error)
        if queue is not None and not queue:
            del self._held[key]
        is_few = self._held_count <= MANY_HELD // 2 and self._held_bytes <= MANY_HELD_BYTES // 2
        if self._stream.behind and is_few:
            self._stream.caught_up()

    # -- pulling ---------------------------------------------------------------------------------------------

    def add(
        self,
        number: int,
        sizes: Sequence[int],
        open_memory: Callable[[int], Filling | Own],
        process: Callable[[Memory], object],
        *,
        key: Hashable,
        size: int,
        sampled: Mapping[int, Rows] | None = None,
    ) -> None:
        """Pull the buffers of a frame, and process it when they are there, or are gone.

        Args:
            number: the number of the buffers at the peer.
            sizes: of each.
            open_memory: returns memory for so many bytes.
            process: called with the buffers.
            key: see `hold`.
            size: of the frame in bytes.
            sampled: pull a sample of them, if that is less; this says which have rows. None: pull all.

        Raises:
            FrameError: there are too many buffers, or frames.
        """
        if len(sizes) > MAX_BUFFERS:
            raise FrameError(f"{len(sizes)} buffers with one message")

        held = _Held(key, lambda: None, size, is_ready=False)

        def done(memory: Memory) -> None:
            held.process = lambda: process(memory)
            held.is_ready = True
            self._process(held.key)

        if end_of(sizes) <= MAX_SAMPLE_BYTES:
            sampled = None
        buffers = _Arriving(number, sizes, open_memory, done, sampled)
        if key is None:
            held.key = buffers
        self._hold(held)
        if buffers.size > MAX_PULLED_BYTES and sampled is None:
            self._end(buffers, f"it takes {buffers.size:,} bytes, and the limit is {MAX_PULLED_BYTES:,}")
        elif not buffers.size:
            buffers.received = buffers.size
            self._end(buffers, "it is empty")
        else:
            self._queue.append(buffers)

    def frames(self, now: float) -> list[bytes]:
        """Return what is to be sent now: pulls, as far as the credit allows.

        Args:
            now: the time.
        """
        found: list[bytes] = []
        credit = self._credit
        for buffers in list(self._queue):
            if self._is_full():
                break
            if buffers.memory is None and not self._open(buffers):
                if buffers.has_ended:
                    continue
                break
            while buffers.asked < buffers.size and not self._is_full():
                offset, size = buffers.next(credit.piece)
                found.append(pull_frame(buffers.number, offset, size))
                if not self._asked:
                    self._moved_at = now
                self._in_flight += size
                asked = credit.ask(size, self._in_flight, now)
                self._asked.append(_Pull(buffers, offset, buffers.asked, asked))
                buffers.asked += size
            if buffers.asked < buffers.size:
                break
        return found

    def _is_full(self) -> bool:
        """Return whether as much is in flight as may be."""
        return self._in_flight >= self._credit.size or len(self._asked) >= MAX_ASKED

    def _open(self, buffers: _Arriving) -> bool:
        """Get memory for buffers; return False if they are not pulled now, or can't be."""
        if self.is_paused():
            return False
        try:
            buffers.open()
        except (PoolFullError, OSError, ValueError) as error:
            self._end(buffers, f"there is no memory for it here: {error}")
            return False
        return True

    def take(self, piece: Piece, now: float) -> bool:
        """Process a part of a piece; return whether that was the last one.

        Raises:
            FrameError: it is none that was asked for.
        """
        if not self._asked:
            raise FrameError("a piece of buffers that was not asked for")
        buffers, offset, position, asked = self._asked[0]
        size = asked.size
        if (piece.number, piece.offset, piece.size) != (buffers.number, offset, size) or (
            piece.start != self._received
        ):
            raise FrameError("a piece of buffers is none that was asked for, or has the wrong size")
        start = position + piece.start
        if buffers.memory is not None:
            buffers.memory.view[start : start + len(piece.data)] = piece.data
        self._received += len(piece.data)
        self._moved_at = now
        if self._received < size:
            return False
        self._received = 0
        self._asked.popleft()
        self._in_flight -= size
        self._credit.arrived(asked, now)
        if not self._asked:
            self._credit.start()
        buffers.received += size
        if buffers.received == buffers.size and not buffers.has_ended:
            self._end(buffers, "")
        return True

    def gone(self, number: int, reason: str) -> None:
        """Process the report that buffers are gone, which answers one pull."""
        for place, pull in enumerate(self._asked):
            if pull.buffers.number == number:
                if place == 0 and self._received:
                    raise FrameError("a report in the middle of a piece")
                del self._asked[place]
                self._in_flight -= pull.size
                if not pull.buffers.has_ended:
                    self._end(pull.buffers, reason or "it is gone")
                return

    def _end(self, buffers: _Arriving, reason: str) -> None:
        """Pass the buffers on, whole or as gone for a reason, and release them at the peer."""
        buffers.has_ended = True
        if buffers in self._queue:
            self._queue.remove(buffers)
        target, buffers.memory = buffers.memory, None
        is_whole = target is not None and buffers.received == buffers.size
        self._stream.send(RELEASE, b'"memory":[%d]' % buffers.number)
        if is_whole and target is not None:
            memory = Memory(target.finish(), buffers.sizes)
        elif not buffers.size:
            memory = Memory(b"", buffers.sizes)
        else:
            memory = Memory(None, buffers.sizes, reason[:200])
        buffers.done(memory)

    def is_stalled(self, since: float) -> bool:
        """Return whether pieces were asked for and nothing has arrived since a time."""
        return bool(self._asked) and self._moved_at < since

    # -- cuts ------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Note that nothing is in flight any more: the connection was lost. The next one may be slower."""
        self._asked.clear()
        self._in_flight = self._received = 0
        self._credit = Credit()
        for buffers in self._queue:
            buffers.asked = buffers.received

    def fail(self, reason: str) -> None:
        """Process all frames without the buffers that have not arrived: the peer will not send them.

        Args:
            reason: why.
        """
        self.cut()
        for buffers in list(self._queue):
            self._end(buffers, reason)
