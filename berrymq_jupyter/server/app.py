"""The hub that lives in a Jupyter server.

Its kernels reach it on a port of its own on loopback, with a secret of its own, both told to them by
environment variables; so it makes no difference to them what the server's token, password, certificate or
``base_url`` is. Other programs reach it below ``<base_url>berrymq/``, where Jupyter decides who may.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Unicode

from berrymq.bridge.discovery.connection_file import ConnectionFile, publish
from berrymq.bridge.node import Node
from berrymq.bridge.server.listener import Listener

from .handlers import LinkHandler, RpcHandler

if TYPE_CHECKING:
    import asyncio

__all__ = ["BerryMQHub"]


class BerryMQHub(ExtensionApp):
    """Configured as ``c.BerryMQHub.…`` in ``jupyter_server_config.py``."""

    name = "berrymq"
    extension_url = "/berrymq/"

    enabled = Bool(True, help="Whether this server is a hub.").tag(config=True)
    hub_name = Unicode(help="What the nodes see as its name; made of the server's port unless told.").tag(
        config=True
    )

    node: Node | None = None
    _connection_file: ConnectionFile | None = None

    def initialize_settings(self) -> None:
        """Make the hub and let it listen, before the first kernel starts."""
        if not self.enabled:
            return
        server: Any = self.serverapp
        loop: asyncio.AbstractEventLoop = server.io_loop.asyncio_loop
        name = self.hub_name or f"jupyter-{server.port}"
        node = Node(name=name, hub=True, loop=loop)
        node.listener = listener = Listener(node)
        listener.start("localhost")
        self.node = node
        os.environ["BERRYMQ_HUB_URL"] = listener.url
        os.environ["BERRYMQ_HUB_TOKEN"] = node.access_token
        self._connection_file = publish(
            url=listener.url, access_token=node.access_token, name=name, kind="jupyter"
        )
        self.log.info("berryMQ hub %s listens at %s", name, listener.url)

    def initialize_handlers(self) -> None:
        """The same below the server's own address."""
        if self.node is None:
            return
        arguments = {"node": self.node}
        self.handlers.extend(
            [
                (r"/berrymq/ws", LinkHandler, arguments),
                (r"/berrymq/(?:rpc|JSON)", RpcHandler, arguments),
            ]
        )

    async def stop_extension(self) -> None:
        """The server ends."""
        if self._connection_file is not None:
            self._connection_file.remove()
        if self.node is not None:
            await self.node.close()
