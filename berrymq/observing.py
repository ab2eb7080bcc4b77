"""Debug observation: messages about messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .exchange import Exchange

__all__ = ["Observation"]


class Observation:
    """Debug messages are on while one of these is active. Those of one bus nest."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.active = True
        exchange.shift_observers(+1)

    def cancel(self) -> None:
        """End it. Ending it again does nothing."""
        if self.active:
            self.active = False
            self._exchange.shift_observers(-1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
