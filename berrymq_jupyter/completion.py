"""Tab completion on the lines of our magics: options and their values, identifiers, nodes, Python names.

IPython calls every matcher for each press of the tab key, on the main thread or that of a front end's
request, so nothing here may take long: identifiers come from the bus, and those of linked nodes from a cache
(``links.py``), which is seldom renewed.

Completions of other nodes are text from the network, which is offered only if it is printable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from berrymq import default_bus
from berrymq.printable import printable

from .following import stoppable
from .links import linked_nodes, open_links
from .sharing import names_to_take

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from IPython.core.completer import IPCompleter

# A magic at the start of a line, or behind an assignment.
MAGIC = re.compile(r"^\s*(?:[\w.]+\s*=\s*)?(?P<escape>%%?)(?P<name>\w+)\s+(?P<rest>.*)$", re.DOTALL)
# The words of its line: quoted ones in one piece, the last one perhaps not closed yet.
WORD = re.compile(r"""(?:-[^\s=]*=)?(?:'[^']*'?|"[^"]*"?)|\S+""")

MAX_RECENT = 1000
"""The limit of identifiers that are remembered."""

# The number of identifiers at the front of each magic's line.
IDENTIFIERS = {"twitter": 1, "follow": 1, "queue": 1, "talk": 2, "ask": 1, "keep": 1, "share": 0}

# The magics whose line goes on as Python, and the end of it that Python's names complete.
PYTHON = frozenset({"twitter", "follow", "talk", "ask", "share"})
NAME = re.compile(r"(?:[^\W\d][\w.]*)?$")


class RecentIdentifiers:
    """The identifiers of recent messages.

    A bus forgets them when its followers change, so they are collected before that and after each cell, which
    costs nothing per message.

    At most `MAX_RECENT` of them, the latest last.
    """

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def collect(self, _: object = None) -> None:
        """Add those that the bus still has in its cache; a hook of the bus.

        An identifier that is sent again moves to the end.
        """
        for identifier in default_bus.gateway.recent():
            self._texts.pop(identifier.text, None)
            self._texts[identifier.text] = None
        for oldest in list(self._texts)[:-MAX_RECENT]:
            self._texts.pop(oldest, None)

    def texts(self) -> list[str]:
        """Return them, and all that the bus still has in its cache."""
        self.collect()
        known = (identifier.text for identifier in default_bus.gateway.recent())
        return list(dict.fromkeys([*self._texts, *known]))


class MagicCompleter:
    """Completes the lines of the given magics; `magics` maps each name to its function.

    Args:
        magics: the functions of our magics, by name.
        completer: IPython's, for Python names.
        recent: identifiers that were sent lately.
    """

    def __init__(self, magics: dict[str, Any], completer: IPCompleter, recent: RecentIdentifiers) -> None:
        self._magics = magics
        self._completer = completer
        self._recent = recent

    @context_matcher()  # type: ignore[untyped-decorator]
    def matcher(self, context: CompletionContext) -> SimpleMatcherResult:
        """Return the completions at the cursor; none outside our magics.

        On the line of one of our magics, IPython's own completions are suppressed unless Python may stand at
        the cursor.
        """
        found = MAGIC.match(context.line_with_cursor[: context.cursor_position])
        if found is None or found["name"] not in self._magics:
            return {"completions": [], "suppress": False}
        line = Line(found["name"], self._magics[found["name"]].parser._actions, found["rest"])
        fragment, choices = self.choices(line)
        matching = sorted({choice for choice in choices if choice.startswith(fragment) and is_plain(choice)})
        completions = [SimpleCompletion(choice, type="magic argument") for choice in matching]
        return {
            "completions": completions if matching or line.is_python else NoCompletions(),
            "matched_fragment": fragment,
            "suppress": bool(matching) or not line.is_python,
        }

    def choices(self, line: Line) -> tuple[str, Iterable[str]]:
        """Return the word at the end of the line, and its completions.

        In this order: the value of an option, an option, an identifier, Python, and what else the magic
        takes.
        """
        fragment = line.fragment
        if line.wanting is not None:
            return fragment, map(requote(fragment), values(line.wanting))
        option, joined, value = fragment.partition("=")
        if joined and line.may_have_option and option in line.options:
            allowed = map(requote(value), values(line.options[option]))
            return fragment, (f"{option}={text}" for text in allowed)
        if fragment.startswith("-") and line.options and line.may_have_option:
            return fragment, line.options
        if line.words < IDENTIFIERS.get(line.name, 0):
            known = {*followed(), *self._recent.texts()}
            own = {text for text in known if "@berrymq:" in text}  # of shared values, which %take names
            return fragment, map(requote(fragment), known - own)
        if line.is_python:
            return self.python_names(line.text)
        words = [*VALUES[line.name]()] if line.words == 0 and line.name in VALUES else []
        return fragment, map(requote(fragment), words) if words or fragment else line.options

    def python_names(self, text: str) -> tuple[str, Iterable[str]]:
        """Return the Python name at the end of `text`, and its completions.

        IPython's own completion is of no use here: it parses the cell as Python, and the line of a magic is
        none. Without the beginning of a name, only those that the user has defined are returned.
        """
        found = NAME.search(text)
        name = found[0] if found is not None else ""
        if not name:
            shell = self._completer.shell
            return name, (own for own in shell.user_ns if own not in shell.user_ns_hidden and own[0] != "_")
        matches = self._completer.attr_matches if "." in name else self._completer.global_matches
        return name, matches(name)


class NoCompletions(list[SimpleCompletion]):
    """No completions, but not empty: IPython omits its own only if there are any of ours."""

    def __len__(self) -> int:
        return 1


class Line:
    """A magic's line before the cursor.

    It is read as the magic itself would read it, up to the cursor.
    """

    def __init__(self, name: str, actions: Iterable[argparse.Action], text: str) -> None:
        self.name = name
        self.text = text
        self.options = {option: action for action in actions for option in action.option_strings}
        """The options that are not on the line yet."""
        self.words = 0
        """The number of words beside options and their values."""
        self.wanting: argparse.Action | None = None
        """The option whose value is next."""
        self._after_optional = False
        """Whether the last option may have a value, which is a number."""
        words = WORD.findall(text)
        self.fragment: str = words.pop() if words and text.endswith(words[-1]) else ""
        """The word that ends at the cursor."""
        for word in words:
            self._pass(word)

    @property
    def is_python(self) -> bool:
        """Whether Python may stand at the cursor: behind the identifiers."""
        return self.name in PYTHON and self.words >= IDENTIFIERS[self.name] and self.wanting is None

    @property
    def may_have_option(self) -> bool:
        """Whether an option may be next: in an argument list of Python it may not."""
        return self.name not in PYTHON or self.words in (0, IDENTIFIERS[self.name])

    def _pass(self, word: str) -> None:
        """Note one word before the cursor: an option, the value of one, or another word."""
        option, joined, _ = word.partition("=")
        if self.wanting is not None:
            self.wanting = None
        elif self._after_optional and word.isdigit():
            self._after_optional = False
        elif option in self.options and self.may_have_option:
            action = self.options.pop(option)
            self._after_optional = action.nargs == "?"
            self.wanting = None if joined or action.nargs in (0, "?") else action
        else:
            self.words += 1


def values(action: argparse.Action) -> Iterable[str]:
    """Return the possible values of an option; none for free text."""
    if action.choices is not None:
        return action.choices
    return VALUES[action.dest]() if action.dest in VALUES else ()


def requote(fragment: str) -> Callable[[str], str]:
    """Return a function that quotes a choice as `fragment` begins, or where it is needed.

    Args:
        fragment: the word at the cursor, perhaps with an opening quotation mark.
    """
    mark = fragment[:1]
    if mark in ("'", '"'):
        return lambda text: f"{mark}{text}{mark}"
    return lambda text: f'"{text}"' if " " in text else text


def followed() -> set[str]:
    """Return the identifiers that are followed, here or by a linked node."""
    found = {identifier.text for entry in default_bus.subscriptions() for identifier in entry.identifiers}
    found.update(text for node in linked_nodes() for text in node.follows)
    return found


def is_plain(text: str) -> bool:
    """Return whether a text can be offered: those of other nodes may hold control characters."""
    return printable(text) == text


VALUES: dict[str, Callable[[], Iterable[str]]] = {
    "room": lambda: (node.room for node in linked_nodes() if node.room),
    "links": lambda: (node.name for node in linked_nodes()),
    "unlink": lambda: (link.url for link in open_links()),
    "take": names_to_take,
    "unshare": names_to_take,
    "unfollow": lambda: (identifier.text for entry in stoppable() for identifier in entry.identifiers),
}
"""The completions of an option's value, or of the first word of a magic, by name."""
