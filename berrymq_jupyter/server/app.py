"""The hub that lives in a Jupyter server.

Its kernels reach it on a port of its own on loopback, with a secret of its own, both told to them by
environment variables; so it makes no difference to them what the server's token, password, certificate or
``base_url`` is. Other programs reach it below ``<base_url>berrymq/``, where Jupyter decides who may. It works
on the I/O thread, beside the server's own loop.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Unicode

from berrymq.bridge.errors import LinkError
from berrymq.bridge.hub.joining import Joining
from berrymq.bridge.loop import io_loop, run
from berrymq.bridge.node import Node
from berrymq.bridge.server.listener import Listener, listen

from .crossing import answer_of
from .handlers import LinkHandler, RpcHandler
from .page import FILE_PATTERN, FileHandler, HubHandler, StateHandler
from .state import HubState

__all__ = ["BerryMQHub"]

SWITCH_SECONDS = 0.0005
"""For how long the threads of the server and of its hub keep each other waiting; Python's own value is 5 ms,
several times what most answers of the server take."""


class BerryMQHub(ExtensionApp):
    """Configured as ``c.BerryMQHub.…`` in ``jupyter_server_config.py``."""

    name = "berrymq"
    extension_url = "/berrymq/"

    enabled = Bool(
        True,
        help="Whether this server is a hub. If not, its kernels use the one that BERRYMQ_HUB_URL names, "
        "or find or start another one.",
    ).tag(config=True)
    hub_name = Unicode(help="What the nodes see as its name; made of the server's port unless told.").tag(
        config=True
    )

    alone = Bool(
        False, help="Whether this hub is not to link to the other hubs of this user on this machine."
    ).tag(config=True)

    node: Node | None = None
    _listener: Listener | None = None
    _joining: Joining | None = None
    _state: HubState | None = None
    _environment: Environment | None = None
    _switch_seconds: float | None = None

    def initialize_settings(self) -> None:
        """Make the hub and let it listen, before the first kernel starts."""
        if not self.enabled:
            return
        server: Any = self.serverapp
        node = Node(name=self.hub_name or "jupyter", hub=True, loop=io_loop())
        try:
            self._listener = run(listen(node))
        except LinkError as error:
            node.detach_bus()
            self.log.error("this server is no berryMQ hub: %s", error)  # noqa: TRY400 - it says all
            return
        self._switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(min(self._switch_seconds, SWITCH_SECONDS))
        self.node = node
        self._state = HubState(node)
        self._environment = Environment(BERRYMQ_HUB_URL=node.url, BERRYMQ_HUB_TOKEN=node.access_token)
        # For the command in JupyterLab that opens the page.
        server.web_app.settings.setdefault("page_config_data", {})["berrymqHub"] = "true"
        server.io_loop.add_callback(self._begin)

    async def _begin(self) -> None:
        """The server has its port now, and the loop runs."""
        node = self.node
        if node is None:
            return
        server: Any = self.serverapp
        name = "" if self.hub_name or server.sock or not server.port else f"jupyter-{server.port}"
        try:
            await answer_of(node.loop, self._publish(node, name))
        except LinkError as error:
            self.log.warning("only kernels of this server find its berryMQ hub: %s", error)
        self.log.info("berryMQ hub %s listens at %s", node.name, node.url)

    def initialize_handlers(self) -> None:
        """The same below the server's own address, and the page."""
        if self.node is None:
            return
        node = {"node": self.node}
        self.handlers.extend(
            [
                (r"/berrymq/?", HubHandler, node),
                (r"/berrymq/(?:rpc|JSON)", RpcHandler, node),
                (r"/berrymq/ws", LinkHandler, node),
                (r"/berrymq/state", StateHandler, {"state": self._state}),
                (rf"/berrymq/files/({FILE_PATTERN})", FileHandler),
            ]
        )

    async def stop_extension(self) -> None:
        """The server ends."""
        if self._environment is not None:
            self._environment.restore()
        node, self.node = self.node, None  # so that `_begin`, which may be yet to come, does nothing
        if node is not None:
            await answer_of(node.loop, self._close(node))
        if self._switch_seconds is not None:
            sys.setswitchinterval(self._switch_seconds)

    async def _publish(self, node: Node, name: str) -> None:
        """Give the hub its name, and let the processes of this user find it."""
        if name:
            node.rename(name)
        if self._listener is not None:
            file = self._listener.publish("jupyter")
            if not self.alone:
                self._joining = Joining(node, file.info)

    async def _close(self, node: Node) -> None:
        if self._joining is not None:
            await self._joining.close()
        if self._state is not None:
            self._state.close()
        await node.close()


class Environment:
    """Variables for the processes that this one starts from now on: kernels and terminals."""

    def __init__(self, **variables: str) -> None:
        self._former = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)

    def restore(self) -> None:
        """Put back what was there before."""
        for name, value in self._former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
