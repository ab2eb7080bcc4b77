"""Silence for a while: nothing of an identifier, or nothing for one follower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .followers import Subscription
from .forking import SafeLock
from .identifiers import Identifier

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .routes import Registry

__all__ = ["Mute"]

_counting = SafeLock()


class Mute:
    """A silence in force. It ends with ``cancel()`` or its ``with`` block; those of the same thing nest."""

    def __init__(self, registry: Registry, what: str | Identifier | Subscription) -> None:
        self._registry = registry
        self.what: Identifier | Subscription = (
            what if isinstance(what, Subscription) else Identifier.parse(what)
        )
        self.active = True
        self._shift(+1)

    def cancel(self) -> None:
        """End it. Ending it again does nothing."""
        with _counting:
            ending, self.active = self.active, False
        if ending:
            self._shift(-1)

    def _shift(self, by: int) -> None:
        if isinstance(self.what, Subscription):
            self.what.shift_mute(by)
        else:
            self._registry.shift_mute(self.what, by)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<Mute of {self.what}{'' if self.active else ', ended'}>"
