"""Looking in: who follows what, who is linked to whom, and how many of everything there are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from .printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .bus import Bus

__all__ = ["BusStats", "QueueStats", "Report", "show_followers", "show_network", "stats"]


class Report(str):
    """Text that shows as it is at a prompt, instead of as a literal."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class BusStats(NamedTuple):
    """A snapshot of a bus."""

    followers: int
    """Functions and methods that follow."""
    queues: int
    """Queues that collect; those that share count once."""
    identifiers: int
    """Different identifiers that are followed."""
    links: int
    """Links that take messages over."""
    routes: int
    """Routes in the cache: identifiers that were published lately."""
    multiplicity: int
    """Worker threads; 0 when followers run in the sender's thread."""
    backlog: int
    """Deliveries handed to other threads or event loops and not finished."""


class QueueStats(NamedTuple):
    """A snapshot of a queue's counters."""

    size: int
    """Messages that can be taken."""
    maxsize: int
    """The most messages that it holds; 0 for no bound."""
    received: int
    """Messages received so far, dropped ones included."""
    dropped: int
    """Messages dropped because the queue was full."""
    waiting: int
    """Threads and tasks that wait for a message."""
    closed: bool
    deepest: int = 0
    """The largest size so far."""


def stats(bus: Bus) -> BusStats:
    """See `Bus.stats`."""
    known = bus.subscriptions()
    queues = sum(one.is_queue for one in known)
    return BusStats(
        followers=len(known) - queues,
        queues=queues,
        identifiers=len({identifier for one in known for identifier in one.identifiers}),
        links=len(bus.gateway.attachments()),
        routes=bus.gateway.routes,
        multiplicity=bus.multiplicity,
        backlog=bus.backlog,
    )


def show_followers(bus: Bus) -> Report:
    """See `Bus.show_followers`."""
    rows = [(printable(one.follows), one.name, one.where or "") for one in bus.subscriptions()]
    if not rows:
        return Report("nobody follows anything")
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return Report(
        "\n".join(f"{what:<{widths[0]}}  {who:<{widths[1]}}  {where}".rstrip() for what, who, where in rows)
    )


class Picture(NamedTuple):
    """What there is to draw."""

    here: str
    """The name of this process."""
    follows: list[tuple[str, str, str]]
    """What is followed here: identifier, name and place of the follower."""
    others: list[tuple[str, bool, tuple[str, ...]]]
    """Other nodes: name, whether it is a hub, what it follows."""


def show_network(bus: Bus, format: str, nodes: Iterable[Any] | None) -> Report:  # noqa: A002  # as in `Bus`
    """See `Bus.show_network`."""
    draw = {"text": draw_text, "mermaid": draw_mermaid, "graphviz": draw_graphviz}.get(format)
    if draw is None:
        raise ValueError(f"format is 'text', 'mermaid' or 'graphviz', not {format!r}")
    return Report("\n".join(draw(picture(bus, open_links() if nodes is None else nodes))))


def open_links() -> list[Any]:
    """Return the links of this process, without loading the bridge, which the first link loads."""
    bridge = sys.modules.get(f"{__package__}.bridge")
    return [] if bridge is None else list(bridge.links())


def picture(bus: Bus, nodes: Iterable[Any]) -> Picture:
    """Gather what there is to draw; links are opened into their nodes, and each node counts once."""
    known: dict[str, Any] = {}
    for one in nodes:
        for node in one.nodes() if callable(getattr(one, "nodes", None)) else (one,):
            known.setdefault(node.id, node)
    here = next((node.name for node in known.values() if node.here), bus.name or "this process")
    return Picture(
        printable(here),
        [(printable(one.follows), one.name, one.where or "") for one in bus.subscriptions()],
        [
            (printable(node.name), node.hub, tuple(map(printable, node.follows)))
            for node in known.values()
            if not node.here
        ],
    )


def draw_text(drawn: Picture) -> list[str]:
    """An indented list."""
    lines = [f"{drawn.here} (here)"]
    lines += [f"  {what} -> {who}{f' ({where})' if where else ''}" for what, who, where in drawn.follows]
    for name, hub, follows in drawn.others:
        lines.append(f"{name}{' (hub)' if hub else ''}")
        lines += [f"  {what}" for what in follows]
    return lines


def draw_mermaid(drawn: Picture) -> list[str]:
    """A Mermaid flowchart: arrows run the way of the messages."""
    names = Names()
    lines = ["flowchart LR", f"  {names.of('node', drawn.here)}([{mermaid_text(drawn.here)}])"]
    for what, who, where in drawn.follows:
        lines.append(f"  {names.of('id', what)}{{{{{mermaid_text(what)}}}}}")
        lines.append(f"  {names.of('id', what)} --> {names.of('follower', who + where)}[{mermaid_text(who)}]")
    for name, hub, follows in drawn.others:
        shape = "[({})]" if hub else "([{}])"
        lines.append(f"  {names.of('node', name)}{shape.format(mermaid_text(name))}")
        lines.append(f"  {names.of('node', drawn.here)} <-.-> {names.of('node', name)}")
        lines += [
            f"  {names.of('id', what)}{{{{{mermaid_text(what)}}}}} --> {names.of('node', name)}"
            for what in follows
        ]
    return list(dict.fromkeys(lines))


def draw_graphviz(drawn: Picture) -> list[str]:
    """A Graphviz digraph: arrows run the way of the messages."""
    names = Names()
    lines = [f"  {names.of('node', drawn.here)} [shape=ellipse, label={dot_text(drawn.here)}];"]
    for what, who, where in drawn.follows:
        lines.append(f"  {names.of('id', what)} [shape=hexagon, label={dot_text(what)}];")
        lines.append(
            f"  {names.of('follower', who + where)} "
            f"[shape=box, label={dot_text(who)}, tooltip={dot_text(where)}];"
        )
        lines.append(f"  {names.of('id', what)} -> {names.of('follower', who + where)};")
    for name, hub, follows in drawn.others:
        shape = "cylinder" if hub else "ellipse"
        lines.append(f"  {names.of('node', name)} [shape={shape}, label={dot_text(name)}];")
        lines.append(
            f"  {names.of('node', drawn.here)} -> {names.of('node', name)} [dir=both, style=dashed];"
        )
        for what in follows:
            lines.append(f"  {names.of('id', what)} [shape=hexagon, label={dot_text(what)}];")
            lines.append(f"  {names.of('id', what)} -> {names.of('node', name)};")
    return ["digraph berrymq {", "  rankdir=LR;", *dict.fromkeys(lines), "}"]


class Names:
    """Short names for the things of a drawing, whose own may hold anything."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def of(self, kind: str, key: str) -> str:
        """The name of one thing, always the same."""
        return self._known.setdefault((kind, key), f"{kind}{len(self._known)}")


def mermaid_text(text: str) -> str:
    """A label in quotes; what Mermaid could take for markup or a directive is written as character codes."""
    return '"' + "".join(letter if is_plain(letter) else f"#{ord(letter)};" for letter in text) + '"'


def is_plain(letter: str) -> bool:
    """Whether a character means nothing to Mermaid inside quotes."""
    return letter.isalnum() or letter in " .,:*_-+=/()[]!?|~"


def dot_text(text: str) -> str:
    """A label in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
