"""The Jupyter server extension: keep the hub running, and relay requests to it.

The hub is a process of its own, one for this user on this machine. Kernels and terminals of this server find
it by the directory of its connection file; their messages do not pass through this server. Only requests from
other machines and from the hub's page do, below ``<base_url>berrymq/``.
"""

from __future__ import annotations

import os
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool

from berrymq.bridge.discovery.runtime_directory import VARIABLE, RuntimeDirectoryError, runtime_directory

from .handlers import LinkHandler, RpcHandler
from .hub_supervisor import HeldHub
from .page import FILE_PATTERN, FileHandler, HubHandler, NewestHandler, StateHandler
from .state import HubState

__all__ = ["BerryMQHub"]


class BerryMQHub(ExtensionApp):
    """The extension; configured as ``c.BerryMQHub.…`` in ``jupyter_server_config.py``.

    Attributes:
        enabled: whether the hub is started and requests are relayed; a trait.
        hub: the connection to the hub; None when disabled, and after the end.
    """

    name = "berrymq"
    extension_url = "/berrymq/"

    enabled = Bool(
        True,
        help="Whether this server starts the hub of its user and passes on to it. If not, its kernels start "
        "it when they need it.",
    ).tag(config=True)

    hub: HeldHub | None = None
    _environment: Environment | None = None

    def initialize_settings(self) -> None:
        """Set the environment in which kernels find the hub, and start the hub in the background.

        Called by Jupyter before the loop runs. Without a private directory, kernels start a hub when they
        need it.
        """
        if not self.enabled:
            return
        server: Any = self.serverapp
        self.hub = HeldHub(self.log)
        try:
            self._environment = Environment(**{VARIABLE: str(runtime_directory())})
        except RuntimeDirectoryError as error:
            self.log.warning("kernels have no place where they could find the berryMQ hub: %s", error)
        # For the command in JupyterLab that opens the page.
        server.web_app.settings.setdefault("page_config_data", {})["berrymqHub"] = "true"
        server.io_loop.add_callback(self._begin)

    def _begin(self) -> None:
        """Start the hub, once the loop runs."""
        if self.hub is not None:
            self.hub.start()

    def initialize_handlers(self) -> None:
        """Add the handlers below the server's address."""
        if self.hub is None:
            return
        hub = {"hub": self.hub}
        state = {"state": HubState(self.hub.call)}
        self.handlers.extend(
            [
                (r"/berrymq/?", HubHandler, hub),
                (r"/berrymq/(?:rpc|JSON)", RpcHandler, hub),
                (r"/berrymq/ws", LinkHandler, hub),
                (r"/berrymq/state", StateHandler, state),
                (r"/berrymq/newest", NewestHandler, state),
                (rf"/berrymq/files/({FILE_PATTERN})", FileHandler),
            ]
        )

    async def stop_extension(self) -> None:
        """Release the hub when the server ends."""
        if self._environment is not None:
            self._environment.restore()
        hub, self.hub = self.hub, None  # a later call of `_begin` does nothing then
        if hub is not None:
            await hub.close()


class Environment:
    """Sets environment variables for processes started from now on: kernels and terminals.

    Args:
        variables: names and values.
    """

    def __init__(self, **variables: str) -> None:
        self._former = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)

    def restore(self) -> None:
        """Restore the former values."""
        for name, value in self._former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
