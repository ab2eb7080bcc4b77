"""Identifiers: the address of a message and the filter of a follower.

``name:action`` or ``name@namespace:action``. ``*`` stands for a whole name or a whole action, on either side:
a message ``*:stop`` reaches every follower of any ``…:stop``. A namespace takes no wildcard.

Every message has its identifier parsed, here or by a link, so plain text takes a fast path and all of it a
bounded cache. Whatever that path does not accept is checked part by part, for an error text that says what
to write instead.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NoReturn

from .errors import IdentifierError

__all__ = ["MAX_PART", "WILDCARD", "Identifier"]

WILDCARD: Final = "*"
"""Stands for any name, or any action."""
MAX_PART: Final = 255
"""The longest name, action or namespace, in characters."""
MAX_SHOWN: Final = 60
"""The most characters of a text that an error shows."""


class Identifier:
    """One identifier, immutable and hashable; compared by its canonical text.

    Its `str` is the canonical text: ``"test:*"`` for ``"test"``. ``Identifier("test@lab:run")`` parses text;
    ``Identifier("test", "run", "lab")`` joins the parts. Parts hold any text but ``:``, ``@``, ``*``, control
    characters and outer spaces, at most `MAX_PART` characters.

    ::

        >>> one = Identifier("train:epoch")
        >>> one.name, one.action, one.matches("train:*")
        ('train', 'epoch', True)

    Args:
        name: the name; alone, it may be the whole text.
        action: the action; the wildcard by default.
        namespace: the namespace; none by default.

    Attributes:
        name: the name, or ``"*"``.
        action: the action, or ``"*"``.
        namespace: the namespace; None when there is none.
        text: the canonical text.

    Raises:
        IdentifierError: it is not valid; the error has the reason and what to write instead.
    """

    __slots__ = ("action", "name", "namespace", "text")

    name: str
    action: str
    namespace: str | None
    text: str
    """The canonical text."""

    def __init__(self, name: str, action: str | None = None, namespace: str | None = None) -> None:
        if action is None:
            if namespace is None:
                read = Identifier.parse(name)
                write(self, read.name, read.action, read.namespace, read.text)
                return
            action = WILDCARD
        text = f"{name}:{action}" if namespace is None else f"{name}@{namespace}:{action}"
        check_parts(name, action, namespace, text)
        write(self, name, action, namespace, text)

    @classmethod
    def parse(cls, value: str | Identifier) -> Identifier:
        """Return `value` as an identifier: parsed when it is text, as it is when it is one already.

        Raises:
            IdentifierError: it is neither, or the text is not valid.
        """
        if isinstance(value, str):
            return parse_text(str.__str__(value))
        if isinstance(value, Identifier):
            return value
        raise IdentifierError(
            f"an identifier is text such as 'test:run', not {describe(value)}; write it in quotes"
        )

    def matches(self, other: str | Identifier) -> bool:
        """Return whether a message of one reaches a follower of the other; the relation is symmetric.

        Namespaces have to be equal, so one with a namespace never matches one without.

        Raises:
            IdentifierError: `other` is no identifier.
        """
        that = Identifier.parse(other)
        return (
            self.namespace == that.namespace
            and (self.name in (that.name, WILDCARD) or that.name == WILDCARD)
            and (self.action in (that.action, WILDCARD) or that.action == WILDCARD)
        )

    is_match = matches  # its name of 2009

    @property
    def id_str(self) -> str:
        """The canonical text, by its name of 2009."""
        return self.text

    @property
    def is_local(self) -> bool:
        """Whether the name begins with ``_``: such messages never leave the process."""
        return self.name.startswith("_")

    @property
    def is_wild(self) -> bool:
        """Whether name or action is the wildcard."""
        return WILDCARD in (self.name, self.action)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Identifier({self.text!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Identifier):
            return self.text == other.text
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __setattr__(self, key: str, value: object) -> NoReturn:
        raise AttributeError(f"an Identifier is read-only: {key!r} cannot be set")

    def __delattr__(self, key: str) -> NoReturn:
        raise AttributeError(f"an Identifier is read-only: {key!r} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return Identifier.parse, (self.text,)


def parse_new(text: str) -> Identifier:
    """Parse text that is in no cache.

    Raises:
        IdentifierError: it is no identifier.
    """
    head, colon, action = text.partition(":")
    if (
        head
        and action
        and len(text) <= MAX_PART
        and text.isprintable()
        and not (":" in action or "@" in text or "*" in text or " " in text)
    ):
        # Most identifiers are as plain as this. The others are checked part by part, for the error's text.
        identifier = Identifier.__new__(Identifier)
        write(identifier, head, action, None, text)
        return identifier
    if not colon:
        action = WILDCARD
    elif ":" in action:
        raise IdentifierError(
            f"{quoted(text)} has more than one ':'; an identifier has one, between name and action"
            + advice_for(text, trimmed(f"{head}:{action.strip(':, ').replace(':', '.') or WILDCARD}"))
        )
    if "@" in action:
        action_part, _, moved = action.partition("@")
        raise IdentifierError(
            f"{quoted(text)} has '@' after the ':'; a namespace belongs to the name"
            + advice_for(text, f"{head}@{moved}:{action_part}")
        )
    name, at, namespace = head.partition("@")
    check_parts(name, action, namespace if at else None, text)
    identifier = Identifier.__new__(Identifier)
    write(identifier, name, action, namespace if at else None, text if colon else f"{text}:{WILDCARD}")
    return identifier


parse_text = lru_cache(maxsize=4096)(parse_new)
"""Parse text, with a bounded cache: links parse the same few identifiers all the time."""

set_name = Identifier.__dict__["name"].__set__
set_action = Identifier.__dict__["action"].__set__
set_namespace = Identifier.__dict__["namespace"].__set__
set_text = Identifier.__dict__["text"].__set__


def write(identifier: Identifier, name: str, action: str, namespace: str | None, text: str) -> None:
    """Set the slots of a new identifier, whose `__setattr__` raises; by the descriptors of the slots."""
    set_name(identifier, name)
    set_action(identifier, action)
    set_namespace(identifier, namespace)
    set_text(identifier, text)


def check_parts(name: str, action: str, namespace: str | None, text: str) -> None:
    """Check all parts of an identifier.

    Args:
        name: the name.
        action: the action.
        namespace: the namespace, or None.
        text: the whole, shown by an error.

    Raises:
        IdentifierError: a part is not valid.
    """
    check_part(name, "name", text)
    check_part(action, "action", text)
    if namespace is not None:
        check_part(namespace, "namespace", text)


def advice_for(text: str, better: str) -> str:
    """Return advice on what to write instead of `text`: several identifiers, else `better` if it is one."""
    parts = [part for part in text.replace(",", " ").split() if ":" in part]
    if len(parts) > 1 and all(map(is_identifier, parts)):
        joined = " & ".join([f"cond({part!r})" for part in parts])
        return f": these are {len(parts)}; follow each of them, or {joined}"
    if len(better) > MAX_SHOWN or not is_identifier(better):
        return "; write one as in 'test:run' or 'test@lab:run'"
    return f": write {quoted(better)}"


def trimmed(text: str) -> str:
    """Return `text` without spaces around its parts."""
    return ":".join(["@".join([one.strip() for one in part.split("@")]) for part in text.split(":")])


def is_identifier(text: str) -> bool:
    """Return whether `text` is an identifier."""
    try:
        parse_new(text)
    except IdentifierError:
        return False
    return True


def check_part(part: str, kind: str, text: str) -> None:
    """Raise `IdentifierError` unless `part` can be the name, action or namespace (`kind`) of `text`."""
    if not isinstance(part, str):
        raise IdentifierError(f"the {kind} of an identifier is text, not {describe(part)}")
    if part == WILDCARD:
        if kind == "namespace":
            raise IdentifierError(
                f"{quoted(text)} has '*' as its namespace; a namespace takes no wildcard: write it out"
            )
        return
    if not part:
        hint = "'*' for any" if kind != "namespace" else "it out, or leave the '@' away"
        raise IdentifierError(
            f"{quoted(text)} has an empty {kind}; write {hint}, as in 'test:run' or 'test:*'"
        )
    if len(part) > MAX_PART:
        article = "an" if kind == "action" else "a"
        raise IdentifierError(
            f"{quoted(text)} has {article} {kind} of {len(part)} characters; {MAX_PART} is the most: "
            "put what is long into the message's arguments"
        )
    if WILDCARD in part:
        raise IdentifierError(
            f"{quoted(text)} has '*' inside its {kind}; a wildcard stands for a whole part: "
            "write 'test:*', '*:run' or '*:*'"
        )
    if ":" in part or "@" in part:
        raise IdentifierError(
            f"the {kind} {quoted(part)} contains ':' or '@', which separate the parts of an identifier; "
            "use another character"
        )
    if not part.isprintable() and any(map(is_control, part)):
        raise IdentifierError(
            f"{quoted(text)} has a control character in its {kind}; write it without (inner spaces are fine)"
        )
    if part != part.strip():
        raise IdentifierError(
            f"{quoted(text)} has a space around its {kind}" + advice_for(text, trimmed(text))
        )


def is_control(character: str) -> bool:
    """Return whether it is a control character, or a lone surrogate, which can't be encoded."""
    return character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"


def quoted(text: str) -> str:
    """Return `text` as a literal; a long one is cut to `MAX_SHOWN` characters, with ``...`` at its end."""
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "...")


def describe(value: object) -> str:
    """Return the name of the type of `value`, with its article, for an error."""
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
