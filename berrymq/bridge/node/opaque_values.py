"""Values that can't cross: they are replaced, so that a follower elsewhere never breaks a publisher here."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from berrymq.bridge.payload import Form, encode_message, encode_values
from berrymq.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from berrymq.bridge.payload import Replaced
    from berrymq.identifiers import Identifier
    from berrymq.messages import Message

__all__ = ["OpaqueValues"]

MAX_WARNED = 1_000
"""Pairs of an identifier and a type that are remembered, so as to warn of each once."""

_log = logging.getLogger("berrymq")


class OpaqueValues:
    """Encodes messages with an `Opaque` for each value that has no form, and warns of them; on any thread."""

    def __init__(self) -> None:
        self._warned: OrderedDict[tuple[str, str], None] = OrderedDict()

    def encode(self, identifier: Identifier, sent_at: float, message: Message, callback: str | None) -> bytes:
        """Return a message as it stands in a batch.

        Raises:
            PayloadError: even so it is larger than a message may be.
        """
        replaced: Replaced = []
        encoded = encode_message(sent_at, message._args, message._kwargs, callback, Form(replaced))
        self._warn(identifier.text, replaced)
        return encoded

    def encode_answers(self, identifier: Identifier, answers: Sequence[Any]) -> bytes:
        """Return followers' answers as a JSON array."""
        replaced: Replaced = []
        encoded = encode_values(answers, Form(replaced))
        self._warn(identifier.text, replaced)
        return encoded

    def _warn(self, identifier: str, replaced: Replaced) -> None:
        for kind, reason in replaced:
            if (identifier, kind) in self._warned:
                continue
            self._warned[identifier, kind] = None
            if len(self._warned) > MAX_WARNED:
                self._warned.popitem(last=False)
            _log.warning(
                "%s in %s arrives elsewhere as an Opaque: %s",
                printable(kind),
                printable(identifier),
                printable(reason),
            )
