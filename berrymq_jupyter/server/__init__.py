"""The Jupyter-server extension: starts the hub and relays to it. Enabled by installing the package.

``app`` is the extension; ``hub_supervisor`` finds and starts the hub and keeps it running, over the
connection of ``hub_socket``; ``handlers`` relay calls and WebSockets to it; ``page``, ``state`` and ``rates``
serve the page that shows it.
All of it runs on the event loop of the server.
"""

from .app import BerryMQHub

__all__ = ["BerryMQHub", "_jupyter_server_extension_points"]


def _jupyter_server_extension_points() -> list[dict[str, object]]:
    """Return the extension, for a server that loads this module by its own name."""
    return [{"module": "berrymq_jupyter.server", "app": BerryMQHub}]
