"""The frames of shared queues: a group at the hub hands each job to one of its members.

============  =============  ======================================================================
method        from           params beside ``n``, ``ack`` and ``group``, the identifier of the group
============  =============  ======================================================================
``join``      the member     ``maxsize``, ``overflow``; ``had``: jobs of a former hub that it has
``want``      the member     ``waiting``, ``ahead``; ``taken``, ``returned``; ``question``, ``now``,
                             ``first``
``put``       the member     ``batch``: jobs that were published there and are for the group
``leave``     the member     ``taken``
``jobs``      the hub        ``jobs``: each ``[number, batch]``
``group``     the hub        ``state``, or ``refused``: why it can't join; ``question``, ``first``
============  =============  ======================================================================

A group is named by its identifier; a durable one by that, a colon and its name, as in ``task:*:night``.
Jobs are numbered by their group, from 1 on, in order; the messages of a batch in ``jobs`` have consecutive
numbers. ``taken`` and ``returned`` are ranges of them, each ``[first, count]``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from .batches import LargeBatchBytes, parse_batch
from .fields import Count, IdentifierText, Number, crossing_identifier
from .frames import NUMBERED, PUT, Buffers, Form
from .json_checks import MALFORMED, FrameError, encode_json, reason_of
from .reliable_stream import HoldingBody

if TYPE_CHECKING:
    from berrymq.identifiers import Identifier

    from .batches import Batch
    from .offers import Offers

__all__ = [
    "GROUP",
    "JOBS",
    "JOIN",
    "LEAVE",
    "MAX_RANGES",
    "PUT",
    "WANT",
    "GroupFrame",
    "GroupParams",
    "GroupState",
    "JobsParams",
    "JoinParams",
    "LeaveParams",
    "MemoryFrame",
    "PutParams",
    "Ranges",
    "WantParams",
    "as_ranges",
    "group_body",
    "group_name",
    "jobs_bodies",
    "parse_group",
    "parse_jobs",
    "parse_state",
    "put_body",
]

JOIN: Final = b"join"
WANT: Final = b"want"
LEAVE: Final = b"leave"
JOBS: Final = b"jobs"
GROUP: Final = b"group"

_DURABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")

MAX_RANGES = 4_096
"""The most ranges in one frame."""

Ranges = Annotated[list[tuple[Number, Number]], Meta(max_length=MAX_RANGES)]
Overflow = Literal["drop_oldest", "drop_newest"]
"""What a group does with a job that finds it full; nothing that would concern the sender."""


class GroupFrame(Struct):
    """What the params of all frames of groups have."""

    n: Number
    ack: Count
    group: IdentifierText


class JoinParams(GroupFrame):
    """Params of ``join``."""

    maxsize: Count = 0
    """The capacity of the group; 0 for no bound."""
    overflow: Overflow = "drop_oldest"
    had: Annotated[
        list[tuple[Annotated[str, Meta(max_length=64)], Number, Number]], Meta(max_length=MAX_RANGES)
    ] = []
    """Jobs that a former hub has handed over lately: origin, first sequence number, count."""


class WantParams(GroupFrame):
    """Params of ``want``: the member may have as many jobs as are waited for there and prefetched."""

    waiting: Count = 0
    """Consumers there that wait for a job."""
    ahead: Count = 0
    """How many jobs more it may have, so that it stays busy."""
    taken: Ranges = []
    returned: Ranges = []
    """Those that it gives back, for it would not take them soon."""
    question: Count = 0
    """When it is not 0, a ``group`` with the same number is the answer."""
    now: Count = 0
    """Before the answer it gets up to so many jobs that wait at this moment, beside the others."""
    first: Annotated[int, Meta(ge=0, le=100)] = 0
    """How many of those that are next the answer is to show."""


class MemoryFrame(GroupFrame):
    """The params of frames that may bring the buffers of a message: as in ``buffers``."""

    memory: Form = None
    sizes: list[Count] = []
    """Of the buffers in bytes; none if there are no buffers."""
    reason: str = ""

    @property
    def size(self) -> int:
        """The bytes of its jobs."""
        return 0


class PutParams(MemoryFrame, kw_only=True):
    """Params of ``put``."""

    batch: Raw
    """Jobs; a single one if there are buffers."""

    @property
    def size(self) -> int:
        """The bytes of its jobs."""
        return len(self.batch)


class LeaveParams(GroupFrame):
    """Params of ``leave``."""

    taken: Ranges = []


class JobsParams(MemoryFrame, kw_only=True):
    """Params of ``jobs``; with buffers, of a single job."""

    jobs: Annotated[list[tuple[Number, Raw]], Meta(max_length=100_000)]

    @property
    def size(self) -> int:
        """The bytes of its jobs."""
        return sum([len(raw) for _, raw in self.jobs])


class GroupState(Struct, array_like=True):
    """The counters and members of a group."""

    waiting: int = 0
    """Jobs that no member has."""
    held: int = 0
    """Jobs that a member has and has not taken yet."""
    received: int = 0
    dropped: int = 0
    deepest: int = 0
    consumers: int = 0
    """Consumers of all members that wait for a job."""
    members: list[tuple[str, int, int, int]] = []
    """Of some members: the name, and how many jobs it has taken, holds, and has consumers that wait."""

    @property
    def depth(self) -> int:
        """How many jobs were not taken."""
        return self.waiting + self.held


class GroupParams(GroupFrame):
    """Params of ``group``."""

    state: Raw = Raw(b"[]")
    stored: bool = False
    """Whether its jobs are stored on NATS, so that they outlive the hub."""
    expired: Ranges = []
    """Jobs that the member holds and must not take any more: others get them."""
    refused: Annotated[str, Meta(max_length=1_000)] = ""
    question: Count = 0
    first: list[Raw] = []
    """The next jobs, as batches of one."""
    buffers: list[Buffers | None] = []
    """Those of each of `first`, if any has some."""


NUMBERED.update(
    join=msgspec.json.Decoder(JoinParams),
    want=msgspec.json.Decoder(WantParams),
    put=msgspec.json.Decoder(PutParams),
    leave=msgspec.json.Decoder(LeaveParams),
    jobs=msgspec.json.Decoder(JobsParams),
    group=msgspec.json.Decoder(GroupParams),
)

_parse_state = msgspec.json.Decoder(GroupState).decode


def group_name(identifier: str, durable: str) -> str:
    """Return the name of a group in frames.

    Args:
        identifier: of its messages, as text.
        durable: the name of a durable one; else empty.
    """
    return f"{identifier}:{durable}" if durable else identifier


def parse_group(text: str) -> tuple[Identifier, str]:
    """Return the identifier of a group, and its name if it is a durable one.

    Raises:
        FrameError: it is malformed.
    """
    identifier, _, durable = text.rpartition(":")
    if ":" not in identifier:
        return crossing_identifier(text), ""
    if not _DURABLE.fullmatch(durable):
        raise FrameError(f"{durable[:80]!r} is no name of a durable queue")
    return crossing_identifier(identifier), durable


def group_body(group: str, **fields: Any) -> bytes:
    """Return the params of a frame, without those that every numbered frame has."""
    return encode_json({"group": group, **fields})[1:-1]


def parse_state(raw: Raw) -> GroupState:
    """Read the state of a group.

    Raises:
        FrameError: it is malformed.
    """
    try:
        return _parse_state(raw)
    except MALFORMED as error:
        raise FrameError(f"the state of a group: {reason_of(error)}") from None


def put_body(group: str, batch: bytes, *, to: Offers) -> bytes:
    """Return the params of a ``put``.

    Args:
        group: the group's identifier.
        batch: its jobs.
        to: how the other side reads buffers.
    """
    params = b'"group":%b,"batch":%b' % (encode_json(group), batch)
    if isinstance(batch, LargeBatchBytes):
        params = b"%b,%b" % (params, batch.memory.parameter(to=to, beside=len(params)))
        return HoldingBody.of(params, [batch.memory])
    return params


def jobs_bodies(group: str, jobs: list[tuple[int, bytes]], *, to: Offers) -> list[bytes]:
    """Return the params of ``jobs`` frames: a job with buffers has one of its own.

    Args:
        group: the group's identifier.
        jobs: batches, each with the number of its first job.
        to: how the other side reads buffers.
    """
    bodies: list[bytes] = []
    template = b'"group":%b,"jobs":[%%b]' % encode_json(group).replace(b"%", b"%%")
    without_buffers: list[bytes] = []
    for number, batch in jobs:
        job = b"[%d,%b]" % (number, batch)
        if not isinstance(batch, LargeBatchBytes):
            without_buffers.append(job)
            continue
        if without_buffers:
            bodies.append(template % b",".join(without_buffers))
            without_buffers = []
        params = b"%b,%b" % (
            template % job,
            batch.memory.parameter(to=to, beside=len(template) + 100),
        )
        bodies.append(HoldingBody.of(params, [batch.memory]))
    if without_buffers:
        bodies.append(template % b",".join(without_buffers))
    return bodies


def parse_jobs(params: JobsParams) -> list[tuple[int, Batch]]:
    """Read the batches of jobs, each with the number of its first.

    Raises:
        FrameError: they are malformed.
    """
    return [(number, parse_batch(raw)) for number, raw in params.jobs]


def as_ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Return numbers as ranges, in which those that follow on each other are joined."""
    ranges: list[tuple[int, int]] = []
    first = last = 0
    for number in numbers:
        if number == last + 1 and first:
            last = number
        else:
            if first:
                ranges.append((first, last - first + 1))
            first = last = number
    if first:
        ranges.append((first, last - first + 1))
    return ranges
