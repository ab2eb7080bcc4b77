"""The wire methods below ``<base_url>berrymq/``: Jupyter authenticates and authorises, the node answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado.web import HTTPError, authenticated

from berrymq.bridge.server.conversation import Conversation
from berrymq.bridge.server.sockets import ConversationSocket
from berrymq.bridge.websocket import MAX_FRAME_BYTES

from .crossing import Crossing, Inflow, answer_of, tell

if TYPE_CHECKING:
    from berrymq.bridge.node import Node

__all__ = ["AUTH_RESOURCE", "LinkHandler", "RpcHandler"]

AUTH_RESOURCE = "berrymq"
"""What an authorizer of the server is asked about."""


class RpcHandler(APIHandler):
    """``POST``: one JSON-RPC request or batch, and its answer."""

    auth_resource = AUTH_RESOURCE

    def initialize(self, node: Node) -> None:
        """Handed over by the route."""
        self.node = node
        self.conversation: Conversation | None = None

    def on_connection_close(self) -> None:
        """The asker has gone: what it waits for is left for the next."""
        if self.conversation is not None:
            tell(self.node.loop, self.conversation.closed)

    @authenticated
    @authorized
    async def post(self) -> None:
        """Answer the request in the body."""
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPError(415, reason="Content-Type must be application/json")
        if len(self.request.body) > MAX_FRAME_BYTES:
            raise HTTPError(413)
        self.conversation = Conversation(self.node, authenticated=True)
        answer = await answer_of(self.node.loop, self.conversation.answer(self.request.body))
        if answer is None:
            self.set_status(204)
            await self.finish()
            return
        await self.finish(answer)


class LinkHandler(JupyterHandler, ConversationSocket):
    """``GET``: a WebSocket for calls and links."""

    auth_resource = AUTH_RESOURCE

    def initialize(self, node: Node) -> None:
        """Handed over by the route."""
        self.node = node

    async def prepare(self, **_: object) -> None:
        """Refuse strangers outright: a page to log in at is of no use to a WebSocket."""
        await super().prepare(_redirect_to_login=False)

    @ws_authenticated
    async def get(self, *args: str, **kwargs: str) -> None:
        """Let in whom Jupyter lets in."""
        if not await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "execute", AUTH_RESOURCE)
        ):
            raise HTTPError(403)
        await ConversationSocket.get(self, *args, **kwargs)

    def open(self, *_: str, **__: str) -> None:
        """A connection has come; Jupyter has let it in."""
        self.begin(self.node, authenticated=True)
        self.conversation.transport = Crossing(self.transport, asyncio.get_running_loop())
        self._inflow = Inflow(self.node.loop, self.conversation.receive)

    def on_message(self, message: str | bytes) -> asyncio.Future[None] | None:
        """Something was said; it is read on when the hub has not too much to take."""
        return self._inflow.pass_on(message)

    def on_close(self) -> None:
        """The connection has ended."""
        tell(self.node.loop, self.conversation.closed)
