"""Tab completion on the lines of our magics: options, identifiers that are alive, names of nodes."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from berrymq import default_bus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from IPython.core.completer import IPCompleter

    from berrymq import Link, NodeInfo

# A magic at the start of a line, or behind an assignment.
MAGIC = re.compile(r"^\s*(?:[\w.]+\s*=\s*)?(?P<escape>%%?)(?P<name>\w+)\s+(?P<rest>.*)$", re.DOTALL)
# The words of its line: quoted ones in one piece, the last one perhaps not closed yet.
WORD = re.compile(r"""'[^']*'?|"[^"]*"?|\S+""")

# How many identifiers stand at the front of each magic's line.
IDENTIFIERS = {"twitter": 1, "follow": 1, "unfollow": 1, "queue": 1, "talk": 2, "ask": 1}


# The magics whose line goes on as Python, and the end of it that Python's names complete.
PYTHON = frozenset({"twitter", "follow", "talk", "ask"})
NAME = re.compile(r"[^\W\d][\w.]*$")


# Identifiers of messages that are remembered.
MOST_PASSED = 1000


class Passed:
    """The identifiers of messages that passed here lately.

    A bus forgets them when its followers change. So they are looked at before that, and after each cell; that
    costs a message nothing.
    """

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def look(self, _: object = None) -> None:
        """Take note of what the bus still knows."""
        for identifier in default_bus.recent():
            self._texts.pop(identifier.text, None)
            self._texts[identifier.text] = None
        for oldest in list(self._texts)[:-MOST_PASSED]:
            self._texts.pop(oldest, None)

    def identifiers(self) -> list[str]:
        """Return them."""
        self.look()
        return list(self._texts)


class MagicCompleter:
    """Completes the lines of the given magics; `magics` maps each name to its function."""

    def __init__(self, magics: dict[str, Any], completer: IPCompleter, passed: Passed) -> None:
        self._magics = magics
        self._completer = completer
        self._passed = passed

    @context_matcher()  # type: ignore[untyped-decorator]
    def matcher(self, context: CompletionContext) -> SimpleMatcherResult:
        """Give what may stand at the cursor; nothing outside our magics."""
        found = MAGIC.match(context.line_with_cursor[: context.cursor_position])
        if found is None or found["name"] not in self._magics:
            return {"completions": [], "suppress": False}
        fragment, choices = self.choices(found["name"], found["rest"])
        matching = sorted({choice for choice in choices if choice.startswith(fragment)})
        return {
            "completions": [SimpleCompletion(choice, type="magic argument") for choice in matching],
            "matched_fragment": fragment,
            "suppress": bool(matching),
        }

    def choices(self, name: str, rest: str) -> tuple[str, Iterable[str]]:
        """Return the word at the end of `rest`, and what it may become."""
        words = WORD.findall(rest)
        fragment = words.pop() if words and rest.endswith(words[-1]) else ""
        options = {
            option: action
            for action in self._magics[name].parser._actions
            for option in action.option_strings
        }
        plain = 0
        wanting = None  # the option whose value comes next
        for word in words:
            if wanting is not None:
                wanting = None
            elif plain == 0 and word in options:
                wanting = options[word] if options[word].nargs != 0 else None
            else:
                plain += 1
        if wanting is not None:
            return fragment, map(quoted, wanting.choices or VALUES.get(wanting.dest, nothing)())
        if fragment.startswith("-") and plain == 0:
            return fragment, options
        if plain < IDENTIFIERS.get(name, 0):
            known = {*followed(), *self._passed.identifiers()}
            return fragment, map(requote(fragment), known)
        if plain == 0 and name in VALUES:
            return fragment, map(requote(fragment), VALUES[name]())
        return self.python_names(rest) if name in PYTHON else (fragment, ())

    def python_names(self, text: str) -> tuple[str, Iterable[str]]:
        """Return the Python name at the end of `text`, and what it may become.

        IPython's own way is of no use here: it parses the cell as Python, and the line of a magic is none.
        """
        found = NAME.search(text)
        if found is None:
            return "", ()
        name = found[0]
        matches = self._completer.attr_matches if "." in name else self._completer.global_matches
        return name, matches(name)


def followed() -> set[str]:
    """Return the identifiers that are followed, here or by a linked node."""
    found = {identifier.text for entry in default_bus.subscriptions() for identifier in entry.identifiers}
    found.update(text for node in nodes() for text in node.follows)
    return found


def open_links() -> list[Link]:
    """Return the links of this process, without loading what makes links."""
    bridge = sys.modules.get("berrymq.bridge")
    return list(bridge.links()) if bridge is not None else []


def nodes() -> list[NodeInfo]:
    """Return the nodes that can be reached."""
    return [node for link in open_links() for node in link.nodes()]


def nothing() -> Iterable[str]:
    """Return no choice, for values that nobody can guess."""
    return ()


# What may be the value of an option, or the first word of a magic.
VALUES: dict[str, Callable[[], Iterable[str]]] = {
    "room": lambda: (node.room for node in nodes() if node.room),
    "links": lambda: (node.name for node in nodes()),
    "unlink": lambda: (link.url for link in open_links()),
}


def quoted(text: str) -> str:
    """Put quotes around text with spaces."""
    return f'"{text}"' if " " in text else text


def requote(fragment: str) -> Callable[[str], str]:
    """Return what quotes a choice as `fragment` begins, or where it is needed."""
    mark = fragment[:1]
    if mark in ("'", '"'):
        return lambda text: f"{mark}{text}{mark}"
    return quoted
