"""`%link`, `%unlink` and `%links`: magics that join others."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from IPython.core.error import UsageError
from IPython.core.magic import Magics, magics_class

from .arguments import one_line
from .display import Links
from .magic import argument, magic
from .options import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from berrymq import Link

Place = Literal["thread", "main"]


@magics_class
class LinkingMagics(Magics):
    """The magics that link this process with others."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, deliver_on: Callable[[Place], None]) -> None:
        super().__init__(shell)
        self._deliver_on = deliver_on
        self._made: list[Link] = []

    @magic(
        "line",
        argument("--room", metavar="NAME", help="hear and be heard by nodes in this room alone"),
        argument("--name", help="what others see as the source of messages; default: the notebook's name"),
        argument(
            "--deliver",
            choices=("thread", "main"),
            help="where followers get messages of others: at once, on a thread (default), "
            "or on the main thread between cells",
        ),
        argument(
            "url", nargs="?", help="where the hub is; default: it is found, and started if there is none"
        ),
    )
    def link(self, line: str) -> Link:
        """Join a hub, so that messages reach other notebooks and programs, and theirs this one.

        Without a URL the hub is found: this notebook's Jupyter server, else one that runs on this machine,
        else one is started. ::

            %link
            %link --room team-a
            %link https://example.org/user/me/berrymq/
        """
        options = parse(self.link, line, "%link --room team-a")
        import berrymq

        name = options.name or self._notebook()
        try:
            link = berrymq.link(options.url, name=name, room=options.room)
        except (berrymq.LinkError, ValueError) as error:
            hint = "; %link without a URL finds a hub, or starts one" if options.url else ""
            raise UsageError(one_line(error) + hint) from None
        if link not in self._made:
            self._made.append(link)
        if options.deliver is not None:
            self._deliver_on(options.deliver)
        return link

    @magic("line", argument("url", nargs="?", help="which link to leave; default: all of them"))
    def unlink(self, line: str) -> None:
        """Leave the hub: messages no longer reach others, nor theirs this notebook. Followers stay."""
        options = parse(self.unlink, line, "%unlink")
        import berrymq

        try:
            found = [link for link in berrymq.links() if options.url is None or link.leads_to(options.url)]
        except berrymq.LinkError as error:
            raise UsageError(one_line(error)) from None
        if not found:
            where = "" if options.url is None else " that leads there"
            raise UsageError(f"there is no link{where}; %links shows those there are")
        dropped = sum([link.close() for link in found])
        if dropped:
            sys.stderr.write(f"{dropped} messages did not get through before the link was closed\n")

    @magic("line", argument("node", nargs="?", help="the name of a node, to see all that it follows"))
    def links(self, line: str) -> Links:
        """Show the links of this notebook: where they lead, how that was found, and who is there."""
        options = parse(self.links, line, "%links")
        import berrymq

        return Links(berrymq.links(), options.node)

    def close(self) -> None:
        """Leave everything that `%link` has joined; end the thread of the links if nobody else uses it."""
        made, self._made = self._made, []
        for link in made:
            link.close()
        loop = sys.modules.get("berrymq.bridge.loop")
        if loop is not None:
            loop.end_if_idle()

    def _notebook(self) -> str | None:
        """Return the notebook's name where only the namespace tells it: VS Code."""
        path = self.shell.user_ns.get("__vsc_ipynb_file__")
        if not isinstance(path, str):
            return None
        from berrymq.bridge.discovery.naming import default_node_name

        return default_node_name(notebook=path)
