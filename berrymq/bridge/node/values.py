"""Encoding of what is published: large buffers go beside a message, and what can't cross becomes an `Opaque`.

So a follower elsewhere never breaks a publisher here.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from berrymq.bridge.buffers import PoolFullError
from berrymq.bridge.payload import Form, encode_message, encode_values
from berrymq.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from berrymq.bridge.buffers import Memory
    from berrymq.bridge.payload import Binary, Replaced
    from berrymq.identifiers import Identifier
    from berrymq.messages import Message

    from .memories import Memories

__all__ = ["Prepared", "Values"]

MAX_WARNED = 1_000
"""Pairs of an identifier and a type that are remembered, so as to warn of each once."""

FULL_WARNING_SECONDS = 5.0
"""The least interval of warnings that shared memory is full."""

_log = logging.getLogger("berrymq")


class Prepared(NamedTuple):
    """An answer that was encoded before, and is sent as it is however often it is asked for.

    Attributes:
        encoded: a JSON array of one value.
        memory: its buffers, if they are large.
    """

    encoded: bytes
    memory: Memory | None


class Values:
    """Encodes the messages that are more than plain values; on any thread.

    Args:
        memories: where large buffers go.
    """

    def __init__(self, memories: Memories) -> None:
        self._memories = memories
        self._warned: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._warned_full_at = float("-inf")

    def encode(
        self, message: Message, sent_at: float, callback: str | None, *, strict: bool
    ) -> tuple[bytes, Memory | None]:
        """Encode a message.

        Args:
            message: what is published.
            sent_at: seconds since 1970.
            callback: where the followers' results go, if anywhere.
            strict: whether a value that can't cross is an error.

        Returns:
            The message as it stands in a batch, and its buffers if they are large.

        Raises:
            PayloadError: a value can't cross.
        """
        args, kwargs = message._args, message._kwargs
        replaced: Replaced | None = None if strict else []
        binaries: list[Binary] | None = [] if self._memories.min_apart else None
        form = Form(replaced, binaries, self._memories.min_apart)
        encoded = encode_message(sent_at, args, kwargs, callback, form)
        memory = None
        if binaries:
            try:
                memory = self._memories.share(binaries)
            except PoolFullError as error:
                encoded = encode_message(sent_at, args, kwargs, callback, Form(replaced, None))
                self._warn_full(message._identifier, error)
        self._warn(message._identifier, replaced)
        return encoded, memory

    def encode_answers(self, identifier: Identifier, answers: Sequence[Any]) -> tuple[bytes, Memory | None]:
        """Encode followers' answers as a JSON array; return it, and its buffers if they are large."""
        if len(answers) == 1 and isinstance(answers[0], Prepared):
            return answers[0].encoded, answers[0].memory
        replaced: Replaced = []
        binaries: list[Binary] | None = [] if self._memories.min_apart else None
        encoded, memory = encode_values(answers, Form(replaced, binaries, self._memories.min_apart)), None
        if binaries:
            try:
                memory = self._memories.share(binaries)
            except PoolFullError as error:
                encoded = encode_values(answers, Form(replaced))
                self._warn_full(identifier, error)
        self._warn(identifier, replaced)
        return encoded, memory

    def _warn_full(self, identifier: Identifier, error: PoolFullError) -> None:
        """Log that buffers did not fit into shared memory, which may hold for each message of a stream."""
        now = monotonic()
        if now - self._warned_full_at > FULL_WARNING_SECONDS:
            self._warned_full_at = now
            _log.warning("%s: %s", printable(identifier.text), error)

    def _warn(self, identifier: Identifier, replaced: Replaced | None) -> None:
        for kind, reason in replaced or ():
            if (identifier.text, kind) in self._warned:
                continue
            self._warned[identifier.text, kind] = None
            if len(self._warned) > MAX_WARNED:
                self._warned.popitem(last=False)
            _log.warning(
                "%s in %s arrives elsewhere as an Opaque: %s",
                printable(kind),
                printable(identifier.text),
                printable(reason),
            )
