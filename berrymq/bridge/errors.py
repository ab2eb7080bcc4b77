"""The exceptions of links.

The hierarchy::

    BridgeError              (a BerryMQError)
    ├── LinkError            a link could not be made, or is closed
    ├── PayloadError         (a TypeError) an argument that can't cross a link
    ├── RemoteError          a follower at another node raised it
    └── RpcError             the other side answered with a JSON-RPC 2.0 error

All of them pickle. Text that came from another node is made printable when the error is shown.
"""

from __future__ import annotations

from berrymq.errors import BerryMQError
from berrymq.printable import LINES, printable

__all__ = ["BridgeError", "LinkError", "PayloadError", "RemoteError", "RpcError"]


class BridgeError(BerryMQError):
    """Base of the exceptions of this package; catch it for whatever fails on the network."""


class LinkError(BridgeError):
    """A link could not be made, or is closed. The text is one line that says why, and what to do."""


class PayloadError(BridgeError, TypeError):
    """An argument of a message that can't cross a link; raised to the publisher with ``strict=True``.

    The message was delivered in this process; other nodes did not get it.

    Args:
        argument: see the attribute.
        reason: see the attribute.

    Attributes:
        argument: the place of the value, as a Python expression: ``args[0]['key']`` or ``score``.
        reason: why it can't cross.
    """

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(argument, reason)
        self.argument = argument
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.argument} can't cross a link: {self.reason}"


class RemoteError(BridgeError):
    """A follower at another node raised an exception when it was asked.

    Args:
        kind: see the attribute, as for the others.
        text: its text.
        source: the name of the node.

    Attributes:
        kind: the name of the exception's class there.
        text: its text.
        source: the name of the node, if it is known.
    """

    def __init__(self, kind: str, text: str, source: str | None = None) -> None:
        super().__init__(kind, text, source)
        self.kind = kind
        self.text = text
        self.source = source

    def __str__(self) -> str:
        where = "" if self.source is None else f" (at {printable(self.source)})"
        return f"{printable(self.kind)}: {printable(self.text, allow=LINES)}{where}"


class RpcError(BridgeError):
    """The other side answered with an error object (JSON-RPC 2.0, section 5.1).

    Attributes:
        code: the error code; those from -32000 to -32099 are defined in ``protocol/jsonrpc.py``.
        message: one sentence.
        data: further data of the server, or None.
    """

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{printable(self.message)} ({self.code})"
