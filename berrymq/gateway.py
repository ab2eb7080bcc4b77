"""The side of a bus that links use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .bus import Bus
    from .identifiers import Identifier
    from .messages import Message
    from .routes import Tap

__all__ = ["Gateway"]


class Gateway:
    """What links need of a bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def attach(
        self, matches: Callable[[Identifier], bool], send: Callable[[Message], Any], *, ask: Any = None, name: str = "a link"
    ) -> Tap:
        """Follow as a link does."""
        return self._bus.tap(matches, send, ask=ask, name=name)

    def interests(self) -> frozenset[Identifier]:
        """What is followed here, without local names."""
        return self._bus.interests()

    def watch(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call back when interests may have changed."""
        return self._bus.watch(callback)

    @property
    def backlog(self) -> int:
        """Deliveries handed over and not finished."""
        return self._bus.deliverer.backlog

    def receive(self, messages: list[Message]) -> int:
        """Deliver messages that came over a link."""
        bus = self._bus
        routes: dict[str, Any] = {}
        handed = []
        for message in messages:
            text = message._identifier.text
            route = routes.get(text)
            if route is None:
                route = routes[text] = bus.received_route(message)
            if message.callback is not None:
                bus.answer_callbacks()
            if bus._observers:
                bus._report("receive_message", message)
            for entry in route:
                if entry.direct:
                    bus.deliver(entry, message)
                else:
                    handed.append((entry, message))
        if handed:
            bus.deliverer.submit_many(handed)
        return len(handed)

    def wait_with(self, waiter: Any) -> None:
        """Have the delivery thread wait on a link while it has nothing to do; None: no longer."""
        self._bus._background.wait_with(waiter)

    @property
    def delivers_here(self) -> bool:
        """Whether this is the thread that delivers."""
        return self._bus._background.is_delivery_thread

    def poll(self, message: Message, done: Callable[[list[Any], list[Exception]], object]) -> None:
        """Put a question of a link to all followers here."""
        from .asking import poll

        poll(self._bus, message, done)
