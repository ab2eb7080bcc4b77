"""What a hub retains: for each room, the newest batches of the identifiers that it was told to keep.

A history follows as a client's queue does, so a hub that keeps nothing pays nothing. It holds batches as the
bytes that came, and trims whole ones; the exact cut is made when they are read.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from heapq import heapify, heappop, heapreplace
from operator import attrgetter
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from berrymq.bridge.node.mailbox import read_message, read_messages
from berrymq.bridge.protocol.frames import (
    PAST,
    FrameError,
    crossing_identifier,
    parse_batch,
    split_batch,
)
from berrymq.bridge.protocol.stream import SHARED_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.node.room import Room
    from berrymq.bridge.transport.budget import Account, Budget
    from berrymq.identifiers import Identifier

__all__ = ["KEEP_BYTES", "KEEP_MESSAGES", "Feed", "Histories", "History"]

KEEP_MESSAGES = 100_000
"""Messages that a hub retains in all."""
KEEP_BYTES = 64 * 1024 * 1024

BATCH_BYTES = 300
"""What a batch takes beside its bytes, about."""
SERIES_BYTES = 1_500
"""What an identifier takes of which something is retained, about."""

OBJECT_BYTES = 200
"""What a message takes as an object beside its payload, about."""

MAX_KEEPS = 1_000
"""Patterns that are kept in one room."""
MAX_SHOWN = 200
"""Identifiers that are listed."""
MAX_HEADS = 4_096
"""Batches of one identifier may begin differently; so many more are remembered than there are identifiers."""

SLACK = 16
"""Where there is too much, one part in so many more is dropped, so that the search for it is made seldom."""


class Keep(NamedTuple):
    """What the hub was told to keep."""

    identifier: Identifier
    last: int
    by: str
    """The name of the node or client that asked for it."""
    since: float


Retained = tuple[int, int, bytes]
"""A batch: the number of its first message among all that came to the hub's histories, its count, its bytes.
"""


class Series:
    """The retained batches of one identifier."""

    __slots__ = ("batches", "bytes", "count", "dropped", "identifier", "last")

    def __init__(self, identifier: Identifier, last: int) -> None:
        self.identifier = identifier
        self.last = last
        self.batches: deque[Retained] = deque()
        self.count = 0
        """Messages in these batches: `last`, and up to one batch more."""
        self.bytes = SERIES_BYTES
        """What they take in memory."""
        self.dropped = 0
        """Messages that were dropped for want of memory."""

    def __len__(self) -> int:
        """How many messages are retained."""
        return min(self.count, self.last)

    def newest(self, most: int) -> list[Retained]:
        """Return the batches that hold the newest messages, the last one first and cut to fit."""
        left = min(most, len(self))
        found = []
        for batch in reversed(self.batches):
            if left <= 0:
                break
            found += [batch] if batch[1] <= left else cut(batch, left)
            left -= batch[1]
        return found


class Histories:
    """The histories of all rooms of a hub, within one bound. Used with the router's lock held.

    Args:
        budget: of the hub; counts what is held.
        most_messages: retained in all.
        most_bytes: taken in memory in all.
    """

    def __init__(
        self, budget: Budget, *, most_messages: int = KEEP_MESSAGES, most_bytes: int = KEEP_BYTES
    ) -> None:
        self.most_messages = most_messages
        self.most_bytes = most_bytes
        self.count = 0
        """Messages that are retained."""
        self.arrived = 0
        """Messages that have come to any history."""
        self.account = budget.open(self.shed)
        self._by_room: dict[Room, History] = {}

    def of(self, room: Room) -> History | None:
        """Return the history of a room; None if nothing is kept there."""
        return self._by_room.get(room)

    def keep(self, room: Room, identifier: Identifier, last: int, by: str) -> None:
        """Retain the newest messages of each identifier that matches; where it is kept already, the more.

        Raises:
            OverflowError: too much is kept in that room.
        """
        history = self._by_room.get(room)
        if history is None:
            history = self._by_room[room] = History(self, room)
        history.keep(identifier, last, by)

    def drop(self, room: Room, identifier: Identifier) -> bool:
        """End a `keep`, and release what no other one retains; return False if there was none."""
        history = self._by_room.get(room)
        if history is None or not history.drop(identifier):
            return False
        if not history.keeps:
            del self._by_room[room]
        return True

    def limit(self) -> None:
        """Drop the oldest messages of the largest identifiers if there is too much."""
        if self.account.held > self.most_bytes:
            self.shed(self.most_bytes * (SLACK - 1) // SLACK)
        if self.count > self.most_messages:
            enough = self.most_messages * (SLACK - 1) // SLACK
            self._drop(len, lambda: self.count <= enough)

    def shed(self, target: int) -> None:
        """Hold no more bytes than that."""
        self._drop(attrgetter("bytes"), lambda: self.account.held <= target)

    def _drop(self, size: Callable[[Series], int], is_enough: Callable[[], bool]) -> None:
        """Drop the oldest messages of the largest identifier, by *size*, until it is enough."""
        largest: list[tuple[int, int, Series, History]] = [
            (-size(one), one.batches[0][0], one, history)
            for history in self._by_room.values()
            for one in history.series.values()
        ]
        heapify(largest)
        while largest and not is_enough():
            _, _, one, history = largest[0]
            history.drop_oldest(one)
            if one.batches:
                heapreplace(largest, (-size(one), one.batches[0][0], one, history))
            else:
                heappop(largest)


class History:
    """What one room retains; a `Subscriber` of the room. Used with the router's lock held.

    Args:
        histories: those of all rooms.
        room: where it follows.
    """

    def __init__(self, histories: Histories, room: Room) -> None:
        self.room = room
        self.keeps: dict[str, Keep] = {}
        self.series: dict[str, Series] = {}
        """By identifier; none is empty. A published wildcard is retained under its own text."""
        self.dropped = 0
        """Messages that were dropped for want of memory, of all identifiers."""
        self._all = histories
        self._account = histories.account
        self._by_head: dict[bytes, Series] = {}
        """The same by what batches begin with, so that most are not parsed."""

    # -- what is kept ----------------------------------------------------------------------------------------

    def keep(self, identifier: Identifier, last: int, by: str) -> None:
        """Retain the newest messages of each identifier that matches; see `Histories.keep`."""
        former = self.keeps.get(identifier.text)
        if former is None:
            if len(self.keeps) >= MAX_KEEPS:
                raise OverflowError(f"a room keeps at most {MAX_KEEPS:,} identifiers")
            self.keeps[identifier.text] = Keep(identifier, last, by, time())
            self.room.follow(self, [identifier])
        elif last > former.last:
            self.keeps[identifier.text] = former._replace(last=last)
        self._apply_keeps()

    def drop(self, identifier: Identifier) -> bool:
        """End a `keep`; return False if there was none."""
        if self.keeps.pop(identifier.text, None) is None:
            return False
        self.room.unfollow(self, [identifier])
        self._apply_keeps()
        return True

    def _apply_keeps(self) -> None:
        """Have each identifier retain as many messages as it should now."""
        for one in list(self.series.values()):
            last, before = self._last_of(one.identifier), len(one)
            if one.count > before and last > one.last:
                self.drop_oldest(one)  # what is more than the last messages: it must not come back
            one.last = last
            self._all.count += len(one) - before
            self._trim(one)
            if not one.last:
                self._forget(one)

    def _last_of(self, identifier: Identifier) -> int:
        return max([one.last for one in self.keeps.values() if one.identifier.matches(identifier)], default=0)

    # -- what comes ------------------------------------------------------------------------------------------

    def accept(self, batch: bytes, count: int) -> None:
        """Retain a batch, and release those that are older than the last messages; see `Subscriber`."""
        one = self._by_head.get(batch[: batch.find(b'",')]) or self._find(batch)
        histories, account = self._all, self._account
        batches, last, before = one.batches, one.last, one.count
        batches.append((histories.arrived + 1, count, batch))
        histories.arrived += count
        total = before + count
        size = len(batch) + BATCH_BYTES
        if size > SHARED_BYTES:
            account.share(batch, 1)
        while total - batches[0][1] >= last:  # what `_trim` does, without its calls
            _, released, data = batches.popleft()
            total -= released
            size -= len(data) + BATCH_BYTES
            if len(data) + BATCH_BYTES > SHARED_BYTES:
                account.share(data, -1)
        one.count = total
        one.bytes += size
        account.held += size  # `Account.grow` without the call
        account.total.held += size
        if before < last:
            histories.count += (total if total < last else last) - before
            if histories.count > histories.most_messages:
                histories.limit()
        if account.held > histories.most_bytes:
            histories.limit()

    def _count(self, one: Series, count: int, size: int) -> None:
        """Count messages and bytes more; fewer, if negative."""
        before, one.count = one.count, one.count + count
        self._all.count += min(one.count, one.last) - min(before, one.last)
        one.bytes += size
        self._account.grow(size)

    def _find(self, batch: bytes) -> Series:
        """Return the series of a batch; the first one of an identifier begins it."""
        identifier = crossing_identifier(parse_batch(batch).identifier)
        one = self.series.get(identifier.text)
        if one is None:
            one = self.series[identifier.text] = Series(identifier, self._last_of(identifier))
            self._account.grow(SERIES_BYTES)
        head = batch[: max(0, batch.find(b'",'))]
        if head and b"\\" not in head:  # else the quote may be one that is escaped
            if len(self._by_head) > len(self.series) + MAX_HEADS:
                self._by_head.clear()
            self._by_head[head] = one
        return one

    def _trim(self, one: Series) -> None:
        """Release the batches that are older than all of the last messages."""
        batches = one.batches
        while batches and one.count - batches[0][1] >= one.last:
            self._release(one, batches.popleft())

    def _release(self, one: Series, batch: Retained) -> None:
        """Count a batch no longer that was taken out of its series."""
        _, count, data = batch
        self._count(one, -count, -len(data) - BATCH_BYTES)
        if len(data) + BATCH_BYTES > SHARED_BYTES:
            self._account.share(data, -1)

    def drop_oldest(self, one: Series) -> None:
        """Release what is more than the last messages of an identifier; else drop its oldest ones."""
        batch, before = one.batches.popleft(), len(one)
        surplus = one.count - before
        left = batch[1] - surplus if surplus else 0 if one.batches else batch[1] // 2
        self._release(one, batch)
        for part in cut(batch, left):
            one.batches.appendleft(part)
            self._count(one, part[1], len(part[2]) + BATCH_BYTES)
            if len(part[2]) + BATCH_BYTES > SHARED_BYTES:
                self._account.share(part[2], 1)
        one.dropped += before - len(one)
        self.dropped += before - len(one)
        if not one.batches:
            self._forget(one)

    def _forget(self, one: Series) -> None:
        """Retain nothing more of an identifier, and no count of what was dropped."""
        while one.batches:
            self._release(one, one.batches.popleft())
        if self.series.pop(one.identifier.text, None) is not None:
            self._account.grow(-SERIES_BYTES)
            self._by_head.clear()

    # -- what is read ----------------------------------------------------------------------------------------

    def past(self, identifier: Identifier, last: int | None = None, after: int = 0) -> list[Retained]:
        """Return what is retained of the identifiers that match, in the order of arrival.

        Args:
            identifier: matches on either side, as that of a live message does.
            last: so many of the newest messages, of all of them together; None for all.
            after: only messages with a higher number.
        """
        most = self._all.most_messages if last is None else last
        found: list[Retained] = []
        for one in self.series.values():
            if one.identifier.matches(identifier):
                found += one.batches if one.count <= min(most, one.last) else one.newest(most)
        if last is None and not after:
            return sorted(found)
        found.sort(reverse=True)
        left, newest = most, []
        for batch in found:
            number, count, _ = batch
            wanted = min(left, count, number + count - 1 - after)
            if wanted > 0:
                newest += [batch] if wanted == count else cut(batch, wanted)
                left -= wanted
        newest.reverse()
        return newest

    def objects(
        self, identifier: Identifier, last: int | None, after: int, most_bytes: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return what `past` does as objects, of about so many bytes, and whether there is more."""
        messages: list[dict[str, Any]] = []
        size = 0
        for number, _, data in self.past(identifier, last, after):
            head = parse_batch(data)
            for place, raw in enumerate(read_messages(head)):
                if messages and size + len(raw) > most_bytes:
                    return messages, True
                fields = read_message(head, raw)
                if fields is not None:
                    messages.append({"n": number + place, **fields})
                    size += len(raw) + OBJECT_BYTES
        return messages, False

    def status(self) -> dict[str, Any]:
        """What is kept, by whom, and what is retained: names and numbers."""
        return {
            "keeps": [
                {"identifier": text, "last": one.last, "by": one.by, "since": one.since}
                for text, one in self.keeps.items()
            ],
            "identifiers": [
                {
                    "id": text,
                    "count": len(one),
                    "bytes": one.bytes,
                    "first_at": moment(one.newest(len(one))[-1:], 0),
                    "last_at": moment(one.newest(1), -1),
                    "dropped": one.dropped,
                }
                for text, one in list(self.series.items())[:MAX_SHOWN]
            ],
            "identifiers_more": max(0, len(self.series) - MAX_SHOWN),
            "dropped": self.dropped,
        }


class Feed:
    """What is retained as the bodies of ``past`` frames; see `Stream.send_later`.

    Args:
        query: the asker's number of it.
        batches: in order.
        account: counts them until they are sent: they may not be retained any more by then.
        frame_bytes: of a frame, unless a single batch has more.
    """

    method = PAST

    def __init__(self, query: int, batches: list[Retained], account: Account, frame_bytes: int) -> None:
        self._query = query
        self._batches = deque([data for _, _, data in batches])
        self._account = account
        self._frame_bytes = frame_bytes
        self._has_ended = False
        account.hold_all(self._batches, 1)

    def next(self) -> bytes | None:
        """Return the body of the next frame; None after the last one."""
        if self._has_ended:
            return None
        taken: list[bytes] = []
        size = 0
        batches = self._batches
        while batches and (not taken or size + len(batches[0]) <= self._frame_bytes):
            data = batches.popleft()
            taken.append(data)
            size += len(data)
        self._account.hold_all(taken, -1)
        self._has_ended = not batches
        end = b"true" if self._has_ended else b"false"
        return b'"query":%d,"batches":[%b],"end":%b' % (self._query, b",".join(taken), end)

    def close(self) -> None:
        """Let go of what was not sent."""
        self._account.hold_all(self._batches, -1)
        self._batches.clear()


def cut(batch: Retained, count: int) -> list[Retained]:
    """Return the last so many messages of a batch as one; nothing for none, or where it can't be read."""
    number, whole, data = batch
    with suppress(FrameError):
        head = parse_batch(data)
        wanted = range(head.first + whole - count, head.first + whole)
        return [(number + whole - count, count, part) for _, part in split_batch(head, wanted)]
    return []


def moment(batches: list[Retained], place: int) -> float | None:
    """Return when a message of a batch was sent: seconds since 1970."""
    for _, _, data in batches:
        head = parse_batch(data)
        messages = read_messages(head)
        fields = read_message(head, messages[place]) if messages else None
        if fields is not None:
            return float(fields["sent_at"])
    return None
