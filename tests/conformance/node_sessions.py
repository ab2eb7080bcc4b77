"""Sessions with a node: raw requests over HTTP and raw lines over WebSockets, and what it answers.

`README.md` describes the steps. They use nothing of the library that is tested.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import secrets
import socket
import struct
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.conformance.matching import MismatchError, fill, fits, match
from tests.conformance.sessions import DIRECTORY, Steps, Vector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

LIMIT = 10.0


def node_vectors(directory: Path = DIRECTORY / "nodes") -> Iterator[Vector]:
    """Yield the sessions of all files; those for both ways twice."""
    for path in sorted(directory.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for one in content.get("sessions", ()):
            name = f"{path.stem}: {one['name']}"
            steps, at = one["steps"], content.get("at", "hub")
            if any("call" in step for step in steps):
                for way in ("http", "websocket"):
                    mine = [step for step in steps if step.get("over", way) == way]
                    if mine:
                        yield Vector(f"{name}, over {way}", 1, way, mine, at)
            else:
                yield Vector(name, 1, "raw", steps, at)


class NodeSession(Steps):
    """Plays steps to a node.

    Args:
        address: host and port where it listens.
        token: its access token.
        way: how the step ``call`` does it: ``"http"`` or ``"websocket"``.
    """

    def __init__(self, address: tuple[str, int], token: str, way: str = "http") -> None:
        super().__init__({"token": token, "host": address[0], "port": address[1]})
        self._address = address
        self._token = token
        self._way = way
        self._http: http.client.HTTPConnection | None = None
        self._sockets: dict[str, ClientConnection] = {}
        self._ends = ExitStack()

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
        self._ends.close()

    # -- HTTP ------------------------------------------------------------------------------------------------

    def step_call(self, text: Any, expect: Any = None, *, exact: bool = True, over: str = "") -> None:
        """Send one text, and compare the answer; ``expect`` null means that there is none.

        Over HTTP it is a POST; over a WebSocket one message of an authenticated client. The answers of a
        batch come in any order.
        """
        if isinstance(expect, list):
            expect = {"$any_order": expect}
        data = self._text(text)
        if self._way == "http":
            status, _, body = self._request("POST", "/rpc", data.encode(), {})
            match(204 if expect is None else 200, status)
            answer = json.loads(body) if body else None
        else:
            if "calls" not in self._sockets:
                self.step_open("calls")
            self._sockets["calls"].send(data)
            if expect is None:  # what comes first is the answer to the next call
                self._sockets["calls"].send('{"jsonrpc":"2.0","method":"ping","id":"next"}')
                expect = {"jsonrpc": "2.0", "id": "next", "result": "pong"}
            answer = self._receive("calls", [])
        match(expect, answer, self.known, exact=exact)

    def _text(self, value: Any) -> str:
        filled = fill(value, self.known)
        if isinstance(filled, str):
            return filled
        if isinstance(filled, dict) and filled:
            filled = {"jsonrpc": "2.0", **filled}
        return json.dumps(filled, ensure_ascii=False, separators=(",", ":"))

    def _request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        usual = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        sent = {name: value for name, value in {**usual, **headers}.items() if value is not None}
        if self._http is None:
            self._http = http.client.HTTPConnection(*self._address, timeout=30)
        self._http.request(method, path, body, sent)
        response = self._http.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, response.read()

    def step_request(
        self,
        method: str,
        path: str = "/rpc",
        *,
        body: Any = None,
        headers: dict[str, Any] | None = None,
        status: int = 200,
        expect: Any = "${*}",
        response: dict[str, Any] | None = None,
    ) -> None:
        """Send an HTTP request. A header that is null is left out of the usual ones.

        Args:
            method: of HTTP.
            path: the path.
            body: text or a JSON value.
            headers: further ones, or others.
            status: that it is answered with.
            expect: what the body is like, as JSON.
            response: what its headers are like.
        """
        data = None if body is None else self._text(body).encode()
        got, found, content = self._request(method, path, data, fill(headers or {}, self.known))
        match(status, got)
        if response is not None:
            match(response, found, self.known)
        if expect is None:
            match("", content.decode())
        elif expect != "${*}":
            match(expect, json.loads(content), self.known)

    def step_http_bytes(self, text: str, status: int | None, expect: str = "") -> None:
        """Send bytes on a connection of their own; look at the status of the first answer, null for none."""
        with socket.create_connection(self._address, timeout=LIMIT) as sock:
            sock.sendall(fill(text, self.known).encode("latin-1"))
            data = b""
            while b"\r\n\r\n" not in data and (piece := sock.recv(65536)):
                data += piece
        got = int(data.split()[1]) if data else None
        match(status, got)
        if expect and expect.encode() not in data:
            raise MismatchError(f"{expect!r} is not in {data!r}")

    # -- WebSockets ------------------------------------------------------------------------------------------

    def step_open(
        self,
        name: str,
        *,
        authenticate: bool = True,
        headers: dict[str, str] | None = None,
        path: str = "/ws",
        subprotocols: tuple[str, ...] = ("berrymq.v1",),
        status: int | None = None,
        expect: Any = "${*}",
    ) -> None:
        """Open a WebSocket under a name; with the status of a refusal, and what its body is like."""
        try:
            # The context manager alone is not deprecated; it ends with the session.
            opened = connect(
                f"ws://{self._address[0]}:{self._address[1]}{path}",
                subprotocols=list(subprotocols) or None,
                additional_headers=fill(headers or {}, self.known),
                compression=None,
                proxy=None,
                max_size=None,
                ping_interval=None,
                close_timeout=1,
            )
            connection = self._ends.enter_context(opened)
        except InvalidStatus as refusal:
            match(status, refusal.response.status_code)
            if expect != "${*}":
                match(expect, json.loads(bytes(refusal.response.body or b"")), self.known)
            return
        self._sockets[name] = connection
        if status is not None:
            raise MismatchError(f"the upgrade was to be refused with {status}")
        if authenticate and not headers:
            self._prove(name)

    def _prove(self, name: str) -> None:
        nonce = secrets.token_hex(16)
        self.step_send({"method": "hello", "params": {"nonce": nonce}, "id": "hello"}, on=name)
        hello = self._receive(name, [])["result"]
        text = f"{nonce} {hello['nonce']} {hello['port']}"
        match(self._hmac(f"berrymq server {text}"), hello["proof"])
        self.known["node"] = hello["id"]
        proof = self._hmac(f"berrymq client {text}")
        self.step_send({"method": "authenticate", "params": {"proof": proof}, "id": "proof"}, on=name)
        match({"id": "proof", "result": "ok"}, self._receive(name, []))

    def _hmac(self, text: str) -> str:
        return hmac.new(self._token.encode(), text.encode(), hashlib.sha256).hexdigest()

    def step_let(self, values: dict[str, Any]) -> None:
        """Name values: ``{"hmac": text}`` with the access token as key, ``{"node_id": key}``, or a value."""
        for name, value in fill(values, self.known).items():
            if isinstance(value, dict) and "hmac" in value:
                self.known[name] = self._hmac(value["hmac"])
            elif isinstance(value, dict) and "node_id" in value:
                text = f"berrymq node {value['node_id']}"
                self.known[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
            elif isinstance(value, dict) and "repeat" in value:
                self.known[name] = value["repeat"] * value["times"]
            else:
                self.known[name] = value

    def step_link(
        self,
        name: str,
        *,
        key: str = "",
        follows: list[str] | None = None,
        params: dict[str, Any] | None = None,
        expect: Any = "${*}",
    ) -> None:
        """Open a WebSocket, and make a link by it, with the interest as frame 1.

        The id of the node is named ``id_NAME``, and its key ``key_NAME``.
        """
        key = key or secrets.token_hex(16)
        self.step_let({f"key_{name}": key, f"id_{name}": {"node_id": key}})
        self.step_open(name)
        call = {
            "method": "interconnect",
            "params": {"name": name, "key": key, **(params or {})},
            "id": "link",
        }
        self.step_send(call, on=name)
        match(
            {"id": "link", "result": {"hub": True, "resumed": False, "received": 0}},
            answer := self._receive(name, []),
        )
        match(expect, answer["result"], self.known)
        self.step_receive({"method": "interest", "params": {"n": 1, "ack": 0, "reset": True}}, on=name)
        frame = {"n": 1, "ack": 1, "add": follows or [], "reset": True}
        self.step_send({"method": "interest", "params": frame}, on=name)
        self.step_receive({"method": "ack", "params": {"ack": 1}}, on=name, skip=["interest"])

    def step_same(self, values: list[Any]) -> None:
        """Compare two values that were named."""
        match(*fill(values, self.known))

    def step_send(self, line: Any, on: str) -> None:
        """Send one message: text as it is, or JSON, to which ``"jsonrpc": "2.0"`` is added."""
        self._sockets[on].send(self._text(line))

    def step_receive(
        self,
        pattern: Any,
        on: str,
        skip: list[str] | None = None,
        timeout: float = LIMIT,
        *,
        among: bool = False,
    ) -> None:
        """Wait for the next message.

        Args:
            pattern: what it is like.
            on: the name of the connection.
            skip: leave out frames of these methods; by default ``ack``.
            timeout: seconds.
            among: leave out all that is not like it.
        """
        pattern = json.loads(json.dumps(pattern).replace("${i}", str(self.known.get("i"))))
        while True:
            given = self._receive(on, ["ack"] if skip is None else skip, timeout)
            if not among or fits(pattern, given, dict(self.known)):
                match(pattern, given, self.known)
                return

    def _receive(self, on: str, skip: list[str], timeout: float = LIMIT) -> Any:
        deadline = time.monotonic() + timeout
        while True:
            try:
                text = self._sockets[on].recv(max(0.001, deadline - time.monotonic()))
            except TimeoutError:
                raise MismatchError(f"no message within {timeout:g} s") from None
            except ConnectionClosed as error:
                raise MismatchError(f"the node has closed the connection: {error}") from None
            value = json.loads(text)
            if not (isinstance(value, dict) and "id" not in value and value.get("method") in skip):
                return value

    def step_nothing(self, on: str, skip: list[str] | None = None) -> None:
        """Check that nothing has come: what comes next is the answer to a call."""
        self.step_send({"method": "ping", "id": "nothing"}, on=on)
        self.step_receive({"id": "nothing", "result": "pong"}, on, skip)

    def step_closed(self, code: int, on: str, timeout: float = LIMIT) -> None:
        """Wait until the node has closed a connection with a code; what comes before is left out."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self._sockets[on].recv(max(0.001, deadline - time.monotonic()))
        except TimeoutError:
            raise MismatchError(f"the connection was to be closed with {code}") from None
        except ConnectionClosed:
            match(code, self._sockets[on].close_code)

    def step_close(self, code: int, on: str) -> None:
        """Close a connection."""
        self._sockets.pop(on).close(code)

    def step_cut(self, on: str) -> None:
        """Reset a connection."""
        connection = self._sockets.pop(on)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.socket.shutdown(socket.SHUT_RD)  # ends the thread that reads
        connection.recv_events_thread.join(5)
        connection.socket.close()

    def step_bytes(self, hexadecimal: str, on: str, times: int = 1) -> None:
        """Write bytes as they are."""
        self._sockets[on].socket.sendall(bytes.fromhex(hexadecimal) * times)

    def step_until(
        self, method: str, params: Any = None, result: Any = "${*}", timeout: float = LIMIT
    ) -> None:
        """Call a method over HTTP until its result is like this."""
        deadline = time.monotonic() + timeout
        body = self._text({"method": method, "params": params or {}, "id": 1}).encode()
        while True:
            try:
                match({"result": result}, json.loads(self._request("POST", "/rpc", body, {})[2]), self.known)
            except MismatchError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return
