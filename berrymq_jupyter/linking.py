"""`%link`, `%unlink` and `%links`: magics that link this process with others.

The magics act on the links of the default bus, so they and `berrymq.link` see the same ones. The docstring of
a magic is the help that `%link?` shows.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from IPython.core.error import UsageError
from IPython.core.magic import Magics, magics_class

from berrymq.printable import printable

from .arguments import one_line
from .errors import as_one_line
from .formatters import Links
from .links import count
from .magic import argument, magic
from .options import parse

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from berrymq import Link

HOW_TO_CHANGE = "%link URL changes the hub, %link --room the room; %unlink ends the link"

DeliveryThread = Literal["thread", "main"]
"""The values of ``--deliver``."""


@magics_class
class LinkingMagics(Magics):
    """The magics that link this process with others.

    Args:
        shell: is extended by them.
        deliver_on: chooses the thread that runs followers of remote messages.
    """

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, deliver_on: Callable[[DeliveryThread], None]) -> None:
        super().__init__(shell)
        self._deliver_on = deliver_on
        self._made: list[Link] = []
        """The links that `%link` has made, closed ones among them."""

    @magic(
        "line",
        argument("--room", metavar="NAME", help="exchange messages only with nodes in this room"),
        argument("--name", help="what others see as the source of messages; default: the notebook's name"),
        argument(
            "--deliver",
            choices=("thread", "main"),
            metavar="THREAD",
            help="where followers of remote messages run: 'thread' (default), at once, or 'main', on the "
            "main thread between cells",
        ),
        argument(
            "--strict",
            action="store_true",
            help="make it an error to send a value that can't cross; default: others get an Opaque instead",
        ),
        argument(
            "url", nargs="?", help="where the hub is; default: it is found, and started if there is none"
        ),
    )
    def link(self, line: str) -> Link:
        """Join a hub, so that messages reach other notebooks and programs, and theirs this one.

        Without a URL it is the hub of this machine, which is started if there is none yet. While linked,
        %link URL moves to the hub there, and %link --room to a room of the same hub; the former link is
        closed. Without --room the notebook stays in the room that it is in; %link --room '' leaves it.

        Examples:
            %link
            %link --room team-a
            %link https://example.org/user/me/berrymq/
        """
        options = parse(self.link, line, "%link --room team-a")
        if options.room is None:
            options.room = next((link.room for link in self._made if link.state != "closed"), None)
        options.room = options.room or None
        import berrymq

        before = berrymq.links()
        try:
            link = berrymq.link(
                options.url, name=self._name(options), room=options.room or "", strict=options.strict or None
            )
        except (berrymq.LinkError, ValueError) as error:
            hint = "; %link without a URL finds a hub, or starts one" if options.url else ""
            raise UsageError(one_line(error) + hint) from None
        except KeyboardInterrupt as interrupt:
            as_one_line(interrupt, "the link was not made")
            raise
        existing = link if link in before else next((one for one in before if is_same_link(one, link)), None)
        if existing is None:
            self._close_former(link)
            self._made.append(link)
        else:
            link = keep_existing(existing, link)
        if options.deliver is not None:
            self._deliver_on(options.deliver)
        return link

    def _name(self, options: Namespace) -> str | None:
        """Return the name to link under: in another room the former one; None for the default.

        Raises:
            UsageError: the notebook is linked in this room under another name.
        """
        from berrymq import default_bus, links

        for link in links():
            if link.node.bus is default_bus and link.room == options.room:
                if options.name and options.name != link.name:
                    raise UsageError(
                        f"this notebook is linked already, as {link.name!r}; %unlink first to change its name"
                    )
                return None
        former = next((link.name for link in self._made if link.state != "closed"), None)
        return options.name or former or self._notebook()

    def _close_former(self, link: Link) -> None:
        """Close the link that `%link` has made before, to another hub or in another room."""
        for former in self._made:
            if former.state != "closed":
                is_same_hub = leads_to_same(former, link) or (former.asked is None and link.asked is None)
                name_of = room_of if is_same_hub else url_of
                sys.stdout.write(f"moved from {name_of(former)} to {name_of(link)}\n")
                close_link(former)

    @magic("line", argument("url", nargs="?", help="which link to leave; default: all of them"))
    def unlink(self, line: str) -> None:
        """Leave the hub: messages no longer reach others, nor theirs this notebook. Followers stay.

        Examples:
            %unlink
            %unlink https://example.org/user/me/berrymq/
        """
        options = parse(self.unlink, line, "%unlink")
        import berrymq

        try:
            found = [link for link in berrymq.links() if options.url is None or link.leads_to(options.url)]
        except berrymq.LinkError as error:
            raise UsageError(one_line(error)) from None
        if not found:
            where = "" if options.url is None else " that leads there"
            raise UsageError(f"there is no link{where}; %links shows those there are")
        for link in found:
            close_link(link)

    @magic("line", argument("node", nargs="?", help="the name of a node, to see all that it follows"))
    def links(self, line: str) -> Links:
        """Show the links of this notebook: where they lead, how that was found, and the nodes there.

        Examples:
            %links
            %links "my notebook"
        """
        options = parse(self.links, line, "%links")
        import berrymq

        return Links(berrymq.links(), options.node)

    def close(self) -> bool:
        """Close the links that `%link` made; return whether any was open."""
        made = [link for link in self._made if link.state != "closed"]
        self._made = []
        for link in made:
            link.close()
        bridge = sys.modules.get("berrymq.bridge.runtime")
        if bridge is not None:
            bridge.runtime().end_if_idle()  # unless others use the thread of the links
        return bool(made)

    def _notebook(self) -> str | None:
        """Return the notebook's name where only a variable has it: in VS Code."""
        path = self.shell.user_ns.get("__vsc_ipynb_file__")
        if not isinstance(path, str):
            return None
        from berrymq.bridge.discovery.naming import default_node_name

        return default_node_name(notebook=path)


def keep_existing(existing: Link, link: Link) -> Link:
    """Keep the existing link rather than a second one to another name of its address; print which.

    Args:
        existing: open before `%link` ran.
        link: what `berrymq.link` has returned, perhaps the same.
    """
    if link is existing:
        link._holders -= 1  # a magic has no `with` block that would end
    else:
        existing.asked = existing.asked or link.asked
        link.close()
    state = "" if existing.state == "linked" else "; the connection is cut and will be restored"
    sys.stdout.write(f"already linked as {existing.name!r}{state}\n{HOW_TO_CHANGE}\n")
    return existing


def close_link(link: Link) -> None:
    """Close a link, and print how many messages were lost."""
    dropped = link.close()
    if dropped:
        sys.stderr.write(f"{count(dropped, 'message')} did not get through before the link was closed\n")


def room_of(link: Link) -> str:
    """Return a description of the room of a link."""
    return f"the room {link.room!r}" if link.room else "no room"


def url_of(link: Link) -> str:
    """Return a link's address and room, as text."""
    return printable(f"{link.url}{f' in {room_of(link)}' if link.room else ''}")


def is_same_link(one: Link, other: Link) -> bool:
    """Return whether two links of one node lead to the same address."""
    return one.node is other.node and leads_to_same(one, other)


def leads_to_same(one: Link, other: Link) -> bool:
    """Return whether two links lead to the same address, under any of its names."""
    return bool(one.url) and other.leads_to(one.url)
