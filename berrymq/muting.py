"""Muting and observing: what is switched on for a while. Both nest, and end with ``cancel()`` or ``with``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .identifiers import Identifier
from .messages import Message
from .process import ForkSafeLock
from .routes import OBSERVED, First
from .subscriptions import Subscription

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .bus import Bus
    from .routes import Registry

__all__ = ["Mute", "Observation", "Observers"]

_counting = ForkSafeLock()
"""Held while a handle is ended: exactly one of those who end it at the same time counts."""


class Handle:
    """Something that is on from the making of this until it is cancelled."""

    def __init__(self) -> None:
        self.active = True
        self._shift(+1)

    def _shift(self, by: int) -> None:
        raise NotImplementedError

    def cancel(self) -> None:
        """End it. Ending it again does nothing."""
        with _counting:
            ending, self.active = self.active, False
        if ending:
            self._shift(-1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a handle refers to something, of which there is one


class Mute(Handle):
    """A mute in force, of an identifier or of one follower."""

    def __init__(self, registry: Registry, what: str | Identifier | Subscription) -> None:
        self._registry = registry
        self.what: Identifier | Subscription = (
            what if isinstance(what, Subscription) else Identifier.parse(what)
        )
        super().__init__()

    def _shift(self, by: int) -> None:
        if isinstance(self.what, Subscription):
            self.what._shift_mute(by)
        else:
            self._registry.shift_mute(self.what, by)

    def __repr__(self) -> str:
        return f"<Mute of {self.what}{'' if self.active else ', ended'}>"


class Observation(Handle):
    """Debug messages are on while one of these is active."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        super().__init__()

    def _shift(self, by: int) -> None:
        self._observers.shift(by)


class Observers:
    """How many observe one bus, and the reports while there is any."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self.count = 0

    def begin_child(self) -> None:
        """Start with an unheld lock in a forked child."""
        self._lock = threading.Lock()

    def shift(self, by: int) -> None:
        """Count one more or less, and have everything reported or nothing."""
        with self._lock:
            self.count += by
        registry = self._bus._registry
        while True:
            count = self.count
            registry.set_first(First(lambda message: self.report("send_message", message)) if count else None)
            for attachment in registry.attachments():
                self.place(attachment)
            if count == self.count:  # else another thread has changed it, and must not be overruled
                return

    def place(self, attachment: Any) -> None:
        """Have what an attachment takes over reported, while there are observers."""

        def forward(message: Message) -> None:
            attachment.send(message)
            self.report("forward_message", message, link=attachment.name)

        attachment.place(forward if self.count else attachment.send)

    def report(self, action: str, message: Message, **kwargs: Any) -> None:
        """Publish a message about `message`. Reports are not reported."""
        if message.name != OBSERVED:
            self._bus.publish(Message.make(Identifier(OBSERVED, action), (message,), kwargs))
