"""Streams on the JetStream of a NATS system: made, listed, read and deleted. Used on the I/O thread alone.

A stream here belongs to one *record*: an identifier whose messages are stored for one purpose. Its subjects
are ``bmq.ROOM.%PURPOSE.HASH.NAMESPACE.NAME.ACTION``, of which the last three are those of a message, so the
server finds the messages of an identifier itself, and bounds their number for each.
"""

from __future__ import annotations

import asyncio
import hashlib
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from berrymq.bridge.errors import LinkError
from berrymq.bridge.protocol.json_checks import encode_json
from berrymq.printable import printable

from .client import UnavailableError
from .wire import token_of

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from berrymq.identifiers import Identifier

    from .client import NatsClient

__all__ = [
    "JetStream",
    "JetStreamError",
    "NoJetStreamError",
    "Stored",
    "filters_of",
    "place_of",
    "stream_of",
    "subject_of_message",
]

CALL_SECONDS = 5.0
"""The timeout of one call of JetStream."""
LEADER_SECONDS = 5.0
"""The time limit for a cluster to elect a leader."""
READ_AT_ONCE = 1_000
"""The messages that are requested at a time."""
IDLE_SECONDS = 30
"""The server removes a consumer that was not used for so long."""
MAX_LATEST_BYTES = 16 * 1024 * 1024
WINDOW = 256
"""The smallest number of messages at the end of a stream that are searched for the newest."""

NO_STREAM, DIFFERENT, INVALID = 10059, 10058, 10052
NO_JETSTREAM, NO_LEADER, NO_REPLICAS = {10039, 10076}, {10008, 10009}, {10005, 10074}
"""Error codes of JetStream."""
NO_LEADER_TEXT = "the NATS servers have not agreed yet on the one that leads JetStream"


class JetStreamError(LinkError):
    """JetStream has refused a call.

    Attributes:
        code: its error code.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"JetStream of the NATS server: {printable(text)}")
        self.code = code


class NoJetStreamError(LinkError):
    """The NATS server has no JetStream."""

    def __init__(self, address: object) -> None:
        super().__init__(
            f"the NATS server at {address} has no JetStream, which stores messages: start it with -js"
        )


class Stored(NamedTuple):
    """A message of a stream."""

    at: int
    """When it was stored, in microseconds since 1970."""
    sequence: int
    subject: str
    data: bytes
    headers: dict[str, str]


def stream_of(room: str, purpose: str, identifier: Identifier) -> tuple[str, str]:
    """Return the name and the subjects' beginning of the stream of a record.

    Args:
        room: its token.
        purpose: of the record.
        identifier: of its messages.
    """
    digest = hashlib.sha256(f"{room}\n{purpose}\n{identifier.text}".encode()).hexdigest()[:32]
    return f"bmq_{purpose}_{digest}", f"bmq.{room}.%{purpose}.{digest}"


def _tokens_of(identifier: Identifier) -> tuple[str, str, str]:
    namespace = "_" if identifier.namespace is None else token_of(identifier.namespace)
    return namespace, token_of(identifier.name), token_of(identifier.action)


def subject_of_message(beginning: str, identifier: Identifier) -> str:
    """Return the subject of a message in a stream; a published wildcard is a token as any other."""
    return ".".join((beginning, *_tokens_of(identifier)))


def filters_of(beginning: str, identifier: Identifier, *, published_wildcards: bool = False) -> list[str]:
    """Return the subjects of the messages that an identifier matches, wildcards on either side.

    Args:
        beginning: that of the subjects of the stream.
        identifier: the messages.
        published_wildcards: return only the subjects of messages that were published with a wildcard.
    """
    namespace, name, action = _tokens_of(identifier)
    wildcard = token_of("*")
    names = ["*"] if name == wildcard else [name, wildcard]
    actions = ["*"] if action == wildcard else [action, wildcard]
    return [
        ".".join((beginning, namespace, *pair))
        for pair in product(names, actions)
        if wildcard in pair or not published_wildcards
    ]


class JetStream:
    """The calls of JetStream, over one connection.

    Args:
        client: the connection.
    """

    def __init__(self, client: NatsClient) -> None:
        self._client = client

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of a call.

        Raises:
            NoJetStreamError: the server has none.
            JetStreamError: it refuses.
            UnavailableError: there is no answer.
        """
        body = b"" if params is None else encode_json(params)
        deadline = asyncio.get_running_loop().time() + LEADER_SECONDS
        while True:
            reply = await self._client.request(f"$JS.API.{method}", body, CALL_SECONDS)
            if reply is None:
                raise NoJetStreamError(self._client.address)
            try:
                result: dict[str, Any] = msgspec.json.decode(reply, type=dict[str, Any])
            except msgspec.MsgspecError:
                raise LinkError("the answer of JetStream can't be read") from None
            error = result.get("error")
            if error is None:
                return result
            code = error.get("err_code", 0)
            if code in NO_JETSTREAM:
                raise NoJetStreamError(self._client.address)
            if code not in NO_LEADER:
                raise JetStreamError(code, str(error.get("description", "it refuses a call")))
            if asyncio.get_running_loop().time() > deadline:
                raise UnavailableError(NO_LEADER_TEXT)
            await asyncio.sleep(0.1)

    async def streams(self, subjects: str) -> list[dict[str, Any]]:
        """Return configuration and state of all streams with such subjects.

        Raises:
            LinkError: see `call`; or the list is incomplete, because a server was lost just now.
        """
        found: list[dict[str, Any]] = []
        while True:
            page = await self.call("STREAM.LIST", {"subject": subjects, "offset": len(found)})
            if page.get("missing"):
                raise UnavailableError(NO_LEADER_TEXT)
            streams = page.get("streams") or []
            found += streams
            if not streams or len(found) >= page.get("total", 0):
                return found

    async def create(self, config: dict[str, Any]) -> None:
        """Create a stream, on several servers of a cluster, in files if the server has storage for them.

        An existing stream of that name is updated if its configuration differs. Where the server does not
        allow the duplicate window, the stream has that of the server.
        """
        try:
            await self._create(config)
        except JetStreamError as error:
            if error.code != INVALID or "duplicate_window" not in config:
                raise
            await self._create({key: one for key, one in config.items() if key != "duplicate_window"})

    async def _create(self, config: dict[str, Any]) -> None:
        limits = (await self.call("INFO"))["limits"]
        config = {**config, "storage": "memory" if limits.get("max_storage") == 0 else "file"}
        replicas = [3, 1] if self._client.is_clustered else [1]
        for number in replicas:
            try:
                await self.call(f"STREAM.CREATE.{config['name']}", {**config, "num_replicas": number})
            except JetStreamError as error:
                if error.code == DIFFERENT:
                    former = (await self.call(f"STREAM.INFO.{config['name']}"))["config"]
                    changed = {**former, **config, "storage": former["storage"]}
                    await self.call(f"STREAM.UPDATE.{config['name']}", changed)
                elif error.code not in NO_REPLICAS or number == 1:
                    raise
                else:
                    continue
            return

    async def delete(self, name: str) -> bool:
        """Delete a stream; return False without one."""
        try:
            await self.call(f"STREAM.DELETE.{name}")
        except JetStreamError as error:
            if error.code == NO_STREAM:
                return False
            raise
        return True

    async def newest(self, name: str, subjects: str, most: int, most_bytes: int) -> list[Stored]:
        """Return the newest messages of a stream, in order; none if there is no such stream.

        The end of the stream is searched first, then more of it.

        Args:
            name: the stream.
            subjects: those of the messages, with wildcards of NATS.
            most: the limit of messages.
            most_bytes: the limit of their bytes.
        """
        window = max(WINDOW, 2 * most)
        try:
            state = (await self.call(f"STREAM.INFO.{name}"))["state"]
            while True:
                start = max(state["first_seq"], state["last_seq"] - window + 1)
                policy = {"deliver_policy": "by_start_sequence", "opt_start_seq": max(1, start)}
                found = await self._read(name, subjects, policy, most, most_bytes)
                if start <= state["first_seq"] or len(found) >= most:
                    return found
                window *= 4
        except JetStreamError as error:
            if error.code == NO_STREAM:
                return []
            raise

    async def latest(self, name: str, beginning: str, most: int) -> list[tuple[int, Stored]]:
        """Return the latest message of some subjects of a stream, each with the number of messages."""
        info = await self.call(f"STREAM.INFO.{name}", {"subjects_filter": f"{beginning}.>"})
        counts = info["state"].get("subjects") or {}
        policy = {"deliver_policy": "last_per_subject"}
        found = await self._read(name, f"{beginning}.>", policy, most, MAX_LATEST_BYTES) if most else []
        return [(counts.get(one.subject, 1), one) for one in found]

    async def _read(
        self, name: str, subjects: str, policy: dict[str, Any], most: int, most_bytes: int
    ) -> list[Stored]:
        """Return the newest of the messages that a consumer of some subjects receives."""
        consumer = await self.call(
            f"CONSUMER.CREATE.{name}",
            {
                "stream_name": name,
                "config": {
                    **policy,
                    "ack_policy": "none",
                    "filter_subject": subjects,
                    "mem_storage": True,
                    "num_replicas": 1,
                    "inactive_threshold": IDLE_SECONDS * 1_000_000_000,
                },
            },
        )
        left, size = consumer["num_pending"], 0
        found: list[Stored] = []
        if not left:
            return found
        arrived = asyncio.Event()
        batch: list[Msg] = []
        ended = False

        async def receive(message: Msg) -> None:
            nonlocal ended
            if message.headers and "Status" in message.headers:
                ended = True
            else:
                batch.append(message)
            arrived.set()

        async with self._client.inbox(receive) as inbox:
            while left > 0 and not ended:
                wanted = min(left, READ_AT_ONCE)
                body = encode_json({"batch": wanted, "no_wait": True})
                self._client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{name}.{consumer['name']}", body, inbox)
                while len(batch) < wanted and not ended:
                    arrived.clear()
                    try:
                        await asyncio.wait_for(arrived.wait(), CALL_SECONDS)
                    except TimeoutError:
                        raise UnavailableError("JetStream of the NATS server does not answer") from None
                for message in batch:
                    at, sequence = place_of(message.reply)
                    found.append(Stored(at, sequence, message.subject, message.data, message.headers or {}))
                    size += len(message.data)
                left -= wanted
                batch.clear()
                surplus = max(0, len(found) - most)
                while size > most_bytes and surplus < len(found) - 1:
                    size -= len(found[surplus].data)
                    surplus += 1
                del found[:surplus]
        self._client.publish(f"$JS.API.CONSUMER.DELETE.{name}.{consumer['name']}", b"")
        return found


def place_of(reply: str) -> tuple[int, int]:
    """Return when a message was stored, in microseconds since 1970, and its number in the stream.

    Raises:
        LinkError: the reply subject is malformed.
    """
    tokens = reply.split(".")
    offset = 0 if len(tokens) == 9 else 2  # later servers put their domain and account before
    try:
        return int(tokens[7 + offset]) // 1000, int(tokens[5 + offset])
    except (IndexError, ValueError):
        raise LinkError("a message of JetStream can't be read") from None
