"""Joint conditions: ``cond("a:x") & cond("b:y")`` follows once both have come, then starts again.

`cond` and ``&`` build a `Condition`, which is immutable and only describes. A subscription to it gets a
`Joint`, one of the layers between the bus and the follower, which holds the state: the messages collected so
far. So one condition may be used for any number of followers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .identifiers import Identifier
from .messages import JointMessage, Message
from .process import ForkSafeLock
from .subscribers import SKIPPED
from .targets import check_guard, choose_guard

if TYPE_CHECKING:
    from .subscriptions import Layer
    from .targets import Call

__all__ = ["Condition", "cond", "conditions_of"]

Guard = Callable[[Message], object]
"""A function that takes a message and returns whether it counts."""


class Condition:
    """A joint condition: identifiers with optional guards, joined by ``&``; immutable.

    ``&`` takes an identifier or its text on either side, too::

        follow(cond("a:x") & "b:y", handler)

    Attributes:
        terms: each identifier with its guard, or None, in the order in which they are joined.
    """

    __slots__ = ("terms",)

    def __init__(self, terms: tuple[tuple[Identifier, Guard | None], ...]) -> None:
        self.terms = terms

    def __and__(self, other: str | Identifier | Condition) -> Condition:
        return Condition(self.terms + as_condition(other).terms)

    def __rand__(self, other: str | Identifier) -> Condition:
        return Condition(as_condition(other).terms + self.terms)

    def __repr__(self) -> str:
        return " & ".join(
            f"cond({term.text!r}{'' if guard is None else ', ...'})" for term, guard in self.terms
        )


def cond(
    identifier: str | Identifier, guard: Guard | None = None, *, guard_condition: Guard | None = None
) -> Condition:
    """Return a condition to join with ``&``; `follow` and the decorators take it like an identifier.

    ::

        @following_function(cond("data:ready") & cond("model:ready", lambda message: message.version > 1))
        def train(message):
            data, model = message.messages

    Args:
        identifier: what has to come.
        guard: takes a message and decides whether it counts.
        guard_condition: the same, by its name of 2009.

    Raises:
        IdentifierError: `identifier` is none.
        RegistrationError: the guard can't be called with a message, or is ``async``.
        TypeError: both `guard` and `guard_condition` are given.
    """
    guard = choose_guard(guard, guard_condition)
    check_guard(guard)
    return Condition(((Identifier.parse(identifier), guard),))


def as_condition(value: str | Identifier | Condition) -> Condition:
    """Return `value` as a condition."""
    return value if isinstance(value, Condition) else cond(value)


def conditions_of(value: str | Identifier | Condition) -> tuple[tuple[Identifier, ...], tuple[Layer, ...]]:
    """Return the identifiers to follow, and the layers that hold the follower back until all have come.

    Args:
        value: an identifier, its text, or a joint condition.

    Returns:
        The identifiers, and one new `Joint` for a condition; for a plain identifier no layer, which keeps the
        delivery as short as it is without conditions.

    Raises:
        IdentifierError: `value` is no identifier.
    """
    if not isinstance(value, Condition):
        return (Identifier.parse(value),), ()
    return tuple(identifier for identifier, _ in value.terms), (Joint(value.terms),)


_joining = ForkSafeLock()
"""Held while a message is stored. Re-entrant: the one that it replaces may have a destructor that sends."""


class Joint:
    """A layer that collects messages until every condition is met, and passes on all of them as one.

    It belongs to one subscription, and is called on the threads of all its senders.

    Args:
        terms: those of the `Condition`.
    """

    def __init__(self, terms: tuple[tuple[Identifier, Guard | None], ...]) -> None:
        self._terms = terms
        self._collected: dict[int, Message] = {}
        """The latest message for each condition that is met, by the number of the condition."""

    def __call__(self, inner: Call) -> Call:
        def joined(message: Message) -> Any:
            complete = self._collect(message)
            return SKIPPED if complete is None else inner(complete)

        return joined

    def _collect(self, message: Message) -> Message | None:
        """Store a message for each condition that it meets.

        Guards run without the lock. Of several messages for one condition the latest counts.

        Returns:
            The joint message when all conditions are met, after which collecting starts again; else None.
            With one condition it is the message itself.
        """
        identifier = message.identifier
        met = [
            number
            for number, (wanted, guard) in enumerate(self._terms)
            if wanted.matches(identifier) and (guard is None or guard(message))
        ]
        with _joining:
            for number in met:
                self._collected[number] = message  # of several, the latest counts
            if not met or len(self._collected) < len(self._terms):
                return None
            complete, self._collected = self._collected, {}
        if len(self._terms) == 1:
            return message
        return JointMessage.join(message, tuple(complete[number] for number in range(len(self._terms))))
