"""Shared queues: each job of a group goes to exactly one of its members.

A job waits here until a member takes it. Members report how many of their consumers wait, and how many more
jobs to prefetch; they hold no more than that. Jobs that a member holds and has not taken return to their
place in the order of the group when it leaves. There is no I/O here and no clock.

The life of a job, and the counters that it is in:

    accept       waiting    in `Group._runs`, by ascending number; no member has it
    _give        held       in `Member.held`; its bytes are on the way to the member, or there
    mark_taken   taken      a consumer of the member has it; it is forgotten here
    give_back    waiting    back before all jobs with greater numbers

Jobs are numbered when they arrive, and the number is what ``want``, ``jobs`` and ``leave`` speak of
(``protocol/group_frames.py``). At any time each job that was accepted and not dropped is in exactly one of
these states, so ``received == waiting + held + taken + dropped``.

The race it handles: a consumer takes a job at the member while the hub believes it held, and the member's
link is cut before its ``want`` arrives. If the member resumes, its report arrives late and the job is taken;
until then the hub gives it to no other. Only if the member's process has ended, or its ttl is over, do its
jobs return; one that it had taken a moment before is then handed out a second time. Exactly once would need
the consumer's own acknowledgement.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from berrymq.bridge.protocol.batches import parse_batch, split_batch
from berrymq.bridge.protocol.group_frames import GroupState, as_ranges
from berrymq.bridge.protocol.json_checks import FrameError

from .job_runs import Run, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berrymq.bridge.transport.budget import Budget

__all__ = ["Group", "Member"]

JOB_BYTES, HAD_BYTES = 200, 150
"""The approximate memory for a job that a member holds, and for one that a member of a former hub has.
Counted for the budget, beside the bytes of the batches."""

GROUP_BYTES = 2_000
"""The approximate memory for a group without jobs."""

MAX_HELD = 10_000
"""The most jobs that a member holds, whatever credit it gives."""
MAX_HELD_BYTES = 4 * 1024 * 1024
"""The most bytes of jobs that a member holds, unless a single one is larger. It bounds what returns, and is
sent again, when a member ends, and what a slow member keeps from the others."""

MAX_HAD = 100_000
"""The most jobs of a former hub that are remembered as held by members, however often one is named."""

MAX_MEMBERS_SHOWN = 50
"""The members that a state frame or a status lists; a status gives the number of the others."""


class Member:
    """A member of a group: it takes jobs.

    Credit is what keeps it busy and others fed: a member has credit for the consumers that wait, plus a few
    jobs ahead which hide the time of a round trip (``node/prefetching.py``), and each job that it holds uses
    one up.

    Args:
        name: its name, for people.
        send: called with jobs for it: batches, each with the number of its first job.
    """

    def __init__(self, name: str, send: Callable[[list[tuple[int, bytes]]], object]) -> None:
        self.name = name
        self.send = send
        self.waiting = 0
        """The number of its consumers that wait."""
        self.ahead = 0
        """The number of jobs to prefetch."""
        self.connected = True
        """Whether it gets jobs: not while its link is cut."""
        self.taken = 0
        """The jobs that it has taken since it joined."""
        self.held: dict[int, tuple[Source, int, int]] = {}
        """The jobs that it holds, by number: the batch, the place in it, and the bytes."""
        self.held_bytes = 0
        """The sum of the third parts of `held`."""

    @property
    def free(self) -> int:
        """The number of further jobs that it may hold.

        None while its link is cut: they would stay there, while other members could take them.
        """
        if not self.connected or (self.held_bytes >= MAX_HELD_BYTES and self.held):
            return 0
        return max(0, min(self.waiting + self.ahead, MAX_HELD) - len(self.held))

    def held_in(self, ranges: Iterable[tuple[int, int]]) -> list[int]:
        """Return the numbers of held jobs that are in one of the ranges; bounded by their number.

        Ranges come from the peer, so their size is no measure of the work: a range of 2**53 jobs costs as
        much as the jobs that are held.

        Args:
            ranges: each the first number and the count.
        """
        held = self.held
        ranges = sorted(ranges)
        if sum([count for _, count in ranges]) <= 2 * len(held):
            numbers = [number for first, count in ranges for number in range(first, first + count)]
            return list(dict.fromkeys([number for number in numbers if number in held]))
        firsts = [first for first, _ in ranges]
        ends = list(accumulate([first + count for first, count in ranges], max))
        return [
            number for number in held if (place := bisect_right(firsts, number)) and number < ends[place - 1]
        ]


class Group:
    """The jobs of one identifier in one room, and its members. Used with the router's lock held.

    Args:
        follows: the identifier, as text.
        budget: counts the bytes that it holds.
        maxsize: its capacity in jobs; 0 for no bound.
        overflow: which jobs are dropped beyond that.
    """

    def __init__(
        self,
        follows: str,
        budget: Budget,
        maxsize: int = 0,
        overflow: Literal["drop_oldest", "drop_newest"] = "drop_oldest",
    ) -> None:
        self.follows = follows
        self.maxsize = maxsize
        self.overflow: Literal["drop_oldest", "drop_newest"] = overflow
        self.members: dict[Member, None] = {}
        """The one whose last job was handed over longest ago is first."""
        self.received = 0
        """Jobs that have arrived since the group was opened, dropped ones included."""
        self.dropped = 0
        """Jobs that were dropped because the group was full, memory was short, or they could not be read."""
        self.taken = 0
        """Jobs that members have reported as taken."""
        self.deepest = 0
        """The greatest `depth` so far."""
        self.waiting = 0
        """Jobs that no member holds."""
        self.held = 0
        """Jobs that a member holds and has not taken."""
        self.on_change: Callable[[], object] = lambda: None
        """Called after anything has changed."""
        self.is_fed = False
        """Whether the jobs come from a feed, which bounds their number and takes back unwanted ones."""
        self.on_finished: Callable[[int], object] = lambda _: None
        """Called with the number of a job that a member has taken."""
        self.on_dropped: Callable[[int], object] = lambda _: None
        """Called with the number of a job that was dropped here before a member had it."""
        self._had: set[tuple[str, int]] | None = None
        self._had_named = 0
        """The number of jobs that members have named as theirs, repetitions included."""
        self._runs: deque[Run] = deque()
        """The jobs that no member holds, by ascending number. A run is a part of one batch; a batch is split
        only when it has to be."""
        self._next = 1
        """The number of the next job."""
        self._account = budget.open(self.shed)
        self._account.grow(GROUP_BYTES)

    @property
    def depth(self) -> int:
        """The number of jobs that were not taken."""
        return self.waiting + self.held

    @property
    def credit(self) -> int:
        """The number of further jobs that its members may hold."""
        return sum([member.free for member in self.members])

    @property
    def next_number(self) -> int:
        """The number that the next job gets."""
        return self._next

    # -- adding jobs -----------------------------------------------------------------------------------------

    def accept(self, batch: bytes, count: int) -> None:
        """Add the jobs of a batch, and hand them over to members that want some.

        Called by the room for each batch that the identifier matches; see `Subscriber`.
        """
        for data, number in self._new_parts(batch, count):
            self._append(data, number)
        self.hand_over()

    def _append(self, data: bytes, count: int) -> None:
        """Number the jobs and add them at the end, within `maxsize`.

        With ``drop_newest`` what exceeds it is dropped here; with ``drop_oldest`` the oldest are, but never
        the last one that waits, and none that a member holds.
        """
        self.received += count
        maxsize = 0 if self.is_fed else self.maxsize
        if self.overflow == "drop_newest" and maxsize:
            kept = min(count, max(0, maxsize - self.depth))
            if not self._runs and not kept and self._wanted():
                kept = 1  # a consumer waits for it, so it needs no capacity
        else:
            kept = count
        self.dropped += count - kept
        if not kept:
            self.on_change()
            return
        source = Source(data, count, kept)
        self._runs.append(Run(self._next, source, 0, kept))
        self._next += kept
        self.waiting += kept
        self._account.hold(data)
        self._account.grow(source.own_bytes)
        if maxsize and self.overflow == "drop_oldest":
            self._drop(max(0, min(self.depth - maxsize, self.waiting - 1)))
        self.deepest = max(self.deepest, self.depth)

    def _wanted(self) -> bool:
        """Return whether some member would take a job now."""
        return any(member.free for member in self.members)

    def deduplicate(self, ranges: Iterable[tuple[str, int, int]]) -> None:
        """Skip jobs from now on that members of a former hub's group hold already.

        A node that links to the successor of a killed hub resends what was not acknowledged, and some of that
        was handed over by the former hub already. Members say in their ``join`` what they have.

        Args:
            ranges: each the id of the origin, the first sequence number and the count.
        """
        had = self._had = self._had or set()
        before = len(had)
        for origin, first, count in ranges:
            some = min(count, MAX_HAD - self._had_named)
            self._had_named += some
            had.update([(origin, number) for number in range(first, first + some)])
        self._account.grow(HAD_BYTES * (len(had) - before))

    def stop_deduplicating(self) -> None:
        """Add every job from now on.

        Called when what is resent has arrived, some time after a member has joined with such jobs, and when
        memory is short.
        """
        if self._had is not None:
            self._account.grow(-HAD_BYTES * len(self._had))
            self._had = None
            self._had_named = 0

    def _new_parts(self, data: bytes, count: int) -> list[tuple[bytes, int]]:
        """Return those parts of a batch that no member holds."""
        had = self._had
        if not had:
            return [(data, count)]
        batch = parse_batch(data)
        numbers = range(batch.first, batch.first + batch.count)
        new = [number for number in numbers if (batch.origin, number) not in had]
        if len(new) == count:
            return [(data, count)]
        return [(part, one.count) for one, part in split_batch(batch, new)]

    # -- handing jobs over -----------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Hand jobs to members that want some: first to those that wait, each in its turn."""
        if self._runs:
            for only_waiting in (True, False):
                self._hand_over(only_waiting)
                if not self._runs:
                    break
        self.on_change()

    def _hand_over(self, only_waiting: bool) -> None:
        """Give jobs to all members that have credit, until the jobs or the credit are used up.

        In each round the members get equal shares of what waits. It is sent at the end, in one call for each
        member.

        Args:
            only_waiting: count consumers that wait, and no prefetching.
        """
        sent: dict[Member, list[Run]] = {}
        while self._runs:
            wanting = [
                (member, free) for member in self.members if (free := self._free(member, only_waiting))
            ]
            if not wanting:
                break
            share = max(1, self.waiting // len(wanting))
            for member, free in wanting:
                if not self._runs:
                    break
                sent.setdefault(member, []).extend(self._give(member, min(free, share)))
        for member, runs in sent.items():
            self._send(member, runs)

    def _free(self, member: Member, only_waiting: bool) -> int:
        """Return how many jobs a member is to get in a round."""
        free = member.free
        return min(free, max(0, member.waiting - len(member.held))) if only_waiting else free

    def _give(self, member: Member, most: int) -> list[Run]:
        """Assign up to so many jobs to a member; return them.

        The member becomes the last in the order of turns.
        """
        given = []
        most = min(most, MAX_HELD - len(member.held))
        while most > 0 and self._runs and (member.held_bytes < MAX_HELD_BYTES or not member.held):
            run = self._runs[0]
            count = min(most, len(run))
            if count == len(run):
                self._runs.popleft()
            else:
                run = run.split(count)
            size = run.source.job_bytes
            for place in range(count):
                member.held[run.number + place] = run.source, run.start + place, size
            member.held_bytes += size * count
            self._account.grow(JOB_BYTES * count)
            most -= count
            self.waiting -= count
            self.held += count
            given.append(run)
        if given:  # it is last from now on
            del self.members[member]
            self.members[member] = None
        return given

    def _send(self, member: Member, runs: list[Run]) -> None:
        """Send jobs that were assigned to a member.

        Those of a batch that can't be split, since a message in it is malformed, are dropped and counted.
        """
        jobs = []
        for run in runs:
            try:
                jobs.append((run.number, self._slice(run.source, run.start, run.end)))
            except FrameError:  # a hub does not decode messages when they arrive
                self.dropped += len(run)
                self._finish(member, [(run.number, len(run))])
        if jobs:
            member.send(jobs)

    def _slice(self, source: Source, start: int, end: int) -> bytes:
        """Return a part of a batch as a batch, and count the memory that reading it takes.

        Raises:
            FrameError: it can't be read.
        """
        before = source.own_bytes
        data = source.slice(start, end)
        self._account.grow(source.own_bytes - before)
        return data

    def pull(self, member: Member, most: int) -> int:
        """Hand up to so many jobs to a member beyond its credit; return how many.

        For a ``want`` with ``now``, by which a consumer fetches jobs without waiting for its turn, such as
        `Queue.get_nowait`.
        """
        before = len(member.held)
        self._send(member, self._give(member, most))
        self.on_change()
        return len(member.held) - before

    def mark_taken(self, member: Member, ranges: Iterable[tuple[int, int]]) -> None:
        """Note that a member has taken jobs.

        Numbers of jobs that it does not hold are ignored: they were given back before.
        """
        count = self._finish(member, ranges)
        member.taken += count
        self.taken += count

    def _finish(self, member: Member, ranges: Iterable[tuple[int, int]]) -> int:
        """Forget held jobs; return how many there were."""
        finished = 0
        for number in member.held_in(ranges):
            source, _, size = member.held.pop(number)
            member.held_bytes -= size
            self._release(source, 1)
            self.on_finished(number)
            finished += 1
        self._account.grow(-JOB_BYTES * finished)
        self.held -= finished
        return finished

    def _release(self, source: Source, count: int) -> None:
        """Release a batch when its last job has gone."""
        source.left -= count
        if not source.left:
            self._account.release(source.data)
            self._account.grow(-source.own_bytes)

    def give_back(self, member: Member, ranges: Iterable[tuple[int, int]] | None = None) -> int:
        """Return held jobs, all or those in the ranges, to their place in the order; return how many.

        The members that wait are not given anything here; the caller calls `hand_over` when all changes are
        made.
        """
        held = member.held
        numbers = list(held) if ranges is None else member.held_in(ranges)
        returned: list[Run] = []
        for number in sorted(numbers):
            source, place, size = held.pop(number)
            member.held_bytes -= size
            last = returned[-1] if returned else None
            if (
                last is not None
                and last.source is source
                and last.end == place
                and last.number + len(last) == number
            ):
                last.end += 1
            else:
                returned.append(Run(number, source, place, place + 1))
        count = len(numbers)
        self._account.grow(-JOB_BYTES * count)
        self.held -= count
        self.waiting += count
        self._insert(returned)
        return count

    def _insert(self, returned: list[Run]) -> None:
        """Put runs back before those with greater numbers.

        Returned jobs have small numbers, so only the beginning of the queue is looked at.
        """
        runs = self._runs
        before: list[Run] = []
        while returned and runs and runs[0].number < returned[-1].number:
            run = runs.popleft()
            # A part of a batch may have been handed over after a later one was given back.
            before.append(run)
        runs.extendleft(sorted([*before, *returned], key=lambda run: run.number, reverse=True))

    # -- bounds ----------------------------------------------------------------------------------------------

    def _drop(self, count: int) -> None:
        """Drop so many jobs that no member holds, the oldest first.

        Jobs that a member holds are never dropped: it may have taken them already.
        """
        while count > 0 and self._runs:
            run = self._runs[0]
            some = min(count, len(run))
            if some == len(run):
                self._runs.popleft()
            else:
                run = run.split(some)
            self._release(run.source, some)
            self.waiting -= some
            self.dropped += some
            count -= some
            for number in range(run.number, run.number + some):
                self.on_dropped(number)

    def withdraw(self) -> list[tuple[int, bytes]]:
        """Remove all jobs that no member holds; return them with their numbers, as batches of one."""
        withdrawn: list[tuple[int, bytes]] = []
        while self._runs:
            run = self._runs.popleft()
            for place in range(run.start, run.end):
                with suppress(FrameError):
                    withdrawn.append(
                        (run.number + place - run.start, self._slice(run.source, place, place + 1))
                    )
            self._release(run.source, len(run))
            self.waiting -= len(run)
        return withdrawn

    def shed_by(self, shed: Callable[[int], object]) -> None:
        """Have the budget call this in place of `shed`, such as to call that with the lock held."""
        self._account.shed = shed

    def shed(self, target: int) -> None:
        """Drop jobs until no more bytes than *target* are held: those that no member holds, the oldest first.

        Then those that members hold, of the largest holder first: it has them already, and only their return
        is no longer possible.
        """
        while self._account.held > target and self._runs:
            self._drop(len(self._runs[0]))
        if self._account.held > target:
            self.stop_deduplicating()
        for member in sorted(self.members, key=lambda one: one.held_bytes, reverse=True):
            if self._account.held <= target:
                break
            self.dropped += self._finish(member, as_ranges(sorted(member.held)))
        self.on_change()

    # -- members ---------------------------------------------------------------------------------------------

    def join(self, member: Member) -> None:
        """Add a member."""
        self.members[member] = None
        self.on_change()

    def leave(self, member: Member) -> int:
        """Remove a member; return how many jobs it gives back.

        Its consumers count no more, and the jobs go to other members at once.
        """
        self.members.pop(member, None)
        member.waiting = member.ahead = 0
        returned = self.give_back(member)
        self.hand_over()
        return returned

    def close(self) -> int:
        """Drop all jobs; return their number.

        The budget's account is closed with it; the group is of no use afterwards.
        """
        left = self.depth
        for member in list(self.members):
            self.members.pop(member)
            self.give_back(member)
        self._drop(self.waiting)
        self.stop_deduplicating()
        self._account.close()
        return left

    # -- status ----------------------------------------------------------------------------------------------

    def first(self, count: int, most_bytes: int = 256 * 1024) -> list[bytes]:
        """Return up to so many of the next jobs, as batches of one.

        They stay in the group: this is for ``peek`` and for views.

        Args:
            count: the most jobs.
            most_bytes: the approximate limit of their size.
        """
        found: list[bytes] = []
        for run in self._runs:
            for place in range(run.start, run.end):
                if len(found) >= count or most_bytes < 0:
                    return found
                try:
                    found.append(self._slice(run.source, place, place + 1))
                except FrameError:
                    break
                most_bytes -= len(found[-1])
        return found

    def state(self) -> GroupState:
        """Return its counters and members."""
        members = [
            (member.name, member.taken, len(member.held), member.waiting)
            for member in list(self.members)[:MAX_MEMBERS_SHOWN]
        ]
        return GroupState(
            self.waiting,
            self.held,
            self.received,
            self.dropped,
            self.deepest,
            sum([member.waiting for member in self.members]),
            sorted(members),
        )

    def status(self, state: GroupState) -> dict[str, Any]:
        """Return the state of a group in names and numbers, for the status of a hub.

        Args:
            state: its state, here or at the feed.
        """
        return {
            "id": self.follows,
            "depth": state.depth,
            "waiting": state.waiting,
            "received": state.received,
            "taken": self.taken,
            "dropped": state.dropped,
            "consumers": state.consumers,
            "members": [
                {"name": name, "taken": taken, "held": held, "consumers": consumers}
                for name, taken, held, consumers in state.members
            ],
            "members_more": max(0, len(self.members) - MAX_MEMBERS_SHOWN),
        }
