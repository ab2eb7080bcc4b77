"""A hub that follows a session: it does to a client what a real one does rarely, late or never.

What the session does not say, it does by itself as WIRE.md says: it proves the access token, acknowledges,
retransmits after a resume, answers pings and calls. All along it checks what the client sends: numbers,
acknowledgements, origins, sequence numbers, that the access token stays secret, and that only that is sent
which it follows.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import secrets
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from tests.conformance.matching import MismatchError, fill, match
from tests.conformance.sessions import Session
from tests.conformance.websocket_side import ServerSide

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.driving import Driver

LIMIT = 10.0
OTHER = "0123456789abcdef"
"""The id of a node that is made up."""
UNNUMBERED = {"ack"}
MAX_PIECE, MAX_PULLED, MAX_PULLS = 1 << 20, 16 << 20, 64
"""The most bytes of one pull, and of all that were not answered; and their number."""


def proof(token: str, side: str, client_nonce: str, server_nonce: str, port: int) -> str:
    """Return what a side proves."""
    text = f"berrymq {side} {client_nonce} {server_nonce} {port}"
    return hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest()


def node_id(key: str) -> str:
    """Return the public id of a node."""
    return hashlib.sha256(f"berrymq node {key}".encode()).hexdigest()[:16]


def matches(pattern: str, identifier: str) -> bool:
    """Return whether two identifiers match, either of which may have wildcards."""

    def parts(text: str) -> tuple[str, str, str]:
        name, _, action = text.partition(":")
        name, _, namespace = name.partition("@")
        return name, namespace, action or "*"

    (name, space, action), (other, other_space, other_action) = parts(pattern), parts(identifier)
    same_space = space == other_space
    return same_space and all(
        one == two or "*" in {one, two} for one, two in ((name, other), (action, other_action))
    )


class ScriptedHub:
    """Its state, over all connections, and the port where it listens."""

    def __init__(self) -> None:
        self.token = f"the-access-token-{secrets.token_hex(8)}"
        self.changed = threading.Condition()
        self.faults: list[str] = []
        self.connection: ServerSide | None = None
        self.key = ""
        """The client's key, which stays the same."""
        self.name = ""
        self.calls: deque[dict[str, Any]] = deque()
        """Calls that a step has to answer: those before the link."""
        self.replies: dict[str, dict[str, Any]] = {}
        """What is answered to calls over the link."""
        self.holds_acks = self.holds_pulls = False
        self.limit = math.inf
        """The number of the client's last frame that arrives; those behind it are lost."""
        self.port = 0
        self._listening: socket.socket | None = None
        self._accepted: deque[socket.socket] = deque()
        self._threads: list[threading.Thread] = []
        self.former: list[ServerSide] = []
        self.start_again()
        self.listen()

    # -- the port --------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/"

    def listen(self) -> None:
        """Listen, at the same port as before."""
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=16)
        self.port = self._listening.getsockname()[1]
        thread = threading.Thread(target=self._accept, args=(self._listening,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            with self.changed:
                if self._listening is not listening:
                    sock.close()
                    return
                self._accepted.append(sock)
                self.changed.notify_all()

    def go_away(self) -> None:
        """Close the port, and all that was not accepted."""
        with self.changed:
            listening, self._listening = self._listening, None
        if listening is not None:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()
        while self._accepted:
            self._accepted.popleft().close()

    def close(self) -> None:
        """End everything."""
        self.go_away()
        for one in [*self.former, *([self.connection] if self.connection else [])]:
            one.cut()

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = LIMIT) -> Any:
        """Wait until something holds, and return its value.

        Raises:
            AssertionError: the client did something wrong.
            TimeoutError: it does not come.
        """
        deadline = monotonic() + timeout
        with self.changed:
            while True:
                self.check()
                value = condition()
                if value:
                    return value
                left = deadline - monotonic()
                if left <= 0:
                    raise TimeoutError(f"not within {timeout:g} s: {what}")
                self.changed.wait(left)

    def check(self) -> None:
        """Raise AssertionError if the client did something wrong."""
        faults = [*self.faults, *(self.connection.faults if self.connection is not None else [])]
        if faults:
            raise AssertionError(faults[0])

    def fault(self, text: str) -> None:
        """Record what the client did wrong."""
        self.faults.append(text)

    # -- the state of the link -------------------------------------------------------------------------------

    def start_again(self) -> None:
        """Be another hub, that knows nothing."""
        self.id = secrets.token_hex(8)
        self.forget_link()

    def forget_link(self) -> None:
        """Forget the link: both sides count from 1 again."""
        self.is_linked = False
        self.received = self.last = self.acknowledged = 0
        self.memories: dict[int, bytes] = {}
        """The buffers that the client may pull, by number."""
        self.pulls: list[dict[str, Any]] = []
        """Those that were not answered."""
        self.sent: deque[tuple[int, str, dict[str, Any]]] = deque()
        """Frames that the client has not acknowledged."""
        self.forgotten: dict[int, Any] = {}
        """Frames that arrived and were forgotten, to be sent again as they were."""
        self.interest: set[str] = set()
        self.everything = False
        self.follows: set[str] = set()
        """What this side has announced."""
        self.published: deque[dict[str, Any]] = deque()
        """The client's messages."""
        self.frames: deque[dict[str, Any]] = deque()
        """Its other frames."""
        self.sequence = 0
        """The last number of its messages."""
        self.log: list[tuple[int, dict[str, Any]]] = []
        self.acks_held = 0
        self.ended_codes: list[int | None] = []

    def accept(self, timeout: float) -> ServerSide:
        """Take the next connection."""
        sock = self.wait(lambda: self._accepted and self._accepted.popleft(), "the client connects", timeout)
        if self.connection is not None:
            self.former.append(self.connection)
        self.connection = ServerSide(sock, self.changed)
        self.calls.clear()
        return self.connection

    def on_text(self, connection: ServerSide, text: str) -> None:
        """Process one message of the client; the lock is held."""
        if connection is not self.connection:
            return
        try:
            message = json.loads(text)
        except ValueError:
            self.fault(f"the client sent {text[:200]!r}, which is not JSON")
            return
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self.fault(f"the client sent {text[:200]!r}, which is not JSON-RPC 2.0")
        elif "id" in message and "method" in message:
            if self.is_linked:
                self._reply(message)
            else:
                self.calls.append(message)
        elif "method" in message:
            if self.received < self.limit:
                self._frame(message["method"], message.get("params"), text)
        elif "result" not in message and "error" not in message:
            self.fault(f"the client sent {text[:200]!r}, which is neither a call nor an answer")

    def _reply(self, call: dict[str, Any]) -> None:
        usual: dict[str, Any] = {
            "ping": {"result": "pong"},
            "keep": {"result": "ok"},
            "nodes": {"result": []},
            "history": {"result": {"messages": [], "more": False}},
            "kept": {"result": {"keeps": [], "identifiers": [], "identifiers_more": 0, "dropped": 0}},
        }
        unknown = {"error": {"code": -32601, "message": "no such method"}}
        answer = self.replies.get(call["method"]) or usual.get(call["method"]) or unknown
        self.frames.append(call)
        self.send_object({"jsonrpc": "2.0", "id": call["id"], **answer})

    def send_object(self, value: Any, **how: Any) -> None:
        """Send a JSON value."""
        assert self.connection is not None
        self.connection.send(json.dumps(value, ensure_ascii=False, separators=(",", ":")), **how)

    # -- frames ----------------------------------------------------------------------------------------------

    def _frame(self, method: str, params: Any, text: str) -> None:
        if not self.is_linked:
            self.fault(f"the client sent {text[:200]!r} before the link was made")
            return
        if method == "pull":
            self._pull(params)
            return
        if not isinstance(params, dict) or not isinstance(params.get("ack"), int):
            self.fault(f"the frame {text[:200]!r} has no ack")
            return
        self._acknowledge(params["ack"], text)
        if method in UNNUMBERED:
            return
        n = params.get("n")
        if n != self.received + 1:
            self.fault(f"frame {n} came after frame {self.received}: {text[:200]}")
            return
        self.received = n
        if n in self.forgotten:
            before, now = self.forgotten.pop(n), (method, {**params, "ack": 0})
            if before != now:
                self.fault(f"frame {n} was sent again as another one: {before}, now {now}")
            self.ack()
            return
        self.log.append((n, {"method": method, "params": params}))
        self.ack()
        if method == "interest":
            self._take_interest(params)
        elif method == "messages":
            for batch in params["batches"]:
                self._take_batch(batch)
        else:
            if method == "buffers":
                self._take_batch(params["batch"])
            self.frames.append({"method": method, "params": params})

    def _pull(self, params: dict[str, Any]) -> None:
        """Answer with a piece of a buffer, unless pulls are held."""
        number, offset, size = params["memory"], params["offset"], params["size"]
        if size > MAX_PIECE:
            self.fault(f"a piece has at most {MAX_PIECE} bytes, not {size}")
        if number not in self.memories:
            self.fault(f"the client pulls buffers that it was not sent: {params}")
            return
        if offset + size > len(self.memories[number]):
            self.fault(f"the buffers have {len(self.memories[number])} bytes: {params}")
        self.pulls.append(params)
        if sum([pull["size"] for pull in self.pulls]) > MAX_PULLED or len(self.pulls) > MAX_PULLS:
            self.fault(f"the client has {len(self.pulls)} unanswered pulls")
        if not self.holds_pulls:
            self.answer_pulls()

    def answer_pulls(self) -> None:
        """Send the pieces that were asked for."""
        assert self.connection is not None
        for pull in self.pulls:
            number, offset, size = pull["memory"], pull["offset"], pull["size"]
            piece = self.memories[number][offset : offset + size]
            self.connection.write(self.connection.frame(2, number.to_bytes(8) + offset.to_bytes(8) + piece))
        self.pulls.clear()

    def _acknowledge(self, ack: int, text: str) -> None:
        if ack > self.last:
            self.fault(f"frame {ack} is acknowledged, and {self.last} was the last: {text[:200]}")
        if ack < self.acknowledged:
            self.fault(f"frame {ack} is acknowledged, and {self.acknowledged} was before: {text[:200]}")
        self.acknowledged = max(ack, self.acknowledged)
        while self.sent and self.sent[0][0] <= self.acknowledged:
            self.sent.popleft()

    def _take_interest(self, params: dict[str, Any]) -> None:
        if params.get("reset"):
            self.interest.clear()
            self.everything = False
        elif self.received == 1:
            self.fault(f"the first interest of a link has to have reset: {params}")
        self.everything = self.everything or bool(params.get("everything"))
        for identifier in params.get("remove", []):
            self.interest.discard(identifier)
        self.interest.update(params.get("add", []))

    def _take_batch(self, batch: Any) -> None:
        if not (isinstance(batch, list) and len(batch) >= 6):
            self.fault(f"a batch is [identifier, origin, source, first, count, messages], not {batch}")
            return
        identifier, origin, source, first, count, messages = batch[:6]
        if origin != node_id(self.key):
            self.fault(f"the origin is {origin!r}, and the id of this key is {node_id(self.key)!r}")
        if source != self.name:
            self.fault(f"the source is {source!r}, and the name of this node is {self.name!r}")
        if count != len(messages) or count < 1:
            self.fault(f"a batch of {len(messages)} messages says that it has {count}")
        if not any(matches(one, identifier) for one in self.follows):
            self.fault(f"{identifier} was sent, and followed here is {sorted(self.follows)}")
        if first <= self.sequence:
            self.fault(f"message {first} came after message {self.sequence}")
        self.sequence = first + count - 1
        for number, message in enumerate(messages, first):
            fields = dict(zip(("sent_at", "args", "kwargs", "callback"), message, strict=False))
            if not (
                isinstance(fields.get("sent_at"), int | float)
                and abs(fields["sent_at"] - time.time()) < 600
                and isinstance(fields.get("args"), list)
                and isinstance(fields.get("kwargs"), dict)
            ):
                self.fault(f"a message is [sent_at, [args], {{kwargs}}], not {message}")
            self.published.append({"identifier": identifier, "number": number, **fields})

    def ack(self) -> None:
        """Acknowledge what was received, unless that is held."""
        if not self.holds_acks:
            self.acks_held = self.received
            self.send_object({"jsonrpc": "2.0", "method": "ack", "params": {"ack": self.received}})

    def send_frame(self, method: str, params: dict[str, Any], n: int | None = None, **how: Any) -> None:
        """Send a numbered frame, and keep it until it is acknowledged."""
        with self.changed:
            if n is None:
                self.last += 1
                self.sent.append((self.last, method, params))
            if not self.holds_acks:
                self.acks_held = self.received
            numbered = {"n": n or self.last, "ack": self.acks_held, **params}
            self.send_object({"jsonrpc": "2.0", "method": method, "params": numbered}, **how)

    def retransmit(self, after: int, count: int | None = None) -> None:
        """Send again what the client has not received, or the first frames of it."""
        with self.changed:
            for n, method, params in [frame for frame in self.sent if frame[0] > after][:count]:
                self.send_frame(method, params, n)


class ScriptedSession(Session):
    """Plays steps to a client and by a scripted hub.

    Args:
        driver: of the client.
    """

    def __init__(self, driver: Driver) -> None:
        self.hub = ScriptedHub()
        super().__init__(driver, {"url": self.hub.url, "token": self.hub.token, "port": self.hub.port})
        self._sequences: dict[str, int] = {}

    def close(self) -> None:
        self.hub.close()

    def finish(self) -> None:
        """Have the client close its link, in good order; check that nothing was wrong before."""
        hub, connection = self.hub, self.hub.connection
        is_open = connection is not None and hub.is_linked and not connection.ended
        super().finish()
        if connection is not None and is_open:
            hub.wait(lambda: connection.ended, "the client closes the link")
            if connection.close_code != 1000:
                raise MismatchError(f"the client closed the link with {connection.close_code}, not with 1000")
        hub.check()
        if self.driver.messages:
            raise MismatchError(f"nothing more was to be delivered, not {self.driver.messages[0]}")

    # -- connections -----------------------------------------------------------------------------------------

    def step_accept(self, options: dict[str, Any], status: int | None = None, timeout: float = LIMIT) -> None:
        """Take the next connection, upgrade it, and authenticate the client.

        Args:
            options: what is different: ``proof``, ``port`` of hello, ``hub``; ``refuse`` true refuses the
                client's proof; ``silent`` true says nothing after the upgrade.
            status: refuse the upgrade with this status.
            timeout: seconds until it comes.
        """
        hub = self.hub
        connection = hub.accept(timeout)
        headers = connection.read_head()
        self._check_upgrade(connection, headers)
        if status is not None:
            error = {"code": -32001, "message": "refused by the session"}
            connection.refuse(status, json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode())
            return
        hub.is_linked = False
        connection.upgrade(
            headers["sec-websocket-key"], "berrymq.v1", lambda text: hub.on_text(connection, text)
        )
        if options.get("silent"):
            return
        call = self._next_call("hello")
        nonce = call["params"]["nonce"]
        if not (isinstance(nonce, str) and 16 <= len(nonce) <= 128):
            raise MismatchError(f"a nonce is text of 16 to 128 characters, not {nonce!r}")
        seen = self.known.setdefault("nonces", [])
        if nonce in seen:
            raise MismatchError(f"the nonce {nonce!r} was used twice")
        seen.append(nonce)
        server_nonce, port = secrets.token_hex(16), options.get("port", hub.port)
        shown = {
            "nonce": server_nonce,
            "proof": proof(hub.token, "server", nonce, server_nonce, port),
            "port": port,
            "id": hub.id,
            "hub": True,
            "later": "a member of a later version",
            **{name: value for name, value in options.items() if name in {"proof", "hub", "id"}},
        }
        self._answer_call(call, {"result": shown})
        if "proof" in options or "port" in options:
            return
        call = self._next_call("authenticate")
        if options.get("refuse"):
            self._answer_call(call, {"error": {"code": -32001, "message": "wrong access token"}})
            connection.close(1008, "wrong access token")
            return
        expected = proof(hub.token, "client", nonce, server_nonce, port)
        if call["params"].get("proof") != expected:
            raise MismatchError(f"the proof is {call['params'].get('proof')!r}, not {expected!r}")
        self._check_secret(connection)
        connection.records = False
        self._answer_call(call, {"result": "ok"})

    def _check_secret(self, connection: ServerSide) -> None:
        if self.hub.token.encode() in connection.received:
            raise MismatchError("the client sent the access token in plain text, to a node it does not know")

    def _check_upgrade(self, connection: ServerSide, headers: dict[str, str]) -> None:
        request = connection.head.split("\r\n")[0]
        match("GET /ws HTTP/1.1", request)
        match({"$text": "(?i)^websocket$"}, headers.get("upgrade"))
        match({"$text": r"(?i)\bupgrade\b"}, headers.get("connection"))
        match("13", headers.get("sec-websocket-version"))
        match({"$text": r"\bberrymq\.v1\b"}, headers.get("sec-websocket-protocol"))
        match(f"127.0.0.1:{self.hub.port}", headers.get("host"))
        if len(base64.b64decode(headers.get("sec-websocket-key", ""))) != 16:
            raise MismatchError("Sec-WebSocket-Key is 16 bytes in base64")

    def _next_call(self, method: str, timeout: float = LIMIT) -> dict[str, Any]:
        calls = self.hub.calls
        call: dict[str, Any] = self.hub.wait(
            lambda: calls and calls.popleft(), f"the client calls {method}", timeout
        )
        match({"method": method, "params": {}}, call)
        return call

    def _answer_call(self, call: dict[str, Any], answer: dict[str, Any]) -> None:
        self.hub.send_object({"jsonrpc": "2.0", "id": call["id"], **answer})

    def step_interconnect(
        self,
        pattern: Any,
        answer: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        retransmit: int | None = None,
        receive: int | None = None,
    ) -> None:
        """Answer the call that makes the link, or resumes it.

        Args:
            pattern: what its parameters have to be like.
            answer: members that are different; ``resumed`` false refuses to resume.
            error: refuse it with this error.
            retransmit: so many of the frames that the client has not received; null for all of them.
            receive: wait for so many frames, and ignore those behind them, which are lost in the next cut.
        """
        hub = self.hub
        call = self._next_call("interconnect")
        params = call["params"]
        match(pattern, params, self.known)
        if not 16 <= len(params["key"]) <= 128:
            raise MismatchError("a key has 16 to 128 characters")
        if hub.key and params["key"] != hub.key:
            raise MismatchError("the client came with another key than before")
        if "id" in params and params["id"] is not None:
            raise MismatchError("a hub takes no id but that which is made from the key")
        if error is not None:
            self._answer_call(call, {"error": error})
            return
        answer = dict(answer or {})
        resume = params.get("resume") or {}
        knows = resume.get("id") == hub.id and hub.last + hub.received > 0
        resumed = answer.setdefault("resumed", knows)
        with hub.changed:
            hub.key, hub.name = params["key"], params["name"]
            self.known["client"] = node_id(hub.key)
            if resumed:
                if not hub.acknowledged <= resume["received"] <= hub.last:
                    raise MismatchError(
                        f"the client says that it received frame {resume['received']}; it acknowledged "
                        f"{hub.acknowledged}, and {hub.last} was sent"
                    )
                hub._acknowledge(resume["received"], "resume")
            else:
                published, sequence = hub.published, hub.sequence
                hub.forget_link()
                if answer.pop("same", False):  # the messages so far are still known
                    hub.published, hub.sequence = published, sequence
            hub.is_linked = True
            hub.pulls.clear()  # after a cut nothing of this is in flight
            result = {"id": hub.id, "name": "hub", "hub": True, "received": hub.received, "lost": 0}
            self._answer_call(call, {"result": {**result, "later": [1], **answer}})
            hub.acks_held = hub.received
            hub.limit = math.inf if receive is None else hub.received + receive
        if resumed:
            hub.retransmit(resume["received"], retransmit)
        if receive is not None:
            hub.wait(lambda: hub.received == hub.limit, f"{receive} frames of the client")

    def step_link(
        self,
        follows: list[str],
        answer: dict[str, Any] | None = None,
        timeout: float = LIMIT,
        pattern: Any = "${*}",
    ) -> None:
        """Accept a client and its link, and announce what is followed here."""
        self.step_accept({}, timeout=timeout)
        self.step_interconnect(pattern, answer)
        if self.hub.last == 0 or follows:
            self.step_frame("interest", {"add": follows, "reset": True})

    def step_join(self, follows: list[str], **parameters: Any) -> None:
        """Have the client link, and announce what is followed here."""
        command = {"do": "link", "url": "${url}", "token": "${token}", "name": "client", **parameters}
        self.step_do(command, later="link")
        self.step_link(follows)
        self.step_answer("link", {"id": "${client}"})

    def step_resume(self, options: dict[str, Any], timeout: float = LIMIT, pattern: Any = None) -> None:
        """Accept the client again, which has to resume, and retransmit."""
        self.step_accept({}, timeout=timeout)
        resume = {"resume": {"id": self.hub.id, "received": "${*}"}}
        self.step_interconnect({**resume, **(pattern or {})}, **options)

    def step_cut(self, _: bool) -> None:
        """Reset the connection."""
        assert self.hub.connection is not None
        self.hub.check()
        self.hub.connection.cut()

    def step_close(self, code: int | None, reason: str = "by the session") -> None:
        """Close the connection with a code."""
        assert self.hub.connection is not None
        self.hub.connection.close(code, reason)

    def step_closed(self, codes: Any, timeout: float = LIMIT) -> None:
        """Wait until the client has closed the connection, with one of these codes; ``"${*}"`` for any."""
        hub, connection = self.hub, self.hub.connection
        assert connection is not None
        hub.wait(lambda: connection.ended, "the client closes the connection", timeout)
        if codes != "${*}":
            match({"$one_of": codes}, connection.close_code)

    def step_kept_secret(self, _: bool) -> None:
        """Check that the client has neither sent the access token nor a proof of it."""
        assert self.hub.connection is not None
        self._check_secret(self.hub.connection)
        if self.hub.calls:
            raise MismatchError(f"the client has gone on: {self.hub.calls[0]}")

    def step_away(self, is_away: bool) -> None:
        """Close the port, or open it again."""
        if is_away:
            self.hub.go_away()
        else:
            self.hub.listen()

    def step_another_hub(self, _: bool) -> None:
        """Be another hub from now on, at the same port."""
        with self.hub.changed:
            self.hub.start_again()

    def step_expired(self, _: bool) -> None:
        """Forget the link, as if its ttl were over."""
        with self.hub.changed:
            self.hub.forget_link()

    def step_forget(self, count: int) -> None:
        """Forget the last frames of the client, as if they had been lost in a cut, and expect them again."""
        hub = self.hub
        with hub.changed:
            for n, frame in hub.log[-count:]:
                hub.forgotten[n] = frame["method"], {**frame["params"], "ack": 0}
            del hub.log[-count:]
            hub.received -= count

    # -- frames ----------------------------------------------------------------------------------------------

    def step_frame(
        self, method: str, params: dict[str, Any], n: int | None = None, write: dict[str, Any] | None = None
    ) -> None:
        """Send a numbered frame."""
        params = fill(params, self.known)
        if method == "interest":
            if params.get("reset"):
                self.hub.follows.clear()
            self.hub.follows.update(params.get("add", []))
            self.hub.follows.difference_update(params.get("remove", []))
        self.hub.send_frame(method, params, n, **(write or {}))

    def step_frame_text(self, method: str, members: str) -> None:
        """Send a numbered frame whose further members are this text, as it is."""
        hub = self.hub
        with hub.changed:
            hub.last += 1
            hub.sent.append((hub.last, method, json.loads(f"{{{members}}}")))
            params = f'{{"n":{hub.last},"ack":{hub.acks_held},{members}}}'
            assert hub.connection is not None
            hub.connection.send(f'{{"jsonrpc":"2.0","method":"{method}","params":{params}}}')

    def step_deliver(
        self,
        message: dict[str, Any],
        count: int = 1,
        first: int | None = None,
        write: dict[str, Any] | None = None,
    ) -> None:
        """Send messages of a node that is made up, in one batch.

        Args:
            message: ``identifier``, ``args``, ``kwargs``, ``origin``, ``source``, ``callback``.
            count: so many, with the numbers of the first on as first arguments.
            first: the sequence number of the first; by default the next one.
            write: how the frame is written; see `ServerSide.send`.
        """
        message = fill(message, self.known)
        origin = message.get("origin", OTHER)
        first = self._sequences.get(origin, 0) + 1 if first is None else first
        self._sequences[origin] = max(self._sequences.get(origin, 0), first + count - 1)
        messages = []
        for index in range(count):
            args = [*([first + index] if count > 1 else []), *message.get("args", [])]
            one = [round(time.time(), 3), args, message.get("kwargs", {})]
            messages.append([*one, message["callback"]] if "callback" in message else one)
        batch = [message["identifier"], origin, message.get("source", "other"), first, count, messages]
        self.hub.send_frame("messages", {"batches": [batch]}, **(write or {}))

    def step_notify(self, method: str, params: Any) -> None:
        """Send a notification without a number."""
        self.hub.send_object({"jsonrpc": "2.0", "method": method, "params": fill(params, self.known)})

    def step_text(self, text: str) -> None:
        """Send a text as it is."""
        assert self.hub.connection is not None
        self.hub.connection.send(text)

    def step_bytes(self, hexadecimal: str, times: int = 1) -> None:
        """Write bytes as they are."""
        assert self.hub.connection is not None
        self.hub.connection.write(bytes.fromhex(hexadecimal) * times)

    def step_ping(self, payload: str) -> None:
        """Send a ping, and wait for its pong."""
        connection = self.hub.connection
        assert connection is not None
        connection.write(connection.frame(9, payload.encode()))
        self.step_pong(payload)

    def step_pong(self, payload: str) -> None:
        """Wait for a pong."""
        connection = self.hub.connection
        assert connection is not None
        pong = self.hub.wait(lambda: connection.pongs and [connection.pongs.popleft()], "a pong")[0]
        match(payload, pong.decode())

    def step_pinged(self, _: bool, timeout: float = LIMIT) -> None:
        """Wait until the client pings, by a frame of the WebSocket or by the method."""
        hub, connection = self.hub, self.hub.connection
        assert connection is not None
        before = connection.pings

        def has_come() -> bool:
            return connection.pings > before or any(frame["method"] == "ping" for frame in hub.frames)

        hub.wait(has_come, "the client pings", timeout)

    def step_mute(self, _: bool) -> None:
        """Say nothing more on this connection, and ignore what comes."""
        assert self.hub.connection is not None
        with self.hub.changed:
            self.hub.connection.is_mute = True

    def step_follows(self, identifiers: list[str], timeout: float = LIMIT) -> None:
        """Wait until the client has announced that it follows these."""
        hub = self.hub
        hub.wait(
            lambda: hub.everything or hub.interest.issuperset(identifiers),
            f"the client follows {identifiers}; it follows {sorted(hub.interest)}",
            timeout,
        )

    def step_follows_no_more(self, identifiers: list[str], timeout: float = LIMIT) -> None:
        """Wait until the client has announced that it follows none of these."""
        hub = self.hub
        hub.wait(lambda: hub.interest.isdisjoint(identifiers), f"no interest in {identifiers}", timeout)

    def step_acknowledged(self, _: bool, timeout: float = LIMIT) -> None:
        """Wait until the client has acknowledged all frames."""
        hub = self.hub
        hub.wait(
            lambda: hub.acknowledged == hub.last, f"frame {hub.last} is acknowledged by the client", timeout
        )

    def step_hold_acks(self, on: bool) -> None:
        """Acknowledge nothing from now on; or all that was held, and at once again."""
        hub = self.hub
        with hub.changed:
            hub.holds_acks = on
            if not on and hub.connection is not None and not hub.connection.ended:
                hub.ack()

    def step_published(self, pattern: Any, timeout: float = LIMIT) -> None:
        """Wait for the next message that the client publishes."""
        hub = self.hub
        message = hub.wait(lambda: hub.published and hub.published.popleft(), "a message", timeout)
        match(pattern, message, self.known)

    def step_published_numbers(self, numbers: list[int], timeout: float = LIMIT) -> None:
        """Wait for messages of the client with the numbers from the first up to before the second."""
        hub = self.hub
        for number in range(*numbers):
            message = hub.wait(
                lambda: hub.published and hub.published.popleft(), f"message {number}", timeout
            )
            match(number, message["args"][0])

    def step_buffers(self, sizes: list[int], number: int) -> None:
        """Make buffers to be pulled by a number, which are named ``${data0}`` and so on in base64."""
        memory = bytearray()
        for index, size in enumerate(sizes):
            memory += bytes(-len(memory) % 64)
            data = bytes([(at * (index + 3) + at // 251) % 256 for at in range(size)])
            self.known[f"data{index}"] = base64.b64encode(data).decode()
            memory += data
        self.known["memory"] = base64.b64encode(memory).decode()
        with self.hub.changed:
            self.hub.memories[number] = bytes(memory)

    def step_hold_pulls(self, on: bool) -> None:
        """Answer no pulls from now on; or all that were held, and at once again."""
        with self.hub.changed:
            self.hub.holds_pulls = on
            if not on:
                self.hub.answer_pulls()

    def step_pulled(self, memory: int) -> None:
        """Wait until a pull of these buffers is held."""
        hub = self.hub
        hub.wait(lambda: any(pull["memory"] == memory for pull in hub.pulls), f"a pull of {memory}")

    def step_expect(self, method: str, params: Any = "${*}", timeout: float = LIMIT) -> None:
        """Wait for the next frame or call of one method, other than messages and interest."""
        hub = self.hub

        def found() -> dict[str, Any] | None:
            for frame in hub.frames:
                if frame["method"] == method:
                    hub.frames.remove(frame)
                    return frame
            return None

        match(params, hub.wait(found, f"{method} of the client", timeout)["params"], self.known)

    def step_reply(self, method: str, result: Any = None, error: Any = None) -> None:
        """Answer calls of a method over the link like this from now on."""
        answer = {"result": fill(result, self.known)} if error is None else {"error": error}
        self.hub.replies[method] = answer
