"""The buffers that come with one message, wherever they lie."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from berrymq.bridge.protocol.limits import MAX_TEXT_BYTES

from .claims import Claim, ClaimError, Held, open_claim
from .own import Own
from .sample import Sample
from .writing import end_of, size_of, starts_of, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from berrymq.bridge.protocol.offers import Offers

    from .pool import Lease, Pool
    from .sample import Rows
    from .writing import Buffer

__all__ = [
    "MAX_BUFFERS",
    "MAX_TRAVELLING_BYTES",
    "Memory",
    "Missing",
    "copy",
    "sample_of",
    "share",
]

MAX_BUFFERS = 100_000

MAX_TRAVELLING_BYTES = 12 * 1024 * 1024
"""What goes to another machine at most, as text within a frame."""
MAX_FRAME_BYTES = MAX_TEXT_BYTES - 64 * 1024
"""Of that text and what is beside it."""

NOT_FETCHED = "not fetched: it is only shown here"

Form = tuple[int, int, int, str, int] | str | int | None
"""What a frame says of it: a claim, the bytes in base64, the number by which they are pulled, or nothing
where they are gone."""


class Missing(NamedTuple):
    """Stands for a buffer that was to come with a message and did not.

    Attributes:
        reason: why.
        size: in bytes; 0 where that is not known.
        parts: what has come of it, with the offset of each; see `Sample`.
    """

    reason: str
    size: int = 0
    parts: Sequence[tuple[int, memoryview]] = ()


class Memory:
    """The buffers of one message.

    Args:
        source: holds them; None where they are gone.
        sizes: of each buffer in bytes.
        reason: why they are gone.
    """

    __slots__ = ("__weakref__", "_size", "_source", "reason", "sizes")

    def __init__(
        self, source: Held | Lease | Own | bytes | None, sizes: Sequence[int], reason: str = ""
    ) -> None:
        self._source = source
        self.sizes = sizes
        self.reason = reason
        self._size: int | None = None

    @property
    def size(self) -> int:
        """How many bytes the buffers take in a row."""
        if self._size is None:
            self._size = end_of(self.sizes)
        return self._size

    @property
    def held_bytes(self) -> int:
        """How much memory it keeps from being used again, beside the heap, in bytes."""
        source = self._source
        if source is None or isinstance(source, bytes):
            return 0
        return source.size if isinstance(source, Own) else source.claim.size

    @property
    def is_own(self) -> bool:
        """Whether the buffers came over a network into memory of this process alone."""
        return isinstance(self._source, Own)

    @property
    def data(self) -> bytes:
        """The buffers where they came in a frame and lie in this process; else nothing."""
        return self._source if isinstance(self._source, bytes) else b""

    @property
    def heap_bytes(self) -> int:
        """The memory of this process that it takes, in bytes."""
        return len(self.data)

    def another(self) -> Memory:
        """Return an object that holds the same buffers, also once this one has given them up."""
        return Memory(self._source, self.sizes, self.reason)

    def give_up(self, reason: str) -> None:
        """Let go of the buffers; those who have not opened them yet get nothing."""
        self._source, self.reason = None, reason

    @property
    def is_sample(self) -> bool:
        """Whether only a sample of the buffers was fetched."""
        return isinstance(self._source, Sample)

    def views(self, *, limited: bool = False) -> Sequence[memoryview | Missing]:
        """Return the buffers: writable, and the receiver's own.

        Args:
            limited: copy shared memory if this process has mapped its limit of it.
        """
        source = self._source
        if source is None:
            return [Missing(self.reason)] * len(self.sizes)
        if isinstance(source, Sample):
            return [
                memoryview(b"".join([data for _, data in parts]))
                if sum([len(data) for _, data in parts]) == size
                else Missing(NOT_FETCHED, size, parts)
                for size, parts in zip(self.sizes, source.parts(), strict=True)
            ]
        if isinstance(source, bytes):
            whole = memoryview(bytearray(source))
        elif isinstance(source, Own):
            whole = source.view
        elif isinstance(source, Held):
            whole = source.map(limited=limited)
        else:
            whole = memoryview(bytearray(source.read(0, source.claim.size)))
        return [
            whole[start : start + size] for start, size in zip(starts_of(self.sizes), self.sizes, strict=True)
        ]

    def parameter(self, *, to: Offers, beside: int) -> bytes:
        """Return what a frame says of it, as JSON, and the sizes.

        Args:
            to: how the receiver reads buffers.
            beside: the bytes of the frame without it.
        """
        source, reason = self._source, self.reason
        sizes = msgspec.json.encode(self.sizes)
        form: Form = None
        if source is not None and to.shares_memory and not isinstance(source, (bytes, Own)):
            form = source.claim
        elif source is not None and to.pulls:
            form = to.add(self)
        elif source is not None:
            size = len(source) if isinstance(source, bytes) else self.held_bytes
            if size <= MAX_TRAVELLING_BYTES and size * 4 // 3 + len(sizes) + beside <= MAX_FRAME_BYTES:
                form = b64encode(self.read(0, size) or b"").decode()
            else:
                reason = f"it takes {size:,} bytes, too much to go to another machine"
        return b'"memory":%b,"sizes":%b,"reason":%b' % (
            msgspec.json.encode(form),
            sizes,
            msgspec.json.encode(reason),
        )

    def read(self, offset: int, size: int) -> bytes | None:
        """Return a piece of the buffers as they lie in a row; None if they are gone."""
        source = self._source
        if source is None:
            return None
        return source[offset : offset + size] if isinstance(source, bytes) else source.read(offset, size)

    @property
    def fits_text(self) -> bool:
        """Whether the buffers are small enough to be given in base64."""
        return self.size <= MAX_TRAVELLING_BYTES

    @property
    def starts(self) -> list[int]:
        """Where each buffer begins."""
        return starts_of(self.sizes)

    def texts(self) -> list[str | None]:
        """Return the buffers in base64; nothing for each where they are gone, or too large for that."""
        data = self.read(0, self.size) if self.fits_text else None
        if data is None:
            return [None] * len(self.sizes)
        return [
            b64encode(data[start : start + size]).decode()
            for start, size in zip(starts_of(self.sizes), self.sizes, strict=True)
        ]

    @classmethod
    def received(cls, form: Form, sizes: Sequence[int], reason: str) -> Memory:
        """Open what a frame says.

        Raises:
            ValueError: the sizes do not fit into it, or it is malformed.
        """
        if len(sizes) > MAX_BUFFERS:
            raise ValueError(f"{len(sizes)} buffers with one message")
        if isinstance(form, int):
            raise ValueError("buffers that are to be pulled, where none can be")  # noqa: TRY004 - as of a peer
        if form is None:
            return cls(None, sizes, reason[:200] or "it is gone")
        source: Held | bytes
        if isinstance(form, str):
            source = b64decode(form, validate=True)
            total = len(source)
        else:
            total = form[4]
        if total < end_of(sizes):
            raise ValueError("the buffers of a message are larger than its memory")
        if not isinstance(form, str):
            try:
                source = open_claim(Claim(*form))
            except ClaimError as error:
                return cls(None, sizes, f"its memory can't be read here: {error}")
        return cls(source, sizes)


def share(pool: Pool, buffers: Sequence[Buffer]) -> Memory:
    """Copy buffers into shared memory, all into one piece.

    Raises:
        PoolFullError: receivers still hold too much.
    """
    filling = pool.open(size_of(buffers))
    write(buffers, filling)
    return Memory(filling.finish(), [one.size for one in buffers])


def copy(buffers: Sequence[Buffer]) -> Memory:
    """Copy buffers into memory of this process alone, all into one piece."""
    own = Own(size_of(buffers))
    write(buffers, own)
    return Memory(own, [one.size for one in buffers])


def sample_of(sizes: Sequence[int], rows: Mapping[int, Rows]) -> Sample:
    """Return memory for a sample of buffers of these sizes; see `Sample`."""
    return Sample(list(zip(starts_of(sizes), sizes, strict=True)), rows)
