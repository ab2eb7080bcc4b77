"""The membership of one shared queue of this process in its group at a hub.

Locks: the node's is taken before that of a membership, and never the other way round; while a membership's
lock is held nothing is called that takes another one.

Three numbers describe it to the hub: consumers that wait (``waiting``), jobs to prefetch (``ahead``), and the
jobs taken since the last report (``taken``). Reports are sent when the hub could act on one: a consumer waits
and no job is here, or a tenth of the prefetched jobs was taken; otherwise a tick every 20 ms collects the
changes.

Each job of the hub is in one of these places: in the store; in `_set_aside`, while the link is cut; in
`_taken`, until it is reported; in `_returned`. So after a cut and `resume` none is reported twice.

The race with a new ``join``: jobs are read with the node's lock held and put into the store without it
(``job_inbox.py``). If the group is joined again in between, they belong to the former membership. Therefore
each carries the `epoch` of its arrival, and late ones are put into the group again, or left to the hub that
still has them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from berrymq.bridge.protocol.group_frames import (
    MAX_RANGES,
    GroupState,
    as_ranges,
    group_body,
    group_name,
    parse_state,
)
from berrymq.messages import FarMessage, Message
from berrymq.stores import PriorityItems

from .prefetching import TICK_SECONDS, Pace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berrymq.bridge.protocol.group_frames import GroupParams
    from berrymq.shared_stores import SharedStore

    from .shared_queues import SharedQueues

__all__ = ["JobMessage", "Membership"]

REPORT_PARTS = 10
"""Taken jobs are reported to the hub when they make up such a part of the prefetched ones. When this process
is killed, the hub gives those that were not reported to another member."""

FETCH_SECONDS = 1.0
"""The timeout of a question to the hub, such as that of `Queue.get_nowait`. After it the consumer gets what
is here; it is not an error."""

RECENT_SECONDS = 2.0
"""Received jobs are remembered for so long: when the hub is killed, their senders may send them again. A
sender learns in a few hundred milliseconds that its hub has ended."""
MAX_RECENT = 10_000
"""The most consecutive jobs that are reported to the next hub. It bounds the ``join`` frame together with
`MAX_RANGES`."""

_log = logging.getLogger("berrymq")


class JobMessage(FarMessage):
    """A message that the hub has handed over, with its number in the group."""

    __slots__ = ("_job",)

    _job: int


class _Question:
    """A question to the hub, and its answer."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.first: list[tuple[tuple[str, int], Message]] = []
        """The next jobs, each with its origin and sequence number."""


class Membership:
    """What the link does for one shared store; see `berrymq.shared_stores.Membership`.

    Args:
        queues: all memberships of this process.
        store: the shared store.
    """

    rejoins = 0
    """The question behind the ``join`` of a group that was left over the same link: jobs before its answer
    are those of the former membership, and no more are requested. 0 once it is answered, and without a former
    one; changed with the node's lock held."""

    def __init__(self, queues: SharedQueues, store: SharedStore) -> None:
        self.store = store
        self.group = group_name(store.identifier.text, store.durable)
        self.state = GroupState()
        """As the hub has sent it last, some tenths of a second old."""
        self.joined = threading.Event()
        """Set when the hub has answered the ``join``."""
        self.refused = ""
        self.stored = False
        """Whether the group's jobs are stored on NATS: then a killed hub loses none of them."""
        self.unanswered: list[Message] = []
        """Messages that were sent to the group before the ``join`` was answered: a refusal returns them."""
        self.epoch = 0
        """The number of times that the group was joined again; read and changed with the node's lock held."""
        self._keeps_former = False
        """Whether jobs of the former epoch are this process's own: the hub that had them has ended."""
        self.is_new = False
        """The queue is under construction, which a refusal makes fail."""
        self._queues = queues
        self._items = store.shared_items.inner
        """The store's items, used with `_lock` held. Beside jobs of the hub there may be messages that were
        collected here."""
        self._lock = threading.RLock()
        """Reentrant, for the garbage collector may close a queue while it is held."""
        self._over = False
        """It has returned its jobs, and takes no more."""
        self._paused = False
        """The link is cut: the hub may give to others what it has handed over."""
        self._set_aside: list[tuple[float, JobMessage]] = []
        """Jobs by urgency, in their order."""
        self._taken: list[int] = []
        """The numbers of jobs that were taken, and not reported yet."""
        self._returned: list[int] = []
        self._expired: deque[list[tuple[int, int]]] = deque()
        """Ranges of jobs that have expired, and may be still to come, for their buffers are pulled."""
        self._holding = 0
        """Jobs of the hub in the store."""
        self._pace = Pace()
        self._took_now = self._took_before = 0
        """Jobs taken in this tick, and in the one before."""
        self._reported = (0, 0)
        """Waiting consumers and prefetched jobs, as they were reported last."""
        self._ticking = False
        """A tick is scheduled."""
        self._recent: deque[list[Any]] = deque()
        """The latest jobs: ``[time, origin, first, count]``."""
        self._questions: dict[int, _Question] = {}
        """Unanswered ones by number."""
        self._last_question = 0
        self._shown: dict[tuple[str, int], Message] = {}
        """The next jobs that the hub has shown last: a job that it shows again is the same object."""
        self._warned = False

    # -- for the store ---------------------------------------------------------------------------------------

    def put(self, message: Message) -> None:
        """Pass a message on to the group, whose route was computed before it was joined."""
        self._queues.outbox.put(self, [message])

    def take_backlog(self) -> None:
        """Pass on to the group what was collected here."""
        with self._lock:
            jobs = self._withdraw()
            own: list[Message] = []
            while True:
                try:
                    own.append(self._items.popleft())
                except IndexError:
                    break
            self._restore(jobs)
        self._queues.outbox.put(self, own)

    def take(self) -> Message:
        """Remove and return the next job that is here; `IndexError` when there is none.

        The report is sent after the lock was released; its order does not matter, since it names jobs by
        number.
        """
        with self._lock:
            message = self._items.popleft()
            if type(message) is not JobMessage:
                return message
            self._taken.append(message._job)
            self._holding -= 1
            self._took_now += 1
            self._pace.done()
            tick = not self._ticking
            self._ticking = True
            must_report = self._must_report()
        if must_report:
            self._queues.report(self)
        if tick:
            self._queues.call_later(TICK_SECONDS, self._tick)
        self._pace.begin()
        return message

    def waiters_changed(self) -> None:
        """Report whether consumers here wait for a job.

        Called by the store, without its lock, when a consumer begins or ends to wait.
        """
        with self._lock:
            self._pace.done()
            must_report = self._must_report()
        if must_report:
            self._queues.report(self)

    def _must_report(self) -> bool:
        """Return whether a report is due now, rather than with the next tick. The lock is held."""
        if len(self._taken) >= max(1, self._reported[1] // REPORT_PARTS):
            return True
        return not self._holding and len(self.store.blocked) != self._reported[0]

    def fetch(self, count: int) -> bool:
        """Fetch up to so many waiting jobs of the hub; return whether there are some here.

        It waits for the answer for up to `FETCH_SECONDS`, if it may.
        """
        self._ask(now=count)
        return bool(self._items)

    def depth(self) -> int:
        """Return how many jobs of the group were not taken.

        Asks the hub for it, and falls back on the last known state.
        """
        self._ask()
        return self._depth()

    def _depth(self) -> int:
        with self._lock:
            own = len(self._items) - self._holding
            return max(0, self.state.depth - len(self._taken)) + own

    def first(self, limit: int) -> list[Message]:
        """Return the jobs that are next: those here, then those that wait at the hub.

        Args:
            limit: the most messages; the hub shows 100 at most.
        """
        with self._lock:
            here = list(self._items)
        if len(here) >= limit:
            return here[:limit]
        asked = self._ask(first=min(limit - len(here), 100))
        if asked is None:
            return here
        shown = self._shown
        self._shown = {key: shown.get(key, message) for key, message in asked.first}
        return [*here, *self._shown.values()][:limit]

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return the counters of the group, as the hub has sent them last.

        Returns:
            Jobs not taken, received, dropped, consumers that wait in all processes, and the greatest depth.
        """
        state = self.state
        return self._depth(), state.received, state.dropped, state.consumers, state.deepest

    def members(self) -> list[tuple[str, int, int, int]]:
        """Return the members of the group, as the hub has sent them last."""
        return self.state.members

    def leave(self) -> None:
        """Return jobs that were not taken; on any thread, even in garbage collection.

        It takes no lock that another thread may hold for long; the ``leave`` frame follows on the loop.
        """
        self.end()
        self._queues.node.loop.call(self._queues.forget, self)

    # -- frames for the hub ----------------------------------------------------------------------------------

    def _ask(self, *, now: int = 0, first: int = 0) -> _Question | None:
        """Put a question to the hub and wait for the answer; return None if there is none in time.

        Args:
            now: fetch up to so many jobs beyond the credit.
            first: show so many of the next ones.
        """
        if not self._queues.can_wait or self._paused or self._over:
            return None
        with self._lock:
            self._last_question += 1
            number = self._last_question
            question = self._questions[number] = _Question()
        try:
            self._queues.report(self, question=number, now=now, first=first)
            return question if question.answered.wait(FETCH_SECONDS) else None
        finally:
            self._questions.pop(number, None)

    def want_body(self, **fields: int) -> bytes:
        """Return the params of a ``want``.

        What was taken and returned is moved into the frame in the same step, so each number is reported once.
        The stream retransmits the frame after a cut.
        """
        if self.rejoins:
            fields["now"] = 0
        with self._lock:
            self._reported = (0, 0) if self.rejoins else (len(self.store.blocked), self._pace.ahead)
            taken, self._taken = self._taken, []
            returned, self._returned = self._returned, []
        return group_body(
            self.group,
            waiting=self._reported[0],
            ahead=self._reported[1],
            taken=as_ranges(sorted(taken)),
            returned=as_ranges(sorted(returned)),
            **fields,
        )

    def rejoin(self) -> None:
        """Request nothing until the hub has answered a question; see `rejoins`."""
        with self._lock:
            self._last_question += 1
            self.rejoins = self._last_question

    def leave_body(self) -> bytes:
        """Return the params of a ``leave``."""
        with self._lock:
            taken, self._taken = self._taken, []
        return group_body(self.group, taken=as_ranges(sorted(taken)))

    def join_body(self) -> bytes:
        """Return the params of a ``join``.

        The newest jobs of each range are named, if there are more than `MAX_RECENT`.
        """
        had = []
        for _, origin, first, count in [] if self.stored else list(self._recent)[-MAX_RANGES:]:
            some = min(count, MAX_RECENT)
            had.append((origin, first + count - some, some))
        store = self.store
        return group_body(self.group, maxsize=store.capacity, overflow=store.overflow, had=had)

    def _tick(self) -> None:
        """Prefetch as much as was taken lately, and return what will not be taken soon; on the loop.

        Two ticks in which nothing was taken mean that the consumers are busy with something long: what was
        prefetched goes back, for others may be idle. The ticks end when nothing is left to be done.
        """
        with self._lock:
            if self._over:
                return
            before, self._took_before, self._took_now = self._took_before, self._took_now, 0
            if not self._took_before and not before:
                self._pace.stall()
                if not self._paused:
                    self._return(self._holding - len(self.store.blocked))
            waiting, ahead = self._reported
            must_report = (
                bool(self._taken or self._returned)
                or abs(self._pace.ahead - ahead) > ahead // 4
                or waiting > len(self.store.blocked)
            )
            self._ticking = bool(self._took_before or self._holding or (self._pace.ahead and before))
        if must_report:
            self._queues.report(self)
        if self._ticking:
            self._queues.call_later(TICK_SECONDS, self._tick)

    def _return(self, count: int) -> None:
        """Return so many jobs, if any, those that would be taken last. The lock is held."""
        if count <= 0:
            return
        jobs = self._withdraw()
        keep = max(0, len(jobs) - count)
        self._returned += [message._job for _, message in jobs[keep:]]
        self._restore(jobs[:keep])

    def _withdraw(self) -> list[tuple[float, JobMessage]]:
        """Take all jobs of the hub out of the store, in their order. The lock is held.

        Messages that were collected here stay.
        """
        items = self._items
        if not self._holding:
            return []
        everything: list[tuple[float, Message]] = []
        if isinstance(items, PriorityItems):
            everything = items.take_all()
        else:
            everything = [(0.0, message) for message in items]
            items.clear()
        jobs = []
        for urgency, message in everything:
            if isinstance(message, JobMessage):
                jobs.append((urgency, message))
            else:
                self._insert(urgency, message)
        self._holding = 0
        return jobs

    def _restore(self, jobs: list[tuple[float, JobMessage]]) -> None:
        """Put jobs into the store, before those that came later. The lock is held."""
        items = self._items
        if isinstance(items, PriorityItems):
            for urgency, message in jobs:
                items.insert(urgency, message)
        else:
            items.extendleft([message for _, message in reversed(jobs)])
        self._holding += len(jobs)

    def _insert(self, urgency: float, message: Message) -> None:
        """Add one message by its urgency, or at the end."""
        items = self._items
        if isinstance(items, PriorityItems):
            items.insert(urgency, message)
        else:
            items.append(message)

    # -- frames of the hub -----------------------------------------------------------------------------------

    def receive_jobs(self, messages: list[JobMessage], unreadable: list[int], epoch: int) -> None:
        """Put jobs into the store, and wake consumers.

        Priorities are computed before the lock is taken: the function is the user's, and may call `get`
        itself.

        Args:
            messages: the jobs.
            unreadable: the numbers of malformed jobs.
            epoch: `epoch` at their arrival.
        """
        items = self._items
        # Before the lock is taken, since the priority is the user's code.
        ranked = [
            (items.urgency(message) if isinstance(items, PriorityItems) else 0.0, message)
            for message in messages
        ]
        with self._lock:
            if self._over:
                return  # they were returned
            if epoch != self.epoch:
                late = messages if self._keeps_former else []
            else:
                late = []
                if self._expired:
                    ranked = [one for one in ranked if not self._has_expired(one[1])]
                self._put(ranked, unreadable)
            tick = not self._ticking and bool(self._holding)
            self._ticking = self._ticking or tick
        if late:
            self._queues.outbox.put(self, late)  # type: ignore[arg-type]
        waiters = self.store.waiters
        for _ in range(min(len(ranked), len(waiters))):
            waiters.wake()
        if tick:
            self._queues.call_later(TICK_SECONDS, self._tick)

    def _put(self, ranked: list[tuple[float, JobMessage]], unreadable: list[int]) -> None:
        """Put jobs into the store. The lock is held.

        While the link is cut they are set aside; unreadable ones count as taken, or the hub would hold them
        for ever.
        """
        self._taken += unreadable
        if self._paused:
            self._set_aside += ranked
            return
        for urgency, message in ranked:
            self._insert(urgency, message)
        self._holding += len(ranked)

    def remember(self, origin: str, first: int, count: int) -> None:
        """Remember jobs that were received, for a hub that replaces this one.

        Called with the node's lock held. Consecutive numbers of one origin make one entry.
        """
        recent, now = self._recent, monotonic()
        if recent and recent[-1][1] == origin and recent[-1][2] + recent[-1][3] == first:
            recent[-1][0] = now
            recent[-1][3] += count
        else:
            recent.append([now, origin, first, count])
            while len(recent) > MAX_RANGES or now - recent[0][0] > RECENT_SECONDS:
                recent.popleft()

    def receive_state(self, params: GroupParams, first: list[tuple[tuple[str, int], Message]]) -> None:
        """Store the state of the group.

        Args:
            params: the frame.
            first: the jobs that it shows, by origin and sequence number.
        """
        if params.refused:
            self.refused = params.refused
        else:
            self.state = parse_state(params.state)
            self.stored = params.stored
            self.unanswered = []
        self.joined.set()
        question = self._questions.get(params.question)
        if question is not None:
            question.first = first
            question.answered.set()

    def expire(self, ranges: list[tuple[int, int]]) -> None:
        """Forget jobs that were handed over and not taken: others get them.

        Those that arrive until `expired_arrived` is called are forgotten, too.
        """
        with self._lock:
            self._expired.append(ranges)
            self._restore([one for one in self._withdraw() if not self._has_expired(one[1])])

    def _has_expired(self, message: JobMessage) -> bool:
        return any(
            first <= message._job < first + count for ranges in self._expired for first, count in ranges
        )

    def expired_arrived(self) -> None:
        """Note that all jobs have arrived that were sent before the frame by which some expired."""
        with self._lock:
            self._expired.popleft()

    # -- cuts and ends ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Set jobs of the hub aside until `resume`.

        Consumers find nothing then, and wait. A job that was taken before is theirs.
        """
        with self._lock:
            if not self._paused:
                self._paused = True
                self._set_aside = self._withdraw()

    def resume(self) -> None:
        """Put jobs back that `pause` has set aside: they are still this member's.

        Called when the link was resumed with its stream; if the hub had given the jobs to others, it would
        have refused that.
        """
        with self._lock:
            self._paused = False
            self._restore(self._set_aside)
            self._set_aside = []
        self.store.waiters.wake_all()

    def restart(self, *, keeps_former: bool) -> list[JobMessage]:
        """Reset the state for another ``join``; return the jobs of the former membership.

        Args:
            keeps_former: the former jobs are this process's; else the hub gives them to others.
        """
        with self._lock:
            self.epoch += 1
            self.rejoins = 0
            self._keeps_former = keeps_former
            jobs = [message for _, message in (*self._set_aside, *self._withdraw())]
            self._set_aside = []
            self._paused = False
            self._taken, self._returned = [], []
            self.state = GroupState()
            self._reported = (0, 0)
            self._pace.stall()
            self.unanswered = []
            self.joined.clear()
        return jobs

    def end(self) -> None:
        """Discard jobs that were not taken: they are the hub's again.

        Waiting questions return without an answer.
        """
        with self._lock:
            self._over = True
            self._withdraw()
            self._set_aside = []
        for question in list(self._questions.values()):
            question.answered.set()

    def collect(self, messages: Iterable[Message]) -> None:
        """Add messages to the store in this process."""
        for message in messages:
            self.store.collect(message)

    def warn_of_payload(self, message: Message, error: Exception) -> None:
        """Warn, once, that a job can't cross and stays here."""
        if not self._warned:
            self._warned = True
            _log.warning("a job of %r stays in this process: %s: %s", self.group, message.id, error)
