"""One accepted connection: HTTP requests, calls over a WebSocket and, once it is a link, frames.

The states of a connection, each with what it accepts:

    HTTP           requests with the access token in ``Authorization``; `screen` refuses by the head alone
    WebSocket      ``hello`` and ``authenticate``, in messages of 4 KiB; or the token came with the upgrade
    authenticated  any call; ``interconnect`` makes it
    a link         frames, read by `Router.receive`; calls still come here

What an unauthenticated peer can make this process do is bounded: one guess of the token for each connection,
small messages, no method but the open ones.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from berrymq.bridge.access_token import bearer_token, same_token
from berrymq.bridge.errors import RpcError
from berrymq.bridge.node.downloads import PATH
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import frames, handshake, jsonrpc
from berrymq.bridge.protocol.events import CloseCode, Closed, Request, Text
from berrymq.bridge.protocol.frames import CONTROL, NUMBERED
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.jsonrpc import Call
from berrymq.bridge.protocol.limits import MAX_CALLS_IN_FLIGHT

from .history_methods import methods
from .host_and_origin import check_host, check_origin
from .methods import OPEN_METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.protocol.events import Event, Refusal
    from berrymq.bridge.transport.channel import Channel

    from .server import Server

__all__ = ["Conversation"]

MAX_BATCH_ANSWER_BYTES = 4 * 1024 * 1024
"""The size of the answers to a JSON-RPC batch from which its other calls are refused. A batch of a thousand
calls that each return history would otherwise make an answer of gigabytes."""

PART_BYTES = 1024 * 1024
"""The size of a part of a download."""

HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
"""Of every response: it may hold payloads, which no cache is to store and no browser is to interpret."""
CONTENT_TYPE = ("Content-Type", "application/json")


class _InHand:
    """A call, or the calls of a batch, that run one after another."""

    __slots__ = ("answers", "calls", "is_answered", "is_batch", "is_late", "remaining", "respond", "size")

    def __init__(
        self, calls: list[Any], size: int, respond: Callable[[bytes | None], object], *, is_batch: bool
    ) -> None:
        self.calls = calls
        self.remaining = iter(calls)
        self.is_batch = is_batch
        self.respond = respond
        """Called once, with None if there is nothing to answer."""
        self.answers: list[bytes] = []
        """Those of the calls that are done."""
        self.size = size
        """The bytes of the text."""
        self.is_answered = False
        """Whether the present call is done."""
        self.is_late = False
        """Whether it was left unanswered when it returned."""


class Conversation:
    """The server's side of one connection. Used on the loop alone.

    A call may be answered at once or later (`jsonrpc.Later`); until then its bytes are counted for the
    budget, and when the connection ends first it is cancelled.

    Args:
        server: has accepted it.
    """

    channel: Channel

    def __init__(self, server: Server) -> None:
        self.server = server
        self.authenticated = False
        """The other side has proved that it knows the access token."""
        self.peer: Peer | None = None
        self._has_ended = False
        self.is_websocket = False
        """It was upgraded."""
        self._refused = False
        """A wrong token was shown; the connection is being closed."""
        self._nonces: tuple[str, str] | None = None
        """The client's and the server's, between ``hello`` and ``authenticate``."""
        self._calls = 0
        """The number of unanswered calls; a batch counts as one."""
        self._after_reply: list[Callable[[], object]] = []
        """What is to be done when the present answer was written, such as attaching the link that it
        promises."""
        self._waiting: set[jsonrpc.Later] = set()
        """Results that are to be cancelled with the connection."""
        self._in_hand: dict[_InHand, int] = {}
        """What is unanswered, with its bytes that are counted."""

    def on_event(self, event: Event) -> None:
        """Process an event.

        Called by the channel, on the thread that reads, without a lock. A link's events go to
        `Router.receive` first.
        """
        if isinstance(event, Text):
            self._handle_text(event.data)
        elif isinstance(event, Request):
            self._handle_request(event)
        elif isinstance(event, Closed):
            self._handle_end(event)

    @property
    def is_busy(self) -> bool:
        """Whether a call is unanswered."""
        return self._calls > 0

    # -- HTTP ------------------------------------------------------------------------------------------------

    def screen(self, request: Request) -> Refusal | None:
        """Check the head of a request, before its body arrives; return the response if it is refused.

        In this order: Host and Origin, so that a page of a browser learns nothing, not even whether a token
        is right; the token; path, method and type. The text of a refusal names the mistake and what is
        accepted instead.
        """
        hosts = request.all("host")
        policy = self.server.policy
        refusal = check_host(hosts, policy) or check_origin(request.all("origin"), hosts, policy)
        if refusal is not None:
            return self._refusal(403, refusal)
        token = next(iter(request.all("authorization")), None)
        if token is not None and not same_token(bearer_token(token), self.server.access_token):
            return self._refusal(401, "wrong access token")
        found = self._screen_upgrade(request) if request.path == "/ws" else self._screen_call(request, token)
        if found is None and token is not None and not self._let_in():
            return self._refusal(503, self.server.overflow_text)
        return found

    def _screen_upgrade(self, request: Request) -> Refusal | None:
        """Without a token too: the handshake follows over the WebSocket."""
        if request.method != "GET":
            return self._refusal(405, "GET upgrades to a WebSocket here", [("Allow", "GET")])
        if request.all("content-length") or request.all("transfer-encoding"):
            return self._refusal(400, "a request to upgrade has no body")
        return None

    def _screen_call(self, request: Request, token: str | None) -> Refusal | None:
        """``/`` and ``/JSON`` are other names of ``/rpc``."""
        is_download = request.path.startswith(PATH)
        if not is_download and request.path not in ("/", "/rpc", "/JSON"):
            return self._refusal(404, "there is nothing here")
        if token is None:
            return self._refusal(401, "show the access token, in 'Authorization: Bearer ...'")
        if is_download:
            if request.method not in ("GET", "HEAD"):
                return self._refusal(405, "GET downloads a buffer", [("Allow", "GET, HEAD")])
            return None
        if request.method != "POST":
            return self._refusal(405, "POST a JSON-RPC request", [("Allow", "POST")])
        content_type = next(iter(request.all("content-type")), "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            return self._refusal(415, "Content-Type must be application/json")
        return None

    def _refusal(self, status: int, reason: str, headers: list[tuple[str, str]] | None = None) -> Refusal:
        """Return a response with a JSON-RPC error as its body, and count it."""
        self.server.note_refusal(reason)
        code = {401: jsonrpc.NOT_ALLOWED, 403: jsonrpc.NOT_ALLOWED, 503: jsonrpc.OVERFLOW}.get(
            status, jsonrpc.INVALID_REQUEST
        )
        body = jsonrpc.failure(None, RpcError(code, reason))
        return status, [*HEADERS, *(headers or []), CONTENT_TYPE], body

    def _handle_request(self, request: Request) -> None:
        if request.path.startswith(PATH):
            self._answer_download(request.path)
            return
        if request.path != "/ws":
            self._answer_request(request.body)
            return
        self.is_websocket = True
        self.channel.act(lambda connection: connection.upgrade(request))
        if self.authenticated:
            self.channel.act(lambda connection: connection.trust())

    def _answer_request(self, body: bytes) -> None:
        """Run the call in the body of a POST; a notification is answered with 204."""

        def respond(answer: bytes | None) -> None:
            status, kind = (204, []) if answer is None else (200, [CONTENT_TYPE])
            self.channel.act(lambda connection: connection.respond(status, [*HEADERS, *kind], answer or b""))

        self._run(body, respond)

    def _answer_download(self, path: str) -> None:
        found = self.server.router.downloads.find(path)
        if found is None or found.memory.read(0, 1) is None:
            body = jsonrpc.failure(None, RpcError(jsonrpc.INVALID_REQUEST, "this buffer is gone"))
            self.channel.act(lambda connection: connection.respond(404, [*HEADERS, CONTENT_TYPE], body))
            return

        def read(place: int) -> bytes | None:
            return found.memory.read(found.offset + place, min(PART_BYTES, found.size - place))

        headers = [*HEADERS, ("Content-Type", "application/octet-stream")]
        self.channel.produce(self.channel.connection.stream(200, headers, found.size, read))

    # -- authentication --------------------------------------------------------------------------------------

    def greet(self, nonce: str) -> dict[str, Any]:
        """Return this side's proof that it knows the access token.

        The proof is made with both nonces and the port, so it can't be replayed to another server, and
        reveals nothing of the token.
        """
        server = self.server
        self._nonces = nonce, handshake.new_nonce()
        proof = handshake.server_proof(server.access_token, *self._nonces, server.port)
        return {
            "nonce": self._nonces[1],
            "proof": proof,
            "port": server.port,
            "id": server.router.id,
            "hub": server.router.is_hub,
        }

    def admit(self, proof: str | None, access_token: str | None) -> bool:
        """Authenticate the other side; end the connection if it fails.

        Args:
            proof: the client's proof, after ``hello``.
            access_token: the token itself, instead.

        Raises:
            RpcError: it succeeds, but there are too many connections; this one ends as well.

        Returns:
            Whether it is authenticated now.
        """
        server = self.server
        if self._refused:  # one guess per connection
            return False
        if access_token is not None:
            knows = same_token(access_token, server.access_token)
        elif proof is not None and self._nonces is not None:
            expected = handshake.client_proof(server.access_token, *self._nonces, server.port)
            knows = handshake.same_proof(proof, expected)
        else:
            knows = False
        self._nonces = None
        if knows and not self._let_in():
            text = self.server.overflow_text
            self._after_reply.append(lambda: self.channel.close(CloseCode.TRY_AGAIN_LATER, text))
            raise RpcError(jsonrpc.OVERFLOW, text)
        if knows:
            self.channel.act(lambda connection: connection.trust())
        else:
            self._refused = True
            server.note_refusal("wrong access token")
            self._after_reply.append(
                lambda: self.channel.close(CloseCode.POLICY_VIOLATION, "wrong access token")
            )
        return knows

    def _let_in(self) -> bool:
        """Return whether the connection is authenticated, or becomes it; False if there are too many."""
        if not self.authenticated and self.server.admit_client(self):
            self.authenticated = True
        return self.authenticated

    # -- calls -----------------------------------------------------------------------------------------------

    def _handle_text(self, data: bytes) -> None:
        """A frame that arrives here, and not at a router, belongs to no link, and closes the connection."""
        if not self.authenticated:
            self._run(data, self._write)
            return
        try:
            envelope = frames.parse(data)
        except FrameError:
            self._run(data, self._write)  # a batch, or what is answered by an error
            return
        method = envelope.method
        is_call = envelope.id is not UNSET and method == "ask"  # a frame of that name is a notification
        if method is UNSET or (method not in NUMBERED and method not in CONTROL) or is_call:
            self._run(data, self._write)
        elif envelope.id is not UNSET:
            self._write(
                jsonrpc.failure(envelope.id, RpcError(jsonrpc.INVALID_REQUEST, f"{method} has no id"))
            )
        else:
            self._break(f"{method}: no link was made over this connection")

    def _run(self, data: bytes, respond: Callable[[bytes | None], object]) -> None:
        """Run a call, or the calls of a batch one after another, and respond when all are done.

        Calls of a batch run one after another, each when the former is answered: so ``twitter`` and then
        ``ask`` keep their order, and a batch uses no more memory than its answers do.

        Args:
            data: the text.
            respond: called once, with None if there is nothing to answer.
        """
        try:
            calls, is_batch = jsonrpc.parse(data)
        except RpcError as error:
            respond(jsonrpc.failure(None, error))
            return
        if self._calls >= MAX_CALLS_IN_FLIGHT:
            text = f"more than {MAX_CALLS_IN_FLIGHT} calls in flight on one connection"
            id = None if is_batch else getattr(calls[0], "id", None)
            respond(jsonrpc.failure(id, RpcError(jsonrpc.TOO_LARGE, text)))
            return
        self._calls += 1
        self._proceed(_InHand(calls, len(data), respond, is_batch=is_batch))

    def _proceed(self, one: _InHand) -> None:
        """Run the calls that remain, up to one that is answered later."""
        for call in one.remaining:
            answered = sum(map(len, one.answers))
            one.is_answered = one.is_late = False
            self._call(call, partial(self._take, one), one.is_batch, answered)
            if not one.is_answered:
                one.is_late = True
                self._keep(one, one.size + answered)
                return
        self._keep(one, 0)
        self._calls -= 1
        answers = one.answers
        one.respond(None if not answers else jsonrpc.batch(answers) if one.is_batch else answers[0])
        after, self._after_reply = self._after_reply, []
        for function in after:
            function()

    def _take(self, one: _InHand, answer: bytes | None) -> None:
        """Take the answer to the present call, and go on if it came late."""
        one.is_answered = True
        if answer is not None:
            one.answers.append(answer)
        if one.is_late:
            self._proceed(one)

    def _keep(self, one: _InHand, size: int) -> None:
        """Count the bytes of unanswered calls."""
        kept = self._in_hand.pop(one, 0)
        if size:
            self._in_hand[one] = size
        if size != kept:
            self.channel.keep(size - kept)

    def _call(
        self, call: Call | RpcError, take: Callable[[bytes | None], None], is_batch: bool, answered: int
    ) -> None:
        """Run one call, or refuse it.

        Args:
            call: the call, or what is wrong with it.
            take: called once with the answer; None for a notification.
            is_batch: whether it is part of a batch.
            answered: the bytes of the answers before it.
        """
        refusal = None
        if isinstance(call, Call):
            if not self.authenticated and call.method not in OPEN_METHODS:
                refusal = RpcError(
                    jsonrpc.NOT_ALLOWED, "show the access token first: hello, then authenticate"
                )
            elif is_batch and call.method == "interconnect":
                refusal = RpcError(jsonrpc.INVALID_REQUEST, "interconnect can't be part of a batch")
            elif answered >= MAX_BATCH_ANSWER_BYTES:
                refusal = RpcError(
                    jsonrpc.TOO_LARGE, "the answers to this batch are too large: make this call again"
                )
            if refusal is not None:
                take(None if call.is_notification else jsonrpc.failure(call.id, refusal))
                return
        try:
            methods.call(self, call, take)
        except Exception:  # noqa: BLE001 - a mistake of ours: nothing of it goes over the network
            peers_log.exception("a call of the wire method %s failed", getattr(call, "method", ""))
            internal = RpcError(jsonrpc.INTERNAL_ERROR, "internal error")
            take(
                None
                if isinstance(call, Call) and call.is_notification
                else jsonrpc.failure(getattr(call, "id", None), internal)
            )

    def _write(self, answer: bytes | None) -> None:
        if answer is not None:
            self.channel.send_text(answer)

    # -- a link ----------------------------------------------------------------------------------------------

    def interconnect(  # noqa: PLR0917 - the parameters of the call
        self,
        name: str,
        key: str,
        id: str | None,
        room: str | None,
        ttl: float,
        resume: tuple[str, int] | None,
        memory: tuple[int, int, int, str, int] | None,
        pull: bool,
    ) -> dict[str, Any]:
        """Turn this connection into a link.

        The link is attached after the answer was written, since frames may follow it immediately.

        Args:
            name: the node's name.
            key: its secret.
            id: its id, where the key is for this link alone.
            room: its room.
            ttl: seconds for which the link may be disconnected before it expires.
            resume: the link to be resumed: our id, and the number of the last frame received.
            memory: a claim on shared memory of the node, to be tried.
            pull: whether the node pulls buffers.
        """
        if not self.is_websocket:
            raise RpcError(jsonrpc.INVALID_REQUEST, "interconnect needs a WebSocket: connect to /ws")
        if self.peer is not None:
            raise RpcError(jsonrpc.INVALID_REQUEST, "this connection is a link already")
        peer, answer, received = self.server.link(name, key, id, room, ttl, resume)
        offers = peer.stream.offers
        offers.shares_memory = answer["memory"] = self.server.router.memories.can_open(memory)
        offers.pulls, answer["pull"] = pull, True
        self.peer = peer
        self._after_reply.append(lambda: self._attach(peer, received))
        return answer

    def _attach(self, peer: Peer, received: int | None) -> None:
        """Attach the link to this connection, unless that has ended since."""
        if self._has_ended or self.channel.closed:
            with self.server.router.lock:
                self.server.router.start_expiry(peer)
            return
        former = peer.channel
        try:
            self.server.router.attach(peer, self.channel, received)
        except FrameError as error:
            self._break(str(error))
        if former is not None and former is not self.channel:
            former.close(CloseCode.NORMAL, "the node has reconnected")

    def _break(self, reason: str) -> None:
        peers_log.warning("a connection is closed: %r", reason[:200])
        peer = self.peer
        self.channel.close(CloseCode.PROTOCOL_ERROR, reason)
        if peer is not None:
            self.server.router.connection_lost(peer, self.channel, Closed())

    # -- the end ---------------------------------------------------------------------------------------------

    def wait_for(self, later: jsonrpc.Later) -> jsonrpc.Later:
        """Cancel a result if the connection ends before it."""
        self._waiting = {one for one in self._waiting if not one.is_done}
        self._waiting.add(later)
        return later

    def _handle_end(self, event: Closed) -> None:
        """Release what waits for the end, and close or detach the link.

        A close code of 1000 or 1001 ends it for good: the other side has left. Anything else is a cut, after
        which it may be resumed.
        """
        self._has_ended = True
        self.server.forget(self)
        for later in self._waiting:
            later.cancel()
            later.when_done(lambda _: None)
        self._waiting.clear()
        for one in self._in_hand:
            one.calls.clear()
            one.answers.clear()
        self._in_hand.clear()
        peer = self.peer
        if peer is None or peer.channel is not self.channel:
            return
        router = self.server.router
        if event.code in (CloseCode.NORMAL, CloseCode.GOING_AWAY):
            router.remove_peer(peer, "the other side has left")
        else:
            router.connection_lost(peer, self.channel, event)
