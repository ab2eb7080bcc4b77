"""Messages: what a follower is called with, read-only."""

from __future__ import annotations

from operator import attrgetter
from time import time
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .identifiers import Identifier
from .printable import LINES, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    Callback = Identifier | Callable[[Any, Exception | None], object]
    """What takes followers' return values: an identifier (`talk`), or a function of result and error."""

__all__ = ["JointMessage", "Message", "PastMessage", "id_of", "keywords", "source_of"]

T = TypeVar("T")


class Keywords(dict[str, Any]):
    """A read-only dictionary, a real one for `json`; copies and pickles of it are plain dictionaries."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        """Raise `TypeError`: the dictionary is read-only."""
        raise TypeError("the keywords of a message are read-only: change a copy, as dict(message.kwargs) is")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def copy(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return dict(self)

    __copy__ = copy

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class Message:
    """What a follower is called with. Everything about it is read-only; a keyword is also an attribute.

    ``twitter("game:over", score=3)`` gives a message whose ``message.score`` is 3. A keyword that has the
    name of one of the message's own attributes, such as ``name``, is found in ``message.kwargs["name"]``.
    """

    # `Bus.twitter` sets these four slots itself: on its fast path a constructor call would be noticeable.
    __slots__ = ("__weakref__", "_args", "_identifier", "_kwargs", "_sent_at")

    _identifier: Identifier
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _sent_at: float
    # A message that came over a link, or has a callback, has slots for these: see `FarMessage`.
    _source: str | None = None
    _origin: object = None
    _callback: Callback | None = None
    _past = False

    def __init__(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
        """Build what `twitter`, called with the same, would send now."""
        self._identifier = Identifier.parse(identifier)
        self._args = args
        self._kwargs = kwargs
        self._sent_at = time()

    @staticmethod
    def make(
        identifier: str | Identifier,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        source: str | None = None,
        sent_at: float | None = None,
        origin: object = None,
        callback: Callback | None = None,
    ) -> Message:
        """Build a message.

        Args:
            identifier: what it is called.
            args: the positional arguments.
            kwargs: the keyword arguments, which are copied.
            source: the name of the node that sent it; None for this process.
            sent_at: seconds since 1970; now, unless given.
            origin: for links: the link that it came over, and what that has to know about it.
            callback: takes followers' return values.
        """
        message: Message
        if source is None and origin is None and callback is None:
            message = SentMessage()
        else:
            message = far = FarMessage()
            far._source = source
            far._origin = origin
            far._callback = callback
        message._identifier = Identifier.parse(identifier)
        message._args = args
        message._kwargs = {} if kwargs is None else dict(kwargs)
        message._sent_at = time() if sent_at is None else sent_at
        return message

    @staticmethod
    def received(  # noqa: PLR0917  # keywords cost a tenth of it
        identifier: Identifier,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        source: str | None,
        sent_at: float,
        origin: object = None,
        callback: Callback | None = None,
    ) -> Message:
        """Build a message that came over a link, as fast as that can be: nothing is copied or checked.

        Args:
            identifier: a parsed one.
            args: a tuple that is not changed any more.
            kwargs: a dictionary that is the message's own from now on.
            source: the name of the node that sent it.
            sent_at: seconds since 1970.
            origin: the link that it came over, and what that has to know about it.
            callback: takes followers' return values.
        """
        message = FarMessage()
        message._identifier = identifier
        message._args = args
        message._kwargs = kwargs
        message._sent_at = sent_at
        message._source = source
        message._origin = origin
        message._callback = callback
        return message

    @property
    def identifier(self) -> Identifier:
        """The identifier it was sent with."""
        return self._identifier

    @property
    def name(self) -> str:
        """The name part of the identifier."""
        return self._identifier.name

    @property
    def action(self) -> str:
        """The action part of the identifier."""
        return self._identifier.action

    @property
    def id(self) -> str:
        """The identifier as canonical text."""
        return self._identifier.text

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return self._args

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments, as a read-only dictionary."""
        return Keywords(self._kwargs)

    @property
    def sent_at(self) -> float:
        """When it was sent: seconds since 1970."""
        return self._sent_at

    @property
    def source(self) -> str | None:
        """The name of the node that sent it; None for this process."""
        return self._source

    @property
    def origin(self) -> object:
        """The link that it came over, and what that has to know about it; None for this process."""
        return self._origin

    @property
    def past(self) -> bool:
        """True for one that a hub had retained; False for one that is live."""
        return self._past

    @property
    def callback(self) -> Callback | None:
        """What takes followers' return values; None for a plain message."""
        return self._callback

    def with_callback(self, callback: Callback) -> Message:
        """Return the same message with another callback for followers' return values."""
        return Message.received(
            self._identifier, self._args, self._kwargs, self._source, self._sent_at, self._origin, callback
        )

    def apply(self, function: Callable[..., T], /) -> T:
        """Call `function` with the arguments and keywords of this message and return its result."""
        return function(*self._args, **self._kwargs)

    def __getattr__(self, key: str) -> Any:
        # Only called for what is no attribute. Dunder names must not be answered from the payload.
        if not key.startswith("_"):
            try:
                return self._kwargs[key]
            except KeyError:
                pass
            raise AttributeError(
                f"the message {self._identifier.text!r} has no attribute and no keyword {key!r}; "
                f"its keywords are: {', '.join(map(printable, self._kwargs)) or 'none'}"
            )
        if key in self.__getattribute__("_kwargs"):
            return self._kwargs[key]
        raise AttributeError(f"'Message' object has no attribute {key!r}")

    def __repr__(self) -> str:
        parts = [repr(self._identifier.text)]
        parts += map(repr, self._args)
        parts += [f"{printable(key)}={value!r}" for key, value in self._kwargs.items()]
        origin = "" if self.source is None else f" from {self.source!r}"
        return printable(f"<Message({', '.join(parts)}){origin}>", allow=LINES)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self._identifier, self._args, self._kwargs, self.source, self._sent_at)
        return revive, (*parts, True) if self._past else parts


class SentMessage(Message):
    """A message whose slots its creator sets: the fastest way to make one, for the fast path of sending."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    else:
        __init__ = object.__init__  # so that creating one calls no Python code


class FarMessage(SentMessage):
    """A message that came over a link, or that has a callback for followers' return values."""

    __slots__ = ("_callback", "_origin", "_source")

    _source: str | None
    _origin: object
    _callback: Callback | None


class PastMessage(FarMessage):
    """A message that a hub had retained."""

    __slots__ = ()

    _past = True

    @classmethod
    def of(cls, identifier: Identifier, content: Any, source: str | None, origin: object) -> PastMessage:
        """Build one of what a link has read."""
        self = cls()
        self._identifier = identifier
        self._args = content.args
        self._kwargs = content.kwargs
        self._sent_at = content.sent_at
        self._source = source
        self._origin = origin
        self._callback = None
        return self


class JointMessage(FarMessage):
    """What a follower of ``cond(...) & cond(...)`` gets: the message that completed it, and all of them."""

    __slots__ = ("_messages",)

    _messages: tuple[Message, ...]

    @classmethod
    def join(cls, last: Message, messages: tuple[Message, ...]) -> Self:
        """Build one out of the completing message and all messages, in the order of the conditions."""
        self = cls.__new__(cls)
        self._identifier = last._identifier
        self._args = last._args
        self._kwargs = last._kwargs
        self._sent_at = last._sent_at
        self._source = last.source
        self._origin = last.origin
        self._callback = last.callback
        self._messages = messages
        return self

    @property
    def messages(self) -> tuple[Message, ...]:
        """One message for each condition, in their order."""
        return self._messages

    def __reduce__(self) -> tuple[Any, ...]:
        return revive_joint, (super().__reduce__(), self._messages)


def revive(  # noqa: PLR0917  # what `__reduce__` gives
    identifier: Identifier,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    source: str | None,
    sent_at: float,
    past: bool = False,
) -> Message:
    """Rebuild a message that was copied or pickled."""
    if not past:
        return Message.make(identifier, args, kwargs, source=source, sent_at=sent_at)
    message = PastMessage()
    message._identifier = identifier
    message._args = args
    message._kwargs = kwargs
    message._sent_at = sent_at
    message._source = source
    message._origin = message._callback = None
    return message


def revive_joint(last: tuple[Any, ...], messages: tuple[Message, ...]) -> JointMessage:
    """Rebuild a joint message that was copied or pickled."""
    make, parts = last
    return JointMessage.join(make(*parts), messages)


id_of = attrgetter("_identifier.text")
"""Returns ``message.id``, for many messages in a row."""
source_of = attrgetter("_source")
"""Returns ``message.source``, for many messages in a row."""


def keywords(message: Message) -> dict[str, Any]:
    """Return the keyword arguments themselves, which must not be changed: ``message.kwargs`` is a copy."""
    return message._kwargs
