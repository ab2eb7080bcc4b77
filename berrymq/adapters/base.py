"""The base class of all adapters.

An adapter belongs to the scope that it is created in: when a notebook cell runs again, the adapter of its
former run is stopped.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from berrymq import scopes
from berrymq.default import default_bus
from berrymq.identifiers import WILDCARD, Identifier

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from berrymq.bus import Bus

__all__ = ["Adapter"]


class Adapter:
    """Sends messages ``NAME:action`` until it is stopped, for example when its notebook cell runs again.

    Subclasses call this constructor, then `send` from any thread, and implement `stop`.

    Args:
        name: the name of the messages.
        bus: where they are sent; None for the default bus.

    Raises:
        IdentifierError: `name` can't be the name of an identifier.
    """

    def __init__(self, name: str, bus: Bus | None) -> None:
        self.topic = Identifier(name, WILDCARD).name
        """The name of the messages."""
        self.bus = default_bus if bus is None else bus
        """Where they are sent."""
        scope = scopes.owner()
        if scope is not None:
            scope.add(self)

    def send(self, action: str, *args: Any, **kwargs: Any) -> None:
        """Send one message; errors of followers are logged, since there is no caller to raise them to.

        Args:
            action: the action of the identifier.
            args: the positional arguments of the message.
            kwargs: its keywords.

        Raises:
            IdentifierError: `action` can't be an action.
        """
        identifier = Identifier(self.topic, action)
        try:
            self.bus.twitter(identifier, *args, **kwargs)
        except Exception:
            logging.getLogger("berrymq").exception("followers of %s failed", identifier)

    def stop(self) -> None:
        """Send no more messages. Calling it again does nothing. Implemented by subclasses."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop; scopes call it by this name."""
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
