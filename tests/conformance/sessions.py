"""Sessions: the steps of a file, played to a client through its driver and to the hub that it meets.

`README.md` describes the steps. Each kind of step is a method of its own name, of the class that can do it:
`Session` knows the driver's, `LiveSession` those at a real hub, and `scripted.ScriptedSession` those of a hub
that follows the file.
"""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import berrymq
from tests.conformance.matching import MismatchError, fill, match
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from berrymq.bridge.hub.router import Hub
    from berrymq.bridge.node.node import Node
    from tests.conformance.driving import Driver
    from tests.support.nodes import Nodes

DIRECTORY = Path(__file__).parent
LIMIT = 20.0


@dataclass(frozen=True)
class Vector:
    """One session of a file.

    Attributes:
        name: unique among all.
        level: 1, 2 or 3; a client has to pass those of its level and below.
        hub: of a client ``"live"`` or ``"scripted"``; of a node the way: ``"http"``, ``"websocket"`` or
            ``"raw"``.
        steps: what happens.
        at: the kind of node that a session with a node is for: ``"hub"`` or ``"node"``.
        slow: it takes many seconds.
    """

    name: str
    level: int
    hub: str
    steps: list[dict[str, Any]]
    at: str = "hub"
    slow: bool = False


def client_vectors(directory: Path = DIRECTORY / "clients") -> Iterator[Vector]:
    """Yield the sessions of all files."""
    for path in sorted(directory.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for one in content["sessions"]:
            level = one.get("level", content["level"])
            name, slow = f"{path.stem}: {one['name']}", content.get("slow", False)
            yield Vector(name, level, content["hub"], one["steps"], slow=slow)


class SessionError(AssertionError):
    """A session failed at a step."""


class Steps:
    """Plays steps, each by the method ``step_`` and its first word.

    Args:
        known: what the steps may use as ``${name}``.
    """

    def __init__(self, known: dict[str, Any]) -> None:
        self.known: dict[str, Any] = dict(known)

    def play(self, steps: list[dict[str, Any]]) -> None:
        """Do all steps.

        Raises:
            SessionError: one failed; the text says which and why.
        """
        for number, step in enumerate(steps, 1):
            verb = next(iter(step))
            function: Callable[..., None] | None = getattr(self, f"step_{verb}", None)
            if function is None:
                raise SessionError(f"step {number}: there is no step {verb!r}")
            try:
                options = {key: value for key, value in step.items() if key not in {verb, "why"}}
                function(step[verb], **options)
            except (AssertionError, TimeoutError, OSError) as error:
                why = f" ({step['why']})" if "why" in step else ""
                shown = json.dumps(step, ensure_ascii=False)
                raise SessionError(
                    f"step {number} of {len(steps)}, {shown[:300]}{why}:\n    {error}"
                ) from error

    def close(self) -> None:
        """End what the session has made."""

    def step_wait(self, seconds: float) -> None:
        """Let some time pass."""
        time.sleep(seconds)

    def step_repeat(self, times: int, steps: list[dict[str, Any]]) -> None:
        """Do steps several times, with the number from 0 as ``${i}``."""
        for number in range(times):
            self.known["i"] = number
            self.play(steps)


class Session(Steps):
    """Plays steps to a client.

    Args:
        driver: of the client.
        known: what the steps may use as ``${name}``.
    """

    def __init__(self, driver: Driver, known: dict[str, Any]) -> None:
        super().__init__(known)
        self.driver = driver
        self._later: dict[str, int] = {}

    def finish(self) -> None:
        """Have the client close its link, and check what is left to be checked."""
        self.driver.do("close")

    def step_do(
        self,
        command: dict[str, Any],
        *,
        ok: Any = "${*}",
        error: Any = None,
        later: str | None = None,
        repeat: bool = False,
        timeout: float = LIMIT,
    ) -> None:
        """Have the client do something."""
        deadline = time.monotonic() + timeout
        while True:
            number = self.driver.send(fill(command, self.known))
            if later is not None:
                self._later[later] = number
                return
            try:
                self._check(number, ok, error, timeout)
            except MismatchError:
                if not repeat or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def step_answer(self, later: str, ok: Any = "${*}", error: Any = None, timeout: float = LIMIT) -> None:
        """Wait for what an earlier command gives."""
        self._check(self._later.pop(later), ok, error, timeout)

    def _check(self, number: int, ok: Any, error: Any, timeout: float) -> None:
        answer = self.driver.answer(number, timeout)
        if error is not None:
            if "error" not in answer:
                raise MismatchError(f"expected an error like {error}, but it succeeded with {answer['ok']!r}")
            match({"message": {"$text": "."}, **error}, answer["error"], self.known)
        else:
            if "error" in answer:
                raise MismatchError(f"the client failed: {answer['error']}")
            match(ok, answer["ok"], self.known)

    def step_event(self, pattern: Any, timeout: float = LIMIT) -> None:
        """Wait for the next message that the client has followed."""
        match(pattern, self.driver.message(timeout), self.known)

    def step_events(self, patterns: list[Any], timeout: float = LIMIT) -> None:
        """Wait for as many messages, in this order; for ``{"$any_order": …}`` in any."""
        count = len(patterns["$any_order"] if isinstance(patterns, dict) else patterns)
        match(patterns, [self.driver.message(timeout) for _ in range(count)], self.known)

    def step_numbers(self, expected: list[int]) -> None:
        """Wait for messages that have the numbers from the first up to before the second."""
        first, end = expected
        for number in range(first, end):
            match({"args": {"$has": [number]}}, self.driver.message(), self.known)

    def step_state(self, state: str, timeout: float = LIMIT) -> None:
        """Wait until the client has printed a state of its link, since the last step of this kind."""
        start = self.known.setdefault("states seen", 0)

        def found() -> int:
            states = self.driver.states
            return states.index(state, start) + 1 if state in states[start:] else 0

        self.known["states seen"] = self.driver.wait(found, f"no state {state!r}", timeout)

    def step_silent(self, seconds: float) -> None:
        """Check that no message arrives for a while."""
        time.sleep(seconds)
        if self.driver.messages:
            raise MismatchError(f"expected no message, not {self.driver.messages[0]}")


class LiveSession(Session):
    """Plays steps to a client and to a real hub.

    Args:
        driver: of the client.
        nodes: have the hub.
        hub: the hub.
        runtime: the directory of its connection file.
    """

    def __init__(self, driver: Driver, nodes: Nodes, hub: Hub, runtime: Path) -> None:
        server = nodes.servers[hub]
        self._runtime = runtime
        url, token = server.url, server.access_token
        super().__init__(driver, {"url": url, "token": token})
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=LIMIT)
        self._hub = hub
        self._nodes = nodes
        self._peer: Node | None = None
        self._got: list[dict[str, Any]] = []
        self._shared: list[str] = []
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def close(self) -> None:
        self._runtime.chmod(0o700)
        for name in self._shared:
            berrymq.unshare(name, bus=self.peer.bus)
        if self._peer is not None:
            self._peer_link.close(flush=0)
            self._peer.bus.close()
        self._connection.close()

    @property
    def peer(self) -> Node:
        """A node of this library's at the hub, as another party."""
        if self._peer is None:
            self._peer = self._nodes.add("peer", listening=False)
            self._peer_link = self._nodes.link(self._peer, self._hub)
        return self._peer

    def call(self, method: str, params: Any = None) -> dict[str, Any]:
        """Call a method of the hub over HTTP; return the whole answer."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        self._connection.request("POST", "/rpc", json.dumps(body).encode(), self._headers)
        answer: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return answer

    def step_chmod(self, mode: str) -> None:
        """Set the mode of the runtime directory, in octal digits, until the session ends."""
        self._runtime.chmod(int(mode, 8))

    def step_call(
        self,
        method: str,
        params: Any = None,
        *,
        result: Any = "${*}",
        error: Any = None,
        repeat: bool = False,
        timeout: float = LIMIT,
    ) -> None:
        """Call a method of the hub, as another program would."""
        pattern = {"result": result} if error is None else {"error": error}
        deadline = time.monotonic() + timeout
        while True:
            answer = self.call(method, fill(params, self.known))
            try:
                match(pattern, answer, self.known)
            except MismatchError:
                if not repeat or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def step_send(
        self, identifier: str, args: Any = (), kwargs: Any = None, count: int | None = None
    ) -> None:
        """Publish at the hub, by a token of its own."""
        if "sender" not in self.known:
            self.known["sender"] = self.call("connect_oneway", {"name": "sender"})["result"]
        for number in range(count if count is not None else 1):
            numbered = [number] if count is not None else []
            params = {
                "token": self.known["sender"],
                "identifier": identifier,
                "args": [*numbered, *fill(list(args), self.known)],
                "kwargs": fill(kwargs or {}, self.known),
            }
            match({"result": "ok"}, self.call("send_message", params))

    def step_followed(self, identifier: str, by: str = "client", timeout: float = LIMIT) -> None:
        """Wait until the hub knows that the client follows an identifier."""
        nodes = {"$has": [{"name": by, "follows": {"$has": [identifier]}}]}
        self.step_call("nodes", result=nodes, repeat=True, timeout=timeout)

    def step_unfollowed(self, identifier: str, by: str = "client", timeout: float = LIMIT) -> None:
        """Wait until the hub knows that the client follows an identifier no more."""
        nodes = {"$has": [{"name": by, "follows": {"$not": {"$has": [identifier]}}}]}
        self.step_call("nodes", result=nodes, repeat=True, timeout=timeout)

    def step_gone(self, name: str, timeout: float = LIMIT) -> None:
        """Wait until a node has left the hub."""
        self.step_call("nodes", result={"$not": {"$has": [{"name": name}]}}, repeat=True, timeout=timeout)

    # -- another node ----------------------------------------------------------------------------------------

    def step_peer_answers(self, identifier: str) -> None:
        """Have another node answer with the sum of the arguments."""
        self.peer.bus.follow(identifier, lambda message: sum(message.args))
        self.step_followed(identifier, by="peer")

    def step_peer_fails(self, identifier: str) -> None:
        """Have a follower of another node fail."""

        def fail(message: Any) -> None:
            raise ValueError(f"it can't work on {list(message.args)}")

        self.peer.bus.follow(identifier, fail)
        self.step_followed(identifier, by="peer")

    def step_peer_follows(self, identifier: str) -> None:
        """Have another node follow."""

        def collect(message: Any) -> None:
            self._got.append(
                {"identifier": message.id, "args": list(message.args), "kwargs": dict(message.kwargs)}
                | {"source": message.source}
            )

        self.peer.bus.follow(identifier, collect, direct=True)
        self.step_followed(identifier, by="peer")

    def step_peer_got(self, pattern: Any, timeout: float = LIMIT) -> None:
        """Wait for the next message at the other node."""
        wait_until(lambda: self._got, "a message at the other node", timeout=timeout, interval=0.005)
        match(pattern, self._got.pop(0), self.known)

    def step_peer_asks(self, identifier: str, args: Any = (), answers: Any = "${*}") -> None:
        """Ask from another node."""
        wait_until(lambda: self.peer.is_followed(berrymq.Identifier(identifier)), f"{identifier} is followed")
        match(answers, self.peer.bus.ask(identifier, *args, timeout=LIMIT), self.known)

    def step_peer_talks(self, identifier: str, callback: str, args: Any = ()) -> None:
        """Talk from another node."""
        wait_until(lambda: self.peer.is_followed(berrymq.Identifier(identifier)), f"{identifier} is followed")
        self.peer.bus.talk(identifier, callback, *args)

    def step_peer_shares(self, name: str, array: Any = None, dtype: str = "<f8", table: Any = None) -> None:
        """Share an array or a table from another node."""
        if array is not None:
            import numpy as np

            value: Any = np.array(array, dtype=dtype)
        else:
            import pandas as pd

            value = pd.DataFrame(table)
        berrymq.share(name, value, bus=self.peer.bus)
        self._shared.append(name)
        self.step_followed(f"{name}@berrymq:take", by="peer")
