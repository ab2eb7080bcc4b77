"""Muting: nothing is delivered to an identifier or a follower while a mute of it is active; mutes nest.

A mute of an identifier is counted in the registry of the bus, one of a follower in its subscription. Sending
does not check for mutes: the registry leaves the followers of a muted identifier out of its routes, and a
muted follower is replaced by a function that does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .identifiers import Identifier
from .process import ForkSafeLock
from .subscribers import Handle
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .routes import Registry

__all__ = ["Mute", "Nested"]

_cancelling = ForkSafeLock()
"""Held while a handle is cancelled: of several threads that cancel it at once, exactly one counts."""


class Nested(Handle):
    """A handle that counts: what it switches on is on until the last one is cancelled.

    It is active from its creation on. Any thread may cancel it.

    Attributes:
        active: whether it counts; False after `cancel`.
    """

    def __init__(self) -> None:
        self.active = True
        self._shift(+1)

    def _shift(self, by: int) -> None:
        """Add `by` (+1 or -1) to the number of active handles; implemented by subclasses."""
        raise NotImplementedError

    def cancel(self) -> None:
        """End it. Cancelling it again does nothing."""
        with _cancelling:
            was_active, self.active = self.active, False
        if was_active:
            self._shift(-1)


class Mute(Nested):
    """An active mute of an identifier or of one follower; what `Bus.mute` returns.

    ::

        with bus.mute("train:*"):
            ...                     # no follower gets a message that "train:*" matches

    Args:
        registry: that of the bus.
        target: an identifier, its text, or the subscription of a follower.

    Raises:
        IdentifierError: `target` is no identifier.

    Attributes:
        target: what is muted; an identifier is parsed.
    """

    def __init__(self, registry: Registry, target: str | Identifier | Subscription) -> None:
        self._registry = registry
        self.target: Identifier | Subscription = (
            target if isinstance(target, Subscription) else Identifier.parse(target)
        )
        super().__init__()

    def _shift(self, by: int) -> None:
        """Count the mute in the registry, or in the subscription of the follower."""
        if isinstance(self.target, Subscription):
            self.target._shift_mute(by)
        else:
            self._registry.shift_mute(self.target, by)

    def __repr__(self) -> str:
        return f"<Mute of {self.target}{'' if self.active else ', ended'}>"
