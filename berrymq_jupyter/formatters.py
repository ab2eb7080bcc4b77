"""Format messages, links and followers as values of cells: rich in a notebook, plain text elsewhere.

IPython asks for each format by itself: notebooks show ``text/html`` where there is one, terminals and the
saved notebook's plain form show the text. What is shown may come from another process, so text is escaped for
HTML, and control characters as well, in both.  Only `links_entry` asks the hub, and waits for its answer for
a few seconds at most.
"""

from __future__ import annotations

from html import escape
from itertools import chain, islice
from pathlib import PurePath
from time import localtime, strftime, time
from typing import TYPE_CHECKING, Any

from berrymq.printable import printable

from .links import link_lines
from .tables import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berrymq import Link, Message, NodeInfo, Subscription

    from .cells import Cells

# Identifiers of one node that a table shows.
MOST_FOLLOWS = 8
# Arguments of a message that its table shows, and the characters of all of them in plain text.
MOST_ARGUMENTS = 100
LONGEST_PAYLOAD = 1000
# Pictures below its table, and their greatest height in pixels.
MOST_PICTURES = 5
PICTURE_HEIGHT = 96


def message_line(message: Message) -> str:
    """Return a message as one line of text, for terminals: time, identifier, arguments, source.

    As `%follow` prints it in a terminal; the time is local.
    """
    from .widgets.render import arguments, shown

    payload = arguments(message.args, message.kwargs)
    source = f"  (from {shown(message.source)})" if message.source else ""
    past = "  (past)" if message.past else ""
    return f"{strftime('%H:%M:%S', localtime(message.sent_at))} {shown(message.id)} {payload}{source}{past}"


def print_value(message: Message, printer: Any, cycle: bool) -> None:  # noqa: ARG001 - IPython's signature
    """Print a message as the value of a cell: like its `repr`, but short, whatever it carries.

    Args:
        message: the value of the cell.
        printer: IPython's; text is appended to it.
        cycle: whether it is part of itself, which a message is not.
    """
    from .widgets.render import arguments, summary

    payload = arguments(message.args, message.kwargs, LONGEST_PAYLOAD)
    source = f" from {summary(message.source)}" if message.source is not None else ""
    printer.text(f"<Message({', '.join(filter(None, [summary(message.id), payload]))}){source}>")


def message_html(message: Message) -> str:
    """Return a message as HTML."""
    from .widgets.kinds import picture_of
    from .widgets.render import shown, summary

    named = chain(((f"[{index}]", value) for index, value in enumerate(message.args)), message.kwargs.items())
    items = [(shown(name), value) for name, value in islice(named, MOST_ARGUMENTS)]
    rows = [(name, summary(value)) for name, value in items]
    drawn = ((name, picture) for name, value in items if (picture := picture_of(value)) is not None)
    pictures = "".join(
        f"<div><small>{escape(name)}</small> {picture.html(PICTURE_HEIGHT)}</div>"
        for name, picture in islice(drawn, MOST_PICTURES)
    )
    more = len(message.args) + len(message.kwargs) - len(rows)
    if more:
        rows.append(("…", f"{more:,} more"))
    sent = strftime("%H:%M:%S", localtime(message.sent_at))
    source = f" from {escape(printable(message.source))}" if message.source else ""
    table = Table(("argument", "value"), rows).html() if rows else ""
    head = f"<code><b>{escape(printable(message.id))}</b></code> <small>{sent}{source}</small>"
    return f"<div>{head}{table}{pictures}</div>"


def link_html(link: Link) -> str:
    """Return a link as HTML."""
    return f"<div>{''.join(f'<div>{escape(line)}</div>' for line in link_lines(link))}</div>"


def print_link(link: Link, printer: Any, cycle: bool) -> None:  # noqa: ARG001 - IPython's signature
    """Print a link as the value of a cell."""
    printer.text(link_lines(link)[0])


class Links:
    """The links of this process, the nodes behind them, and what hubs hold: the value of `%links`.

    A snapshot: it does not change after `%links`.

    Args:
        links: of this process.
        node: the name of the only node to show, with all that it follows.
    """

    def __init__(self, links: Sequence[Link], node: str | None = None) -> None:
        self.links = [links_entry(link, node) for link in links]

    def __repr__(self) -> str:
        if not self.links:
            return "not linked; %link joins a hub"
        return "\n\n".join(
            "\n\n".join(["\n".join(lines), *[table.text() for table in tables]])
            for lines, tables in self.links
        )

    def _repr_html_(self) -> str:
        if not self.links:
            return "<div>not linked; <code>%link</code> joins a hub</div>"
        return "".join(
            f"<div>{''.join(f'<div>{escape(line)}</div>' for line in lines)}"
            f"{''.join(table.html() for table in tables)}</div>"
            for lines, tables in self.links
        )


def links_entry(link: Link, node: str | None) -> tuple[list[str], list[Table]]:
    """Return the lines about a link, and the tables of its nodes and of what the hub holds for its room.

    For a hub that does not answer the nodes are those that were known last, which a line says.
    """
    tables = [node_table(link.nodes(), node)]
    if node is None and link.leads_to_hub:
        from .hub_tables import hub_tables

        tables += hub_tables(link)
    lines = link_lines(link)
    silent = link.silent_seconds
    if silent:
        since = strftime("%H:%M:%S", localtime(time() - silent))
        state = "no answer" if link.state == "linked" else "no connection"
        lines.append(f"{state} since {since} ({silent:.0f} s); the nodes are those of that time")
    return lines, tables


def node_table(nodes: Sequence[NodeInfo], only: str | None = None) -> Table:
    """Return a table of nodes; with `only`, of those with that name and all that they follow.

    Args:
        nodes: of one link.
        only: the name of those to show; None for all.
    """
    rows = []
    for node in nodes:
        if only is not None and node.name != only:
            continue
        kind = "here" if node.here else "hub" if node.hub else ""
        shown = node.follows if only is not None else node.follows[:MOST_FOLLOWS]
        follows = ", ".join(shown)
        if len(shown) < len(node.follows):
            follows += f" and {len(node.follows) - len(shown)} more"
        rows.append((node.name, kind, follows))
    return Table(
        ("node", "", "follows"), rows, empty=f"no node is called '{only}'" if only else "there are no nodes"
    )


class Followers:
    """The followers in this process: the value of `%followers`.

    A snapshot as well, so that an old output does not change.
    """

    def __init__(self, subscriptions: Sequence[Subscription], cells: Cells) -> None:
        rows = [
            (subscription.follows, subscription.name, origin(subscription, cells))
            for subscription in subscriptions
        ]
        self.table = Table(("follows", "follower", "from"), rows, empty="no followers here")

    def __repr__(self) -> str:
        return self.table.text()

    def _repr_html_(self) -> str:
        return self.table.html()


def origin(subscription: Subscription, cells: Cells) -> str:
    """Return where a follower comes from: the cell that registered it, else its file.

    Of a follower that was registered from neither, this is "".
    """
    cell = cells.origin(subscription)
    if cell is not None:
        return f"cell In [{cell.number}]"
    return PurePath(subscription.where or "").name


def printed(subscription: Subscription, printer: Any, cycle: bool) -> None:  # noqa: ARG001 - IPython's signature
    """Print a subscription as the value of a cell, without the path of a cell's temporary file."""
    state = "" if subscription.active else ", cancelled"
    printer.text(f"<{subscription.name} follows {subscription.follows}{state}>")
