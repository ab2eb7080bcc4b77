"""Introspection of a bus: debug observation, counters, and pictures of its followers and its network."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from .identifiers import Identifier
from .messages import Message
from .muting import Nested
from .printable import printable
from .process import ForkSafeLock
from .routes import OBSERVED, Observer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .bus import Bus
    from .subscribers import Attachment

__all__ = [
    "BusStats",
    "Observation",
    "Observers",
    "QueueMember",
    "QueueStats",
    "Report",
    "show_followers",
    "show_network",
    "stats",
]


# -- debug observation ---------------------------------------------------------------------------------------


class Observation(Nested):
    """A handle of debug observation; what `Bus.observe` returns."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        super().__init__()

    def _shift(self, by: int) -> None:
        """Add `by` to the number of observations of the bus."""
        self._observers.shift(by)


class Observers:
    """Publishes the debug messages of one bus while there is an active `Observation`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = ForkSafeLock()
        self.count = 0

    def shift(self, by: int) -> None:
        """Add `by` (+1 or -1) to the number of observations, and set what is reported accordingly."""
        with self._lock:
            self.count += by
        registry = self._bus._registry
        while True:
            count = self.count
            registry.set_observer(
                Observer(lambda message: self.report("send_message", message)) if count else None
            )
            for attachment in registry.attachments():
                self.report_forwarding(attachment)
            if count == self.count:  # else another thread changed it, and its setting must not be overwritten
                return

    def report_forwarding(self, attachment: Attachment) -> None:
        """Report what a link takes over, while there are observations; else have it call the link alone."""

        def forward(message: Message) -> None:
            attachment.send(message)
            self.report("forward_message", message, link=attachment.name)

        attachment.deliver_to(forward if self.count else attachment.send)

    def report(self, action: str, message: Message, **kwargs: Any) -> None:
        """Publish a debug message about `message`, unless that is one itself or there is no observation."""
        if self.count and message.name != OBSERVED:
            self._bus.publish(Message.make(Identifier(OBSERVED, action), (message,), kwargs))


# -- counters ------------------------------------------------------------------------------------------------


class BusStats(NamedTuple):
    """A snapshot of a bus."""

    followers: int
    """Subscriptions of functions and methods."""
    queues: int
    """Open queues; those that share count once."""
    identifiers: int
    """Different identifiers that are followed."""
    links: int
    """Links attached to the bus."""
    routes: int
    """Routes in the cache: identifiers that were published lately."""
    multiplicity: int
    """Worker threads; 0 when followers run in the sender's thread."""
    backlog: int
    """Unfinished deliveries in other threads and on event loops."""


class QueueStats(NamedTuple):
    """A snapshot of a queue's counters."""

    size: int
    """Messages that can be taken."""
    maxsize: int
    """The capacity; 0 for no bound."""
    received: int
    """Messages received so far, including dropped ones."""
    dropped: int
    """Messages dropped because the queue was full."""
    waiting: int
    """Threads and tasks that wait for a message."""
    closed: bool
    deepest: int = 0
    """The largest size so far."""


class QueueMember(NamedTuple):
    """A process that takes from a shared queue, or a client without a link."""

    name: str
    taken: int
    """Messages that it has taken."""
    held: int
    """Messages that were handed to it and not taken yet."""
    waiting: int
    """Its threads and tasks that wait for a message."""


def stats(bus: Bus) -> BusStats:
    """Count what belongs to `bus`; see `Bus.stats`."""
    known = bus.subscriptions()
    queues = sum(one.is_queue for one in known)
    return BusStats(
        followers=len(known) - queues,
        queues=queues,
        identifiers=len({identifier for one in known for identifier in one.identifiers}),
        links=sum(one.is_link for one in bus.gateway.attachments()),
        routes=bus.gateway.routes,
        multiplicity=bus.multiplicity,
        backlog=bus.backlog,
    )


# -- pictures ------------------------------------------------------------------------------------------------


class Report(str):
    """Text whose `repr` is the text, so that a prompt shows it as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def show_followers(bus: Bus) -> Report:
    """Return a table of the followers as text; see `Bus.show_followers`."""
    rows = [(printable(one.follows), one.name, one.where or "") for one in bus.subscriptions()]
    if not rows:
        return Report("no followers")
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return Report(
        "\n".join(
            f"{identifier:<{widths[0]}}  {name:<{widths[1]}}  {where}".rstrip()
            for identifier, name, where in rows
        )
    )


class Picture(NamedTuple):
    """The contents of a picture of the network."""

    here: str
    """The name of this process."""
    follows: list[tuple[str, str, str]]
    """The followers here: identifier, name and location of each."""
    others: list[tuple[str, bool, tuple[str, ...]]]
    """Other nodes: name, whether it is a hub, what it follows."""


def show_network(bus: Bus, format: str, nodes: Iterable[Any] | None) -> Report:  # noqa: A002  # as in `Bus`
    """Draw the bus and the nodes that it is linked to; see `Bus.show_network`."""
    draw = {"text": draw_text, "mermaid": draw_mermaid, "graphviz": draw_graphviz}.get(format)
    if draw is None:
        raise ValueError(f"format is 'text', 'mermaid' or 'graphviz', not {format!r}")
    return Report("\n".join(draw(picture(bus, open_links() if nodes is None else nodes))))


def open_links() -> list[Any]:
    """Return the links of this process, without loading the bridge, which the first link loads."""
    bridge = sys.modules.get(f"{__package__}.bridge")
    return [] if bridge is None else list(bridge.links())


def picture(bus: Bus, nodes: Iterable[Any]) -> Picture:
    """Collect the contents of a picture; links are resolved into their nodes, each node appears once."""
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
    """Draw an indented list."""
    lines = [f"{drawn.here} (here)"]
    lines += [
        f"  {identifier} -> {follower}{f' ({where})' if where else ''}"
        for identifier, follower, where in drawn.follows
    ]
    for name, hub, follows in drawn.others:
        lines.append(f"{name}{' (hub)' if hub else ''}")
        lines += [f"  {identifier}" for identifier in follows]
    return lines


def draw_mermaid(drawn: Picture) -> list[str]:
    """Draw a Mermaid flowchart, with arrows in the direction of the messages."""
    names = Names()
    lines = ["flowchart LR", f"  {names.of('node', drawn.here)}([{mermaid_text(drawn.here)}])"]
    for identifier, follower, where in drawn.follows:
        lines.append(f"  {names.of('id', identifier)}{{{{{mermaid_text(identifier)}}}}}")
        lines.append(
            f"  {names.of('id', identifier)} --> "
            f"{names.of('follower', follower + where)}[{mermaid_text(follower)}]"
        )
    for name, hub, follows in drawn.others:
        shape = "[({})]" if hub else "([{}])"
        lines.append(f"  {names.of('node', name)}{shape.format(mermaid_text(name))}")
        lines.append(f"  {names.of('node', drawn.here)} <-.-> {names.of('node', name)}")
        lines += [
            f"  {names.of('id', identifier)}{{{{{mermaid_text(identifier)}}}}} --> {names.of('node', name)}"
            for identifier in follows
        ]
    return list(dict.fromkeys(lines))


def draw_graphviz(drawn: Picture) -> list[str]:
    """Draw a Graphviz digraph, with arrows in the direction of the messages."""
    names = Names()
    lines = [f"  {names.of('node', drawn.here)} [shape=ellipse, label={dot_text(drawn.here)}];"]
    for identifier, follower, where in drawn.follows:
        lines.append(f"  {names.of('id', identifier)} [shape=hexagon, label={dot_text(identifier)}];")
        lines.append(
            f"  {names.of('follower', follower + where)} "
            f"[shape=box, label={dot_text(follower)}, tooltip={dot_text(where)}];"
        )
        lines.append(f"  {names.of('id', identifier)} -> {names.of('follower', follower + where)};")
    for name, hub, follows in drawn.others:
        shape = "cylinder" if hub else "ellipse"
        lines.append(f"  {names.of('node', name)} [shape={shape}, label={dot_text(name)}];")
        lines.append(
            f"  {names.of('node', drawn.here)} -> {names.of('node', name)} [dir=both, style=dashed];"
        )
        for identifier in follows:
            lines.append(f"  {names.of('id', identifier)} [shape=hexagon, label={dot_text(identifier)}];")
            lines.append(f"  {names.of('id', identifier)} -> {names.of('node', name)};")
    return ["digraph berrymq {", "  rankdir=LR;", *dict.fromkeys(lines), "}"]


class Names:
    """Generates identifiers for the elements of a drawing, whose own names may hold any characters."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def of(self, kind: str, key: str) -> str:
        """Return the identifier of one element, the same at each call."""
        return self._known.setdefault((kind, key), f"{kind}{len(self._known)}")


def mermaid_text(text: str) -> str:
    """Return a quoted label; what Mermaid could read as markup or a directive becomes character codes."""
    return '"' + "".join(letter if is_plain(letter) else f"#{ord(letter)};" for letter in text) + '"'


def is_plain(letter: str) -> bool:
    """Return whether a character has no special meaning to Mermaid inside quotes."""
    return letter.isalnum() or letter in " .,:*_-+=/()[]!?|~"


def dot_text(text: str) -> str:
    """Return a quoted label."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
