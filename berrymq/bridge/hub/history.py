"""The messages that a hub retains: for each room, the newest batches of the identifiers to be kept.

A history is a subscriber of its room, as a client's queue is, so a hub that retains nothing has no work with
it. It holds batches as they arrived and drops whole ones; the exact number is cut when they are read.

Retaining is on the way of every message that is kept, so it is done with as little as possible: a batch is
appended to the series of its identifier, which is found by the beginning of its bytes, without decoding
anything. The work of cutting, decoding and sorting is done by whoever reads.

Numbers: each message that any history of the hub receives gets the next number, ascending over all
identifiers and rooms. So the batches of several identifiers merge by it into the order of arrival, and
``after=`` of ``history`` continues where a reader has stopped. It is not the sequence number of the origin,
which is in the batch and which receivers deduplicate by.

Limits: each identifier has its own (`Series.last`), and the hub has two for all rooms. At those the largest
identifier gives way, and not the oldest messages of all: one that floods must not displace the few messages
of others.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heapreplace
from operator import attrgetter
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from berrymq.bridge.node.interests import Interests
from berrymq.bridge.node.mailbox import read_message, read_messages
from berrymq.bridge.node.retained import cut, objects_of
from berrymq.bridge.protocol.batches import LargeBatchBytes, parse_batch
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.frames import PAST
from berrymq.bridge.protocol.reliable_stream import SHARED_BYTES, HoldingBody

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from berrymq.bridge.node.downloads import Downloads
    from berrymq.bridge.node.memories import Memories
    from berrymq.bridge.node.retained import Retained
    from berrymq.bridge.node.room import Room
    from berrymq.bridge.protocol.offers import Offers
    from berrymq.bridge.transport.budget import Account, Budget
    from berrymq.identifiers import Identifier

__all__ = ["KEEP_BYTES", "KEEP_MESSAGES", "Feed", "Histories", "History"]

KEEP_MESSAGES = 100_000
"""The number of messages that a hub retains in total. """
KEEP_BYTES = 64 * 1024 * 1024
"""The bytes of batches and their overhead, in total; shared memory of arrays has a limit of its own."""

BATCH_BYTES = 300
"""The approximate memory for a batch beside its bytes."""
PLACE_BYTES = 10
"""The approximate memory for the place of a batch in an answer."""
SERIES_BYTES = 2_500
"""The approximate memory for an identifier with retained messages."""

MAX_KEEPS = 1_000
"""The limit of identifiers that `keep` was called for, in all rooms together."""
MAX_SHOWN = 200
"""The limit of identifiers in a status."""
MAX_HEADS = 4_096
"""The limit of remembered beginnings of batches, beyond one for each identifier. The beginning of a batch has
the origin and source too, so there is one for each publisher of an identifier."""

SLACK = 16
"""At a limit, this fraction of it is dropped as well, so that the largest identifiers are searched seldom."""


class Keep(NamedTuple):
    """An identifier whose messages are retained."""

    identifier: Identifier
    last: int
    """Of each identifier that matches."""
    by: str
    """The name of the node or client that requested it."""
    since: float
    """Seconds since 1970."""


class Series:
    """The retained batches of one identifier.

    An exact number is not held: the oldest batch stays until all of its messages are surplus, so that nothing
    is split on the way in.
    """

    __slots__ = ("batches", "bytes", "count", "dropped", "identifier", "last")

    def __init__(self, identifier: Identifier, last: int) -> None:
        self.identifier = identifier
        self.last = last
        """The number of messages to retain: the largest of the keeps that match."""
        self.batches: deque[Retained] = deque()
        """Oldest first."""
        self.count = 0
        """The number of messages in these batches: `last`, and up to one batch more."""
        self.bytes = SERIES_BYTES
        """The approximate memory for them."""
        self.dropped = 0
        """The number of messages that were dropped at the hub's limits."""

    def __len__(self) -> int:
        """Return the number of messages that are retained."""
        return min(self.count, self.last)

    def newest(self, most: int) -> list[Retained]:
        """Return the batches of the newest messages, the last one first; the oldest one is cut to fit.

        Messages beyond `last` that are still in the oldest batch are never returned.
        """
        left = min(most, len(self))
        found = []
        for batch in reversed(self.batches):
            if left <= 0:
                break
            found += [batch] if batch[1] <= left else cut(batch, left)
            left -= batch[1]
        return found


class Histories:
    """The histories of all rooms of a hub, within common limits. Used with the router's lock held.

    Rooms without a keep have no history, and their messages do not pass here.

    Args:
        budget: of the hub; counts what is held.
        memories: hold the buffers of large messages.
        most_messages: the limit of retained messages.
        most_bytes: the limit of their memory; shared memory has a limit of its own.
    """

    def __init__(
        self,
        budget: Budget,
        memories: Memories,
        *,
        most_messages: int = KEEP_MESSAGES,
        most_bytes: int = KEEP_BYTES,
    ) -> None:
        self.memories = memories
        self.most_messages = most_messages
        self.most_bytes = most_bytes
        self.count = 0
        """The number of retained messages."""
        self.arrived = 0
        """The number of messages that any history has received."""
        self.account = budget.open(self.shed)
        """Of the hub's budget, which has `shed` called when the hub's memory as a whole is short."""
        self._by_room: dict[Room, History] = {}

    def of(self, room: Room) -> History | None:
        """Return the history of a room; None if nothing is retained there."""
        return self._by_room.get(room)

    def keep(self, room: Room, identifier: Identifier, last: int, by: str) -> None:
        """Retain the newest messages of each identifier that matches, from now on.

        Args:
            room: the room.
            identifier: the messages.
            last: the number of messages of each identifier; the larger one counts if it was given before.
            by: the name of the requester.

        Raises:
            OverflowError: there are too many such identifiers.
        """
        history = self._by_room.get(room)
        is_new = history is None or identifier.text not in history.keeps
        if is_new and sum([len(one.keeps) for one in self._by_room.values()]) >= MAX_KEEPS:
            raise OverflowError(
                f"a hub keeps at most {MAX_KEEPS:,} identifiers; one with a wildcard counts as one"
            )
        if history is None:
            history = self._by_room[room] = History(self, room)
        history.keep(identifier, last, by)

    def drop(self, room: Room, identifier: Identifier) -> bool:
        """End a `keep`, and release the messages that no other one retains; return False without one.

        An identifier that another keep matches too stays, with the number of that one.
        """
        history = self._by_room.get(room)
        if history is None or not history.drop(identifier):
            return False
        if not history.keeps:
            del self._by_room[room]
        return True

    def status(self) -> list[dict[str, Any]]:
        """Return what is kept in each room and how much is retained of it, as JSON values."""
        return [
            {"room": room.name, **history.keep_status(keep)}
            for room, history in self._by_room.items()
            for keep in history.keeps.values()
        ]

    def limit(self) -> None:
        """Drop the oldest messages of the largest identifiers if a limit is exceeded.

        A sixteenth more than needed is dropped, or each further message would search for the largest
        identifier again.
        """
        if self.account.held > self.most_bytes:
            self.shed(self.most_bytes * (SLACK - 1) // SLACK)
        if self.count > self.most_messages:
            enough = self.most_messages * (SLACK - 1) // SLACK
            self._drop(len, lambda: self.count <= enough)

    def shed(self, target: int) -> None:
        """Drop messages until no more bytes than *target* are held."""
        self._drop(attrgetter("bytes"), lambda: self.account.held <= target)

    def _drop(self, size: Callable[[Series], int], is_enough: Callable[[], bool]) -> None:
        """Drop the oldest messages of the largest identifier, by *size*, until it is enough.

        Args:
            size: the measure by which an identifier is the largest.
            is_enough: checked after each dropped batch.
        """
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
    """The retained messages of one room; a `Subscriber` of it. Used with the router's lock held.

    Args:
        histories: those of all rooms.
        room: the room.
    """

    def __init__(self, histories: Histories, room: Room) -> None:
        self.room = room
        self.keeps: dict[str, Keep] = {}
        """By identifier as text."""
        self.series: dict[str, Series] = {}
        """By identifier; none is empty. A published wildcard is retained under its own text."""
        self.dropped = 0
        """The number of messages that were dropped at the hub's limits, of all identifiers."""
        self._all = histories
        self._account = histories.account
        self._by_head: dict[bytes, Series] = {}
        """The same by the beginnings of batches, so that most are not parsed."""
        self._index: Interests[Series] = Interests()
        """The same by what they match."""
        self._keep_index: Interests[str] = Interests()
        """The keys of `keeps` by what they match."""

    # -- identifiers -----------------------------------------------------------------------------------------

    def keep(self, identifier: Identifier, last: int, by: str) -> None:
        """Retain messages; see `Histories.keep`."""
        former = self.keeps.get(identifier.text)
        if former is None:
            self.keeps[identifier.text] = Keep(identifier, last, by, time())
            self._keep_index.add(identifier.text, identifier)
            self.room.follow(self, [identifier])
        elif last > former.last:
            self.keeps[identifier.text] = former._replace(last=last)
        self._apply_keeps(identifier)

    def drop(self, identifier: Identifier) -> bool:
        """End a `keep`; return False without one."""
        if self.keeps.pop(identifier.text, None) is None:
            return False
        self._keep_index.remove(identifier.text, identifier)
        self.room.unfollow(self, [identifier])
        self._apply_keeps(identifier)
        return True

    def _apply_keeps(self, changed: Identifier) -> None:
        """Apply a changed number of messages to each identifier that matches."""
        for one in self._index.find(changed):
            last, before = self._last_of(one.identifier), len(one)
            if one.count > before and last > one.last:
                self.drop_oldest(one)  # what exceeds the last messages must not reappear
            one.last = last
            self._all.count += len(one) - before
            self._trim(one)
            if not one.last:
                self._forget(one)

    def _last_of(self, identifier: Identifier) -> int:
        return max([self.keeps[text].last for text in self._keep_index.find(identifier)], default=0)

    # -- receiving -------------------------------------------------------------------------------------------

    def accept(self, batch: bytes, count: int) -> None:
        """Retain a batch, and release those that are older than the last messages; see `Subscriber`.

        `Histories.count` and the account are updated here and not in `_count`: this is the only call for each
        batch. The loop ends since the batch just added has at least one message and `last` is positive.

        Args:
            batch: its bytes, which all subscribers share; those of large messages hold their buffers in
                shared memory.
            count: the number of its messages.
        """
        if type(batch) is LargeBatchBytes:
            batch = self._all.memories.retain(batch)
        one = self._by_head.get(batch[: batch.find(b'",')]) or self._find(batch)
        histories, account = self._all, self._account
        batches, last, before = one.batches, one.last, one.count
        batches.append((histories.arrived + 1, count, batch))
        histories.arrived += count
        total = before + count
        size = len(batch) + BATCH_BYTES
        if size > SHARED_BYTES:
            account.share(batch, 1)
        if type(batch) is LargeBatchBytes:
            size += batch.heap_bytes
        while total - batches[0][1] >= last:  # what `_trim` does, without its calls
            _, released, data = batches.popleft()
            total -= released
            size -= len(data) + BATCH_BYTES
            if type(data) is LargeBatchBytes:
                size -= data.heap_bytes
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
        """Add to the number of messages and of bytes, or subtract."""
        before, one.count = one.count, one.count + count
        self._all.count += min(one.count, one.last) - min(before, one.last)
        one.bytes += size
        self._account.grow(size)

    def _find(self, batch: bytes) -> Series:
        """Return the series of a batch, a new one for the first of an identifier."""
        identifier = crossing_identifier(parse_batch(batch).identifier)
        one = self.series.get(identifier.text)
        if one is None:
            one = self.series[identifier.text] = Series(identifier, self._last_of(identifier))
            self._index.add(one, identifier)
            self._account.grow(SERIES_BYTES)
        head = batch[: max(0, batch.find(b'",'))]
        if head and b"\\" not in head:  # otherwise the quote may be an escaped one
            if len(self._by_head) > len(self.series) + MAX_HEADS:
                self._by_head.clear()
            self._by_head[head] = one
        return one

    def _trim(self, one: Series) -> None:
        """Release the batches that are older than the last messages."""
        batches = one.batches
        while batches and one.count - batches[0][1] >= one.last:
            self._release(one, batches.popleft())

    def _release(self, one: Series, batch: Retained) -> None:
        """Stop counting a batch that was removed from its series."""
        _, count, data = batch
        self._count(one, -count, -size_of(data))
        if len(data) + BATCH_BYTES > SHARED_BYTES:
            self._account.share(data, -1)

    def drop_oldest(self, one: Series) -> None:
        """Release what exceeds the last messages of an identifier; otherwise drop its oldest ones.

        In this order: what no reader can see any more is released; else the whole oldest batch is dropped;
        else, if it is the only one, half of its messages.
        """
        batch, before = one.batches.popleft(), len(one)
        surplus = one.count - before
        left = batch[1] - surplus if surplus else 0 if one.batches else batch[1] // 2
        self._release(one, batch)
        for part in cut(batch, left):
            one.batches.appendleft(part)
            self._count(one, part[1], size_of(part[2]))
            if len(part[2]) + BATCH_BYTES > SHARED_BYTES:
                self._account.share(part[2], 1)
        one.dropped += before - len(one)
        self.dropped += before - len(one)
        if not one.batches:
            self._forget(one)

    def _forget(self, one: Series) -> None:
        """Release all messages of an identifier, and the number of those that were dropped."""
        while one.batches:
            self._release(one, one.batches.popleft())
        if self.series.pop(one.identifier.text, None) is not None:
            self._index.remove(one, one.identifier)
            self._account.grow(-SERIES_BYTES)
            self._by_head.clear()

    # -- reading ---------------------------------------------------------------------------------------------

    def past(self, identifier: Identifier, last: int | None = None, after: int = 0) -> list[Retained]:
        """Return the retained messages that an identifier matches, in the order of arrival.

        Messages of a published wildcard are among them if it matches *identifier*.

        Args:
            identifier: the messages; wildcards match on either side, as for a live message.
            last: the limit of messages, of all identifiers together; None for all.
            after: return only messages with a higher number.

        Returns:
            Batches in the order of arrival; those at the edges are cut to the exact numbers.
        """
        most = self._all.most_messages if last is None else last
        found: list[Retained] = []
        for one in self._index.find(identifier):
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
        self,
        identifier: Identifier,
        last: int | None,
        after: int,
        most_bytes: int,
        *,
        to: Offers | None,
        downloads: Downloads,
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return the messages of `past` as objects, and whether there are more.

        For the wire's ``history``: each has the fields of a message, its number ``n`` and, for
        large ones, its buffers. Malformed messages are left out.

        Args:
            identifier: see `past`.
            last: see `past`.
            after: see `past`.
            most_bytes: the approximate limit of their size; there is one message at least.
            to: how the caller reads buffers; None for a client without a link.
            downloads: hold large buffers for one.
        """
        return objects_of(self.past(identifier, last, after), most_bytes, to=to, downloads=downloads)

    def keep_status(self, keep: Keep) -> dict[str, Any]:
        """Return an identifier to be kept with the amounts of what is retained of it, as JSON values."""
        found = self._index.find(keep.identifier)
        return {
            "identifier": keep.identifier.text,
            "last": keep.last,
            "by": keep.by,
            "since": keep.since,
            "identifiers": len(found),
            "count": sum(map(len, found)),
            "bytes": sum([one.bytes for one in found]),
            "dropped": sum([one.dropped for one in found]),
        }

    def status(self) -> dict[str, Any]:
        """Return the identifiers and numbers of what is retained, and who requested it, as JSON values.

        The times are those of the first and last message, which are decoded for that; at most `MAX_SHOWN`
        identifiers are looked at.
        """
        return {
            "keeps": [self.keep_status(one) for one in self.keeps.values()],
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
    """The bodies of the ``past`` frames that answer a query; see `Stream.send_later`.

    A batch stays alive through it, whatever the history drops in the meantime, so an answer never has gaps.

    Args:
        query: its number.
        batches: in order.
        account: counts them until they are sent, since the history may release them earlier.
        frame_bytes: the limit of a frame with several batches.
    """

    method = PAST

    def __init__(self, query: int, batches: list[Retained], account: Account, frame_bytes: int) -> None:
        self._query = query
        self._batches = deque([data for _, _, data in batches])
        self._account = account
        self._frame_bytes = frame_bytes
        self._has_ended = False
        self._count(self._batches, 1)

    def _count(self, batches: Collection[bytes], by: int) -> None:
        self._account.hold_all(batches, by)
        self._account.grow(by * PLACE_BYTES * len(batches))

    def next(self, *, to: Offers) -> bytes | None:
        """Return the body of the next frame; None after the last one.

        A batch with buffers has a frame of its own, since the params of a frame name one set of buffers.

        Args:
            to: how the other side reads buffers.
        """
        if self._has_ended:
            return None
        taken: list[bytes] = []
        size = 0
        batches = self._batches
        while batches and (not taken or size + len(batches[0]) <= self._frame_bytes):
            if taken and type(batches[0]) is LargeBatchBytes:
                break
            data = batches.popleft()
            taken.append(data)
            size += len(data)
            if type(data) is LargeBatchBytes:  # alone in its frame
                break
        self._count(taken, -1)
        self._has_ended = not batches
        end = b"true" if self._has_ended else b"false"
        body = b'"query":%d,"batches":[%b],"end":%b' % (self._query, b",".join(taken), end)
        if taken and type(taken[0]) is LargeBatchBytes:
            memory = taken[0].memory
            return HoldingBody.of(b"%b,%b" % (body, memory.parameter(to=to, beside=len(body))), [memory])
        return body

    def close(self) -> None:
        """Release what was not sent."""
        self._count(self._batches, -1)
        self._batches.clear()


def size_of(batch: bytes) -> int:
    """Return the approximate memory for a retained batch."""
    return len(batch) + BATCH_BYTES + (batch.heap_bytes if type(batch) is LargeBatchBytes else 0)


def moment(batches: list[Retained], place: int) -> float | None:
    """Return when a message of the first readable batch was sent, in seconds since 1970."""
    for _, _, data in batches:
        head = parse_batch(data)
        messages = read_messages(head)
        fields = read_message(head, messages[place]) if messages else None
        if fields is not None:
            return float(fields["sent_at"])
    return None
