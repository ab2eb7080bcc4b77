"""Messages that arrived over links for this process and are no duplicates: decoded and delivered to the bus.

Queues and views receive them at once, followers in order on the bus's delivery thread. Their backlog is
counted: a node that is too far behind withholds its acknowledgements.

This is where a message of a link stops being bytes. The payload of each batch is decoded once, here, whatever
the number of followers; a router that only passes it on never decodes it. A batch that can't be decoded is
logged and left out: it is the fault of its origin, and not of the peer that passed it on, whose link stays.

`Deduplicator` compares sequence numbers. It knows nothing of links; ``duplicates.py`` says under which key
the numbers of an origin are compared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import PayloadError, RemoteError
from berrymq.bridge.payload import TYPE_MARK, decode_payload, encode_values
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.batches import LargeBatch, ReadBatch, parse_messages
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.frames import LargeAnswer
from berrymq.bridge.protocol.json_checks import FrameError, encode_json
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES
from berrymq.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from berrymq.bridge.protocol.batches import Batch, WireMessage
    from berrymq.gateway import Gateway
    from berrymq.replay import Replay

    from .values import Values

__all__ = ["Deduplicator", "Inbox"]

MAX_BACKLOG = 10_000
"""The backlog of deliveries to followers here from which acknowledgements are withheld. Deliveries, so a
message with three followers counts three times."""
MAX_BACKLOG_BYTES = 32 * 1024 * 1024
"""The same in bytes of batches; a single large message does not count as a backlog once it is being
delivered."""

MAX_PULLED_BYTES = 64 * 1024 * 1024
"""The buffers of messages that followers have not finished from which no more are pulled."""


class Inbox:
    """Delivers messages of links to a bus.

    Used by one thread at a time (`Node._deliver` ensures that), without the router's lock.

    Args:
        gateway: of the bus.
        values: encodes the answers to questions.
    """

    def __init__(self, gateway: Gateway, values: Values) -> None:
        self._gateway = gateway
        self._values = values
        self._undelivered: deque[tuple[int, int, int]] = deque()
        """The deliveries, bytes and pulled bytes of each batch that followers have not finished."""
        self._deliveries = 0
        """The sum of the first numbers in `_undelivered`."""
        self._bytes = 0
        self._pulled_bytes = 0

    def is_behind(self) -> bool:
        """Return whether the backlog is so large that peers should be held back."""
        backlog = self._update()
        return backlog > MAX_BACKLOG or (self._bytes > MAX_BACKLOG_BYTES and backlog > 0)

    def is_full(self) -> bool:
        """Return whether followers have so many large buffers before them that no more should be pulled."""
        return (
            self._pulled_bytes > MAX_PULLED_BYTES
            and self._update() > 0
            and self._pulled_bytes > MAX_PULLED_BYTES
        )

    def _update(self) -> int:
        """Forget the batches that followers have finished, and return the backlog."""
        backlog = self._gateway.backlog
        undelivered = self._undelivered
        while undelivered and self._deliveries - undelivered[0][0] >= backlog:
            count, size, pulled = undelivered.popleft()
            self._deliveries -= count
            self._bytes -= size
            self._pulled_bytes -= pulled
        return backlog

    def deliver(self, batch: Batch | ReadBatch, size: int) -> bool:
        """Deliver a batch of *size* bytes to the bus; return whether `is_behind` should be checked.

        The check costs as much as a small delivery, so it is asked for only from a tenth of the bounds on.
        """
        try:
            identifier = crossing_identifier(batch.identifier)
            runs = [(batch.first, batch.messages)] if isinstance(batch, ReadBatch) else read_runs(batch)
        except FrameError as error:
            _note_unread(batch, batch.count, error)
            return False
        submitted = 0
        for first, contents in runs:
            submitted += self._gateway.deliver(
                identifier, contents, batch.source, batch.origin, first, sampled=is_sampled(batch)
            )
        if submitted:
            self._add(submitted, size, batch)
        return self._deliveries > MAX_BACKLOG // 10 or self._bytes > MAX_BACKLOG_BYTES // 10

    def replay(self, replay: Replay, batch: Batch, *, is_own: bool) -> None:
        """Deliver a retained batch to the subscription of a replay.

        Args:
            replay: the replay.
            batch: the batch.
            is_own: whether this process has published it.
        """
        try:
            identifier = crossing_identifier(batch.identifier)
            runs = read_runs(batch)
        except FrameError as error:
            _note_unread(batch, batch.count, error)
            return
        submitted = 0
        for first, contents in runs:
            submitted += replay.deliver(identifier, contents, batch.source, batch.origin, first, is_own)
        if submitted:
            self._add(submitted, len(batch.messages), batch)

    def _add(self, submitted: int, size: int, batch: Batch | ReadBatch) -> None:
        """Count a batch until followers have finished it."""
        pulled = batch.memory.held_bytes if isinstance(batch, LargeBatch) and batch.memory.is_own else 0
        self._undelivered.append((submitted, size, pulled))
        self._deliveries += submitted
        self._bytes += size
        self._pulled_bytes += pulled

    def poll(self, batch: Batch | ReadBatch, name: str, answer: Callable[[bytes], object]) -> None:
        """Put a question to the followers here.

        An answer that can't be encoded, or is too large, becomes an error that the asker sees; it never is
        silence, for the asker would wait until its timeout.

        Args:
            batch: the question, as one message.
            name: the name of this node, with which the answers are marked.
            answer: called once with the encoded answers, on any thread.
        """

        def done(answers: list[Any], errors: list[Exception]) -> None:
            memory = None
            try:
                values, memory = self._values.encode_answers(identifier, answers)
            except PayloadError as error:
                values, errors = b"[]", [*errors, error]
            try:
                failed = encode_values(errors) if errors else b"[]"
                if len(values) + len(failed) > MAX_PAYLOAD_BYTES:
                    raise PayloadError("the answer", "it is larger than a message may be")  # noqa: TRY301
            except PayloadError as error:
                values, failed, memory = b"[]", encode_values([error]), None
            whole = b"[%b,%b,%b]" % (encode_json(name), values, failed)
            if memory is not None:
                whole = LargeAnswer(whole)
                whole.memory = memory
            answer(whole)

        try:
            identifier = crossing_identifier(batch.identifier)
            (message,) = batch.messages if isinstance(batch, ReadBatch) else read_batch(batch)
        except ValueError as error:
            unread = RemoteError("ValueError", f"the question can't be read here: {error}")
            answer(b"[%b,[],%b]" % (encode_json(name), encode_values([unread])))
            return
        question = Message.received(
            identifier, message.args, message.kwargs, batch.source, message.sent_at, batch.origin
        )
        self._gateway.poll(question, done)


def is_sampled(batch: Batch | ReadBatch) -> bool:
    """Return whether only a sample of the buffers of a batch was fetched."""
    return isinstance(batch, LargeBatch) and batch.memory.is_sample


def read_batch(batch: Batch) -> list[WireMessage]:
    """Return the decoded messages of a batch.

    Raises:
        FrameError: they are malformed.
    """
    messages = parse_messages(batch)
    if TYPE_MARK in bytes(batch.messages):
        buffers = _buffers_of(batch)
        for message in messages:
            read_types(message, buffers)
    return messages


def read_runs(batch: Batch) -> list[tuple[int, list[WireMessage]]]:
    """Return the decoded messages of a batch, in runs with the number of the first of each.

    A message with a value that can't be decoded is left out, which ends a run; those around it may be the
    work of another part of its program.

    Raises:
        FrameError: they are malformed, whatever their values are.
    """
    messages = parse_messages(batch)
    if TYPE_MARK not in bytes(batch.messages):
        return [(batch.first, messages)]
    buffers = _buffers_of(batch)
    runs: list[tuple[int, list[WireMessage]]] = []
    run: list[WireMessage] = []
    unread, problem = 0, FrameError()
    for number, message in enumerate(messages, batch.first):
        try:
            read_types(message, buffers)
        except FrameError as error:
            unread, problem, run = unread + 1, error, []
            continue
        if not run:
            runs.append((number, run))
        run.append(message)
    if unread:
        _note_unread(batch, unread, problem)
    return runs


def _buffers_of(batch: Batch) -> Sequence[Any]:
    return batch.memory.views(limited=True) if isinstance(batch, LargeBatch) else ()


def _note_unread(batch: Batch | ReadBatch, count: int, error: FrameError) -> None:
    peers_log.warning("%d messages of %r can't be read and are left out: %s", count, batch.source, error)


def read_types(message: WireMessage, buffers: Sequence[Any] = ()) -> None:
    """Decode the values whose types JSON lacks.

    Raises:
        FrameError: a marked value is malformed. The types on the wire are a closed list, so nothing is
            imported or called by a name that a peer chooses.
    """
    try:
        message.args, message.kwargs = decode_payload(list(message.args), message.kwargs, buffers)
    except ValueError as error:
        raise FrameError(str(error)) from None


class Deduplicator:
    """Remembers the sequence numbers of recent messages, by origin.

    The numbers of one origin grow, but a node receives only what it follows, so they have gaps; over several
    paths they may come out of order. What is older than all ranges that are remembered counts as a duplicate.

    A range takes the place of all numbers in it, and in the usual case, one path and no gaps in what is
    followed, there is one range. So memory is bounded by gaps, not by messages.

    Args:
        ranges: how many ranges of numbers are remembered for each origin.
        origins: how many origins are remembered; the one not heard from for longest goes first.
    """

    def __init__(self, ranges: int = 1_024, origins: int = 2_000) -> None:
        self._ranges = ranges
        self._origins = origins
        self._by_origin: OrderedDict[Hashable, _Ranges] = OrderedDict()

    def fresh(self, origin: Hashable, first: int, count: int) -> Sequence[int]:
        """Return the numbers of a batch that were not received before, and record them.

        Args:
            origin: the id of the node that published it, perhaps with that of the link.
            first: the sequence number of its first message.
            count: the number of its messages.

        Returns:
            The new numbers, ascending: a `range` in the usual case, empty for a duplicate.
        """
        known = self._by_origin.get(origin)
        if known is None:
            known = self._by_origin[origin] = _Ranges(self._ranges)
            if len(self._by_origin) > self._origins:
                self._by_origin.popitem(last=False)
        else:
            self._by_origin.move_to_end(origin)
        lasts = known.lasts
        if lasts and first == lasts[-1] + 1:  # the usual case: it follows on what came last
            lasts[-1] += count
            return range(first, first + count)
        return known.add(first, count)

    def without(self, origin: Hashable, numbers: Sequence[int]) -> Sequence[int]:
        """Return those of the given numbers that were not received, in the given order.

        Nothing is recorded.
        """
        known = self._by_origin.get(origin)
        if known is None or not numbers or not known.lasts or numbers[0] > known.lasts[-1]:
            return numbers
        return [number for number in numbers if number not in known]


class _Ranges:
    """Disjoint ranges of numbers, in order, both ends included. All up to the floor is in.

    `lasts` is read by `Deduplicator.fresh` on its fast path; `_firsts` and `lasts` always have the same
    length.
    """

    __slots__ = ("_firsts", "_floor", "_most", "lasts")

    def __init__(self, most: int) -> None:
        self._most = most
        self._floor = 0
        self._firsts: list[int] = []
        self.lasts: list[int] = []
        """The last number of each range."""

    def add(self, first: int, count: int) -> range | list[int]:
        """Return the numbers that are new, and record them."""
        firsts, lasts = self._firsts, self.lasts
        highest = lasts[-1] if lasts else self._floor
        if first > highest:  # newer than all before
            firsts.append(first)
            lasts.append(first + count - 1)
            self._forget_oldest()
            return range(first, first + count)
        return [number for number in range(first, first + count) if self._add_one(number)]

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number)
        return number <= self._floor or (place > 0 and number <= self.lasts[place - 1])

    def _add_one(self, number: int) -> bool:
        """Record one number, which may close the gap between two ranges; return whether it is new."""
        if number in self:
            return False
        firsts, lasts = self._firsts, self.lasts
        place = bisect_right(firsts, number)
        joins_left = bool(place) and lasts[place - 1] == number - 1
        joins_right = place < len(firsts) and firsts[place] == number + 1
        if joins_left and joins_right:
            lasts[place - 1] = lasts.pop(place)
            del firsts[place]
        elif joins_left:
            lasts[place - 1] = number
        elif joins_right:
            firsts[place] = number
        else:
            firsts.insert(place, number)
            lasts.insert(place, number)
            self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        """Raise the floor to the end of the older half: numbers below it count as received.

        That may suppress a message which is late by more than a thousand gaps. The other choice, to deliver
        it, would deliver duplicates without bound.
        """
        if len(self._firsts) > 2 * self._most:  # half of them at once, which is cheap by the number
            self._floor = self.lasts[self._most - 1]
            del self._firsts[: self._most], self.lasts[: self._most]
