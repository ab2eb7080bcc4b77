"""What a route holds: the interface of a subscriber, and the subscriber that a link is.

Publishing calls the slot `Subscriber._deliver` of each subscriber in a route. Cancelling fills that slot with
`ignore`, so that a thread which looked the route up before the cancellation delivers nothing either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self

    from .identifiers import Identifier
    from .messages import Message
    from .replay import Replay

    Ask = Callable[[Message, float | None], Future[list[Any]]]
    """Asks over a link: takes the message and a timeout in seconds; returns a future of the answers."""

__all__ = ["SKIPPED", "Attachment", "Handle", "Subscriber", "ignore"]


class Skipped:
    """The type of `SKIPPED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SKIPPED"


SKIPPED: Final = Skipped()
"""The result of a delivery that did not call the function: muted, cancelled, stopped by a guard or layer."""


def ignore(message: Message) -> Any:
    """Deliver nothing, and answer an asker with `SKIPPED` at once; for a cancelled or muted subscriber."""
    callback = message._callback
    if callable(callback):
        callback(SKIPPED, None)
    return SKIPPED


class Handle:
    """Something registered, which ends with `cancel` or with a ``with`` block.

    Copies of it are itself, for there is one of what it refers to; it can't be pickled.
    """

    __slots__ = ()

    def cancel(self) -> None:
        """End it. Cancelling it again does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} belongs to its process and cannot be pickled: "
            "leave it out of what you pickle, as with __getstate__"
        )


class Subscriber(Handle):
    """One element of a route: a follower, a queue, a link or an observer."""

    __slots__ = ("__weakref__", "_deliver", "_discard", "_number", "active", "direct")

    def __init__(self) -> None:
        self._deliver: Callable[[Message], Any] = ignore
        self.direct = True
        self.active = False
        self._number = -1
        """Its number in the order of registration."""
        self._discard: Callable[[Subscriber], object] | None = None

    def _start(self, discard: Callable[[Subscriber], object]) -> None:
        """Begin to deliver; `cancel` calls `discard`, which removes the subscriber from the routes."""
        self._discard = discard
        self.active = True

    def cancel(self) -> None:
        """Stop following, at once and for good; safe from any thread and from a destructor."""
        self.active = False
        self._deliver = ignore
        discard, self._discard = self._discard, None
        if discard is not None:
            discard(self)

    def describe(self) -> str:
        """Return a description that identifies the subscriber, for the note on an error."""
        raise NotImplementedError

    def _ask(self, message: Message, timeout: float | None, blocking: bool) -> Any:  # noqa: ARG002
        """Deliver a question; return the answer, a future of it, or `SKIPPED` for none.

        Args:
            message: the question.
            timeout: the most seconds that the asker waits; None for no limit.
            blocking: whether the asker blocks its thread until the answer has come.
        """
        self._deliver(message)
        return SKIPPED

    def _dispatch(self, message: Message) -> None:
        """Deliver a message that may have a callback for the result."""
        self._deliver(message)

    def _check_result(self, result: Any, message: Message) -> None:
        """Handle what `_deliver` returned, when its type says that it may be a coroutine."""


class Attachment(Subscriber):
    """The subscriber of a link: it gets each message published here whose identifier `matches`.

    Args:
        matches: called with an identifier when a route is computed.
        send: called with each message.
        refresh: has every route computed again.
        name: names the link in the note of an error.
        ask: sends a question, if the link can; see `Gateway.attach`.
        replay: brings what a hub has retained, if the link can; see `Gateway.attach`.
    """

    __slots__ = ("ask", "is_link", "matches", "name", "refresh", "replay", "send")

    def __init__(  # noqa: PLR0917  # those of `Gateway.attach`
        self,
        matches: Callable[[Identifier], bool],
        send: Callable[[Message], Any],
        refresh: Callable[[], None],
        name: str,
        ask: Ask | None = None,
        replay: Callable[[Replay], bool] | None = None,
    ) -> None:
        super().__init__()
        self.matches = matches
        self.send = send
        self.refresh = refresh
        self.name = name
        self.ask = ask
        self.is_link = True
        """Whether it counts as a link; one of which a link has several counts once."""
        self.replay = replay

    def _start(self, discard: Callable[[Subscriber], object]) -> None:
        """Begin to deliver."""
        super()._start(discard)
        self.deliver_to(self.send)

    def deliver_to(self, call: Callable[[Message], Any]) -> None:
        """Deliver to `call` from now on, unless this is cancelled."""
        if self.active:
            self._deliver = call

    def describe(self) -> str:
        """Return the name of the link, for the note on an error."""
        return self.name

    def _ask(self, message: Message, timeout: float | None, blocking: bool) -> Any:
        """Send a question over the link; return a future of the list of answers. See `Subscriber._ask`."""
        if self.ask is None:
            return super()._ask(message, timeout, blocking)
        return self.ask(message, timeout)
