"""The messages kept by a log."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from berrymq.messages import id_of

from .collector import collector
from .latencies import Latencies
from .reserve import Older, Removed, Reserve
from .weight import weight

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from berrymq import Message

__all__ = ["Cleared", "Rows", "Snapshot"]

BURST: Final = 100_000
"""Messages that may arrive between two rounds and are still processed, however few are kept."""
SLACK: Final = 64
"""By how much a count of arrivals may differ from what is there, with senders in many threads. A sender
appends and counts in two steps, so a thread may be between them."""
ATTEMPTS: Final = 20
"""The number of attempts to read two values at a moment at which no sender is active."""
ROOM: Final = 1000
"""Messages that senders may append while cleared ones are put back."""
WEIGHED: Final = 500
"""The limit of messages of one batch that are weighed. Of larger batches every second, third, … message is
weighed, for all of those beside it."""


class Snapshot:
    """The messages at one moment: all from the number `first` on, and some `older` ones.

    It is not changed by what arrives later. It holds the messages, so it is not to be kept for long.
    """

    __slots__ = ("first", "messages", "older")

    def __init__(self, first: int, messages: list[Message], older: Older) -> None:
        self.first = first
        """The number of the first of `messages`."""
        self.messages = messages
        self.older = older

    def get(self, number: int) -> Message | None:
        """Return the message of that number, or None if it is not kept any more."""
        index = number - self.first
        if index < 0:
            return self.older.messages.get(number)
        return self.messages[index] if index < len(self.messages) else None

    def between(self, start: int, end: int) -> Iterator[tuple[int, Message]]:
        """Yield (number, message) for those kept, from `start` to before `end`."""
        if start < self.first:
            yield from self.older.between(start, min(end, self.first))
        start = max(start, self.first)
        part = self.messages[start - self.first : max(end - self.first, 0)]
        yield from zip(range(start, end), part, strict=False)

    def all(self) -> Iterator[tuple[int, Message]]:
        """Yield (number, message) for all, oldest first."""
        return self.between(0, self.first + len(self.messages))


@dataclass
class Cleared:
    """The messages that `Rows.clear` has removed, for `Rows.restore`."""

    kept: Snapshot
    reserve: Removed
    heavy: list[tuple[int, int]]


class Rows:
    """The newest messages, numbered as they came. The number of a message never changes.

    Beside the newest `maxlen` messages of all, the newest of each identifier are kept: `older` has those of
    them that are not among the former.

    Senders append to `kept` themselves. A second deque between would cost them more than everything else
    here: messages would pile up between two rounds and be freed together, and that difference triggers the
    garbage collector. So `kept` changes at any moment, and its position is given by the last message that
    `absorb` has processed. Callers that need numbers take a `snapshot` first, and do not hold it for long.

    Invariants, between two calls: the messages with numbers from `first` to before `end` are in `kept`, in
    order, followed by those that were not absorbed; `names` have one entry for each of them, `named` in
    all, and `by_name` counts those.

    All methods are called with the guard of the view held; `collect` alone is not.

    Args:
        maxlen: the number of the newest messages to keep.
        max_bytes: the limit of bytes of heavy payloads; see ``weight.py``.
        keep: for identifiers, how many of their newest messages are kept besides; see ``reserve.py``.
    """

    def __init__(self, maxlen: int, max_bytes: int, keep: Mapping[str, int | None] | None = None) -> None:
        self.maxlen = maxlen
        self.max_bytes = max_bytes
        self.kept: deque[Message] = deque(maxlen=max(maxlen, BURST))
        self.latencies = Latencies(BURST)
        self.collect, self.collected = collector(self.kept, stamped=self.latencies.stamped)
        self.last: Message | None = None
        """The newest message that was absorbed."""
        self.seen = 0
        """The value of `collected` at that time."""
        self.first = 0
        """The number of the oldest message that is kept."""
        self.end = 0
        """The number of the next message."""
        self.late = 0
        """Messages that were displaced and are counted, though later ones have their numbers already."""
        self.missed = 0
        """Messages that were displaced before they were processed."""
        self.heavy: deque[tuple[int, int]] = deque()
        """Numbers and bytes of the payloads that count."""
        self.bytes = 0
        """The bytes that they hold together."""
        self.reserve = Reserve(maxlen, max_bytes // 2, keep)
        self.names: deque[list[str]] = deque()
        """The identifiers of the messages from `first` on, in lists of some batches."""
        self.named = 0
        """Their number."""
        self.by_name: Counter[str] = Counter()
        """How many of these each identifier has."""
        self.absorbed: Counter[str] = Counter()
        """The same of the messages that the last call of `absorb` has returned."""

    def __len__(self) -> int:
        return self.end - self.first + len(self.older)

    @property
    def older(self) -> Older:
        """Messages before `first` that are kept."""
        return self.reserve.older(self.first)

    def waiting(self) -> bool:
        """Return whether messages are not absorbed yet."""
        return len(self.kept) > 0 and self.kept[-1] is not self.last

    def absorb(self) -> list[Message]:
        """Number the messages since the last call, and return those that are still kept.

        If more messages came than `kept` holds, the displaced ones get numbers too, so that gaps can be seen,
        and are counted in `missed`.
        """
        collected = self.collected()
        if not self.waiting():
            self.count_late(collected)
            self.absorbed = Counter()
            return []
        came = collected - self.seen
        newest, fresh = self.locate(came)
        if fresh is None:  # the first messages, or so many that the last one processed was displaced
            collected, newest = self.copy_counted()
            came, fresh = collected - self.total, len(newest)
            self.missed += came - fresh
            self.end += came - fresh
        batch = newest[:fresh]
        batch.reverse()
        self.end += fresh
        self.seen = collected
        self.last = batch[-1]
        start = self.end - len(batch)
        names = list(map(id_of, batch))
        self.absorbed = counts = Counter(names)
        if self.named + len(batch) > self.end - self.first:  # some were missed: all before are gone
            self.drop_names(self.named)
        self.names.append(names)
        self.named += len(names)
        self.by_name.update(counts)
        weights, sampled = self.weigh(start, batch)
        skipped = {names[number - start] for number in weights} if sampled else set()
        self.reserve.add(start, batch, names, counts, weights=weights, skipped=skipped)
        self.trim()
        self.latencies.absorb(start, batch)
        self.latencies.prune(self.first, self.older.messages, len(self))
        return batch

    def weigh(self, start: int, batch: list[Message]) -> tuple[dict[int, int], bool]:
        """Return the bytes of heavy payloads by number, and whether only a sample of them was weighed."""
        stride = 1 + len(batch) // WEIGHED
        weights = {}
        for index in range(0, len(batch), stride):
            heavy = weight(batch[index])
            if heavy:
                weights[start + index] = heavy
                self.heavy.append((start + index, heavy * stride))
                self.bytes += heavy * stride
        return weights, stride > 1

    def retained(self, name: str) -> int:
        """Return how many messages of one identifier are kept."""
        return self.by_name[name] + self.reserve.older_count(name, self.first)

    def latest(self, name: str) -> tuple[int, Message] | None:
        """Return number and message of the latest message of one identifier, None if that is not known."""
        mine = self.reserve.newest.get(name)
        return mine[-1] if mine else None

    def drop_names(self, count: int) -> None:
        """Remove the identifiers of the oldest messages."""
        gone: Counter[str] = Counter()
        count = min(count, self.named)
        self.named -= max(0, count)
        while count > 0:
            oldest = self.names.popleft()
            gone.update(oldest[:count])
            if len(oldest) > count:
                self.names.appendleft(oldest[count:])
            count -= len(oldest)
        for name, number in gone.items():
            self.by_name[name] -= number
            if not self.by_name[name]:
                del self.by_name[name]
        self.reserve.evicted.update(gone)

    def copy_counted(self) -> tuple[int, list[Message]]:
        """Return how many messages were received, and those of them that are kept, the newest first.

        The count and the copy belong to different moments if a sender is active; after some attempts the
        larger count is taken.
        """
        for _ in range(ATTEMPTS):
            before = self.collected()
            newest = self.copy(len(self.kept) + SLACK)
            if self.collected() == before:  # no sender was active in between
                break
        return max(before, self.total + len(newest)), newest

    def count_late(self, collected: int) -> None:
        """Count late messages of a burst; none are left to absorb now."""
        late = max(0, collected - self.total)
        self.late += late
        self.missed += late

    @property
    def total(self) -> int:
        """The number of messages absorbed so far, those displaced included."""
        return self.end + self.late

    def copy(self, most: int) -> list[Message]:
        """Return up to `most` of the newest messages, the newest first."""
        while True:
            try:
                return list(islice(reversed(self.kept), most))
            except RuntimeError:  # a sender was quicker; not with a global interpreter lock
                continue

    def locate(self, expected: int) -> tuple[list[Message], int | None]:
        """Return the newest messages, the newest first, and how many of them arrived after `last`.

        Probably that is `expected`, and few messages are copied. But any number may arrive between counting
        and copying, so more are copied until `last` is among them, or all are.

        Args:
            expected: how many arrived when they were counted.

        Returns:
            The messages, and the number; None if `last` is gone, or there was none.
        """
        most = expected + SLACK
        while True:
            newest = self.copy(most)
            fresh = self.position(newest, expected)
            if fresh is not None or self.last is None or len(newest) < most:
                return newest, fresh
            most *= 4

    def position(self, newest: list[Message], expected: int) -> int | None:
        """Return how many of `newest` arrived after `last`, probably `expected`; None if that is gone.

        The search begins where `expected` says, so it usually ends at once.
        """
        if self.last is None:
            return None
        begin = min(expected + SLACK, len(newest))
        for index in chain(range(begin - 1, -1, -1), range(begin, len(newest))):
            if newest[index] is self.last:
                return index
        return None

    def trim(self) -> None:
        """Remove messages beyond `maxlen` and `max_bytes`, but not the newest one.

        Heavy payloads are removed from the oldest on, with all lighter messages before them: rows stay
        consecutive.
        """
        oldest = self.oldest()
        first = max(self.first, oldest, self.end - self.maxlen)
        reserved = self.reserve.weights()
        older = sum(held for number, held in reserved.items() if number < self.first)
        while self.heavy and (self.heavy[0][0] < first or self.bytes + older > self.max_bytes):
            number, held = self.heavy.popleft()
            self.bytes -= held
            older += reserved.get(number, 0)
            first = max(first, min(number + 1, self.end - 1))
        self.first = first
        self.drop_names(self.named - (self.end - first))
        self.let_go(first - oldest)

    def oldest(self) -> int:
        """Return the number of the oldest message kept, or a higher one while others arrive.

        Length and position belong together only if none arrived in between, so it tries several times: a
        higher number would cost rows that are kept.
        """
        for _ in range(ATTEMPTS):
            length = len(self.kept)
            _, fresh = self.locate(self.collected() - self.seen)
            if len(self.kept) == length:
                break
        return self.end if fresh is None else self.end - max(0, length - fresh)

    def let_go(self, number: int) -> None:
        """Remove the oldest messages, fewer if arriving ones displace some at the same time.

        It stops at the message that is to stay, so however many are displaced by senders during the call,
        none is removed that should stay.
        """
        if number <= 0:
            return
        stays = self.kept[number]
        for _ in range(number):
            if self.kept[0] is stays:
                break
            self.kept.popleft()

    def snapshot(self) -> Snapshot:
        """Return the messages that are kept and absorbed.

        Takes a time proportional to the number of messages.
        """
        newest = self.copy(self.kept.maxlen or 0)
        fresh = self.position(newest, self.collected() - self.seen)
        if fresh is None:  # everything that was absorbed has been displaced, or there was nothing
            return Snapshot(self.end, [], self.older)
        absorbed = newest[fresh : fresh + len(self)]
        absorbed.reverse()
        return Snapshot(self.end - len(absorbed), absorbed, self.older)

    def clear(self) -> Cleared:
        """Remove what was absorbed, and return it; numbering continues."""
        cleared = Cleared(self.snapshot(), self.reserve.clear(), list(self.heavy))
        self.first = self.end
        self.drop_names(self.named)
        self.heavy.clear()
        self.bytes = 0
        while self.kept and self.kept[0] is not self.last:
            self.kept.popleft()
        return cleared

    def restore(self, cleared: Cleared) -> None:
        """Put back what the last `clear` has removed, as far as there is room beside what came since.

        Some room is left to senders, for a message that is appended to a full deque displaces another one.
        """
        oldest = self.oldest()
        before = [message for number, message in cleared.kept.between(cleared.kept.first, oldest)]
        room = min((self.kept.maxlen or 0) - len(self.kept) - ROOM, self.maxlen - (self.end - oldest))
        adjoin = cleared.kept.first + len(before) == oldest  # unless so many came that some are gone again
        back = before[-room:] if adjoin and room > 0 else []
        self.kept.extendleft(reversed(back))
        first = oldest - len(back) if adjoin else self.first
        names = [message.id for _, message in cleared.kept.between(first, self.first)]
        self.names.appendleft(names)
        self.named += len(names)
        self.by_name.update(names)
        heavy = [entry for entry in cleared.heavy if entry[0] >= first]
        self.heavy.extendleft(reversed(heavy))
        self.bytes += sum(held for _, held in heavy)
        self.first = min(self.first, first)
        self.reserve.restore(cleared.reserve)
        self.trim()
