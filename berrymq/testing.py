"""For tests of programs that use berryMQ.

`message` builds a message to call a follower with; `arrive` delivers one as a link does; `record` records
what is sent; `scoped` ends what a test registered.

::

    from berrymq import testing

    def test_report():
        with testing.record("report:*") as sent:
            twitter("train:done", loss=0.1)
        sent.assert_sent("report:ready", loss=0.1)

    def test_handler_alone():
        handler(testing.message("train:done", loss=0.1))
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING, Any

from .default import default_bus
from .identifiers import Identifier
from .messages import Message
from .scopes import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bus import Bus
    from .conditions import Condition as Cond

__all__ = ["Recorder", "arrive", "message", "record", "scoped"]


def message(
    identifier: str | Identifier,
    /,
    *args: Any,
    source: str | None = None,
    sent_at: float | None = None,
    **kwargs: Any,
) -> Message:
    """Build a message, to call a follower with it directly.

    Args:
        identifier: that of the message.
        args: its positional arguments.
        source: the name of the node that it claims to come from; None for this process.
        sent_at: in seconds since the epoch; None for now.
        kwargs: its keywords.

    Raises:
        IdentifierError: `identifier` is none.
    """
    return Message.make(identifier, args, kwargs, source=source, sent_at=sent_at)


def arrive(
    identifier: str | Identifier,
    /,
    *args: Any,
    source: str = "elsewhere",
    bus: Bus = default_bus,
    **kwargs: Any,
) -> None:
    """Deliver a message as if it came over a link, and return when all followers have had it.

    Errors of followers go where those of links go: to ``bus.on_background_error``, by default to the log.

    Args:
        identifier: that of the message.
        args: its positional arguments.
        source: the name of the node that it claims to come from.
        bus: where it arrives.
        kwargs: its keywords.

    Raises:
        IdentifierError: `identifier` is none.
    """
    bus.gateway.receive([Message.make(identifier, args, kwargs, source=source)])
    bus.drain()


@contextmanager
def scoped() -> Iterator[Scope]:
    """End with the block all that was registered in it: followers, queues.

    ::

        @pytest.fixture(autouse=True)
        def clean_bus():
            with testing.scoped():
                yield
    """
    scope = Scope("test")
    try:
        with scope.collecting():
            yield scope
    finally:
        scope.close()


@contextmanager
def record(identifier: str | Identifier | Cond = "*:*", *, bus: Bus = default_bus) -> Iterator[Recorder]:
    """Record the messages that `identifier` matches, sent here or received, while in the block.

    Those from links are recorded as they arrive, without waiting for other deliveries.

    Args:
        identifier: what is recorded, or a joint condition.
        bus: where it is recorded.

    Raises:
        IdentifierError: `identifier` is none.
    """
    recorder = Recorder()
    with bus.follow(identifier, recorder.take, direct=True):
        yield recorder


class Recorder:
    """Messages in the order of their arrival; they stay readable after the block.

    It has a length, and can be indexed and iterated over; iteration uses a copy. Messages may come from any
    thread.
    """

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._came = Condition()

    def take(self, message: Message) -> None:
        """Record one message."""
        with self._came:
            self._messages.append(message)
            self._came.notify_all()

    @property
    def messages(self) -> list[Message]:
        """All recorded messages, oldest first."""
        return list(self._messages)

    @property
    def ids(self) -> list[str]:
        """Their identifiers, oldest first."""
        return [one.id for one in self.messages]

    def of(self, identifier: str | Identifier) -> list[Message]:
        """Return the recorded messages that `identifier` matches, oldest first."""
        wanted = Identifier.parse(identifier)
        return [one for one in self.messages if wanted.matches(one.identifier)]

    def wait(self, count: int = 1, timeout: float = 5.0) -> list[Message]:
        """Wait for messages from any thread.

        Args:
            count: the number of messages to wait for, those that have come included.
            timeout: in seconds.

        Returns:
            All recorded messages, `count` at least.

        Raises:
            AssertionError: fewer have come in time; the text lists them.
        """
        with self._came:
            if not self._came.wait_for(lambda: len(self._messages) >= count, timeout):
                raise AssertionError(f"{count} messages were expected within {timeout} s; {self}")
        return self.messages

    def assert_sent(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> Message:
        """Return the first message of `identifier` that carries these arguments.

        Args:
            identifier: matched as a follower's is, wildcards included.
            args: what its positional arguments begin with.
            kwargs: keywords that it has, among others.

        Raises:
            AssertionError: there is none; the text lists what was recorded.
        """
        for one in self.of(identifier):
            carried = one.kwargs
            if one.args[: len(args)] == args and all(
                key in carried and carried[key] == value for key, value in kwargs.items()
            ):
                return one
        shown = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
        with_what = f" with ({shown})" if shown else ""
        raise AssertionError(f"no message {str(identifier)!r}{with_what}; {self}")

    def assert_silent(self, identifier: str | Identifier = "*:*", /) -> None:
        """Check that no message that `identifier` matches was recorded.

        Raises:
            AssertionError: one was; the text lists what was recorded.
        """
        if self.of(identifier):
            raise AssertionError(f"no message {str(identifier)!r} was expected; {self}")

    def clear(self) -> None:
        """Remove all recorded messages."""
        with self._came:
            self._messages.clear()

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __getitem__(self, index: int) -> Message:
        return self._messages[index]

    def __repr__(self) -> str:
        lines = "".join(f"\n  {one!r}" for one in self.messages)
        return f"recorded:{lines or ' nothing'}"
