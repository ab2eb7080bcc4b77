"""The Jupyter-server extension: starts the hub and relays to it. Enabled by installing the package."""

from .app import BerryMQHub

__all__ = ["BerryMQHub", "_jupyter_server_extension_points"]


def _jupyter_server_extension_points() -> list[dict[str, object]]:
    return [{"module": "berrymq_jupyter.server", "app": BerryMQHub}]
