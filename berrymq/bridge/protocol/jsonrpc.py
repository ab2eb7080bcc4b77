"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification), both directions, without I/O.

A server passes received text to `parse`, and the calls to `Methods.call`; a client writes with `request` and
reads with `parse_reply`. Every error that a client causes is an `RpcError` with one of the codes here; those
from -32700 to -32600 are defined in section 5.1 of the specification, the others by this protocol.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from berrymq.bridge.errors import RpcError

from .json_checks import check_utf8

__all__ = [
    "ALREADY_LINKED",
    "BAD_IDENTIFIER",
    "EMPTY",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "NOT_ALLOWED",
    "OVERFLOW",
    "PARSE_ERROR",
    "TOO_LARGE",
    "UNKNOWN_TOKEN",
    "Call",
    "Later",
    "Methods",
    "batch",
    "failure",
    "parse",
    "parse_reply",
    "reply",
    "request",
]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
NOT_ALLOWED = -32001
"""The caller may not do that, for example before it is authenticated."""
UNKNOWN_TOKEN = -32002
EMPTY = -32003
"""There is no message to get."""
OVERFLOW = -32004
"""A limit of the server is reached."""
TOO_LARGE = -32005
"""A request or message exceeds the size limit."""
BAD_IDENTIFIER = -32006
"""The identifier is invalid."""
ALREADY_LINKED = -32007
"""The connection or node is linked already."""

MAX_BATCH = 100
"""The limit of calls in one batch."""

LARGE_BATCH_BYTES = 256 * 1024
"""A larger batch is not split before its calls were counted."""

MAX_ID_LENGTH = 255
"""The most characters of the id of a call."""

Id = str | int | float | None


class Call(msgspec.Struct, frozen=True):
    """One well-formed request or notification.

    Attributes:
        method: the name of the method.
        params: an array or object, undecoded; UNSET when it is left out.
        id: UNSET for a notification, which is never answered.
        jsonrpc: the version, which is ``"2.0"``.
    """

    method: str
    params: Raw | UnsetType = UNSET
    id: Id | UnsetType = UNSET
    jsonrpc: str = ""

    @property
    def is_notification(self) -> bool:
        """Whether it is not to be answered."""
        return self.id is UNSET


class _Error(msgspec.Struct, omit_defaults=True):
    """The error object of an answer (section 5.1)."""

    code: int
    message: str
    data: Any = None


class _Reply(msgspec.Struct):
    """An answer (section 5)."""

    jsonrpc: str = ""
    id: Id | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: _Error | UnsetType = UNSET


class _AnyCall(msgspec.Struct, gc=False):
    """The members that every call has."""

    jsonrpc: str
    method: str


_encoder = msgspec.json.Encoder()
_call_decoder = msgspec.json.Decoder(Call)
_batch_decoder = msgspec.json.Decoder(list[Raw])
_calls_decoder = msgspec.json.Decoder(list[_AnyCall])
_reply_decoder = msgspec.json.Decoder(_Reply)


def parse(data: bytes | str) -> tuple[list[Call | RpcError], bool]:
    """Return the calls in *data*, and whether they form a batch.

    An element that is no call is returned as the RpcError to answer it with.

    Args:
        data: a call, or an array of calls.

    Returns:
        At least one call or error, and whether the answer has to be an array.

    Raises:
        RpcError: all of it is malformed, or is a batch of no or too many calls.
    """
    try:
        check_utf8(data)
        if not _is_batch(data):
            return [_parse_call(data)], False
        if len(data) > LARGE_BATCH_BYTES and len(_calls_decoder.decode(data)) > MAX_BATCH:
            raise RpcError(TOO_LARGE, f"a batch holds at most {MAX_BATCH} calls")
        parts = _batch_decoder.decode(data)
    except msgspec.ValidationError as error:
        raise RpcError(INVALID_REQUEST, f"in a large batch there are calls alone: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise _not_json(error) from None
    if not parts:
        raise RpcError(INVALID_REQUEST, "a batch holds at least one call")
    if len(parts) > MAX_BATCH:
        raise RpcError(TOO_LARGE, f"a batch holds at most {MAX_BATCH} calls")
    return [_parse_call(bytes(part)) for part in parts], True


def _is_batch(data: bytes | str) -> bool:
    """Return whether JSON is an array."""
    return data.lstrip()[:1] in (b"[", "[")


def _parse_call(data: bytes | str) -> Call | RpcError:
    """Return one call, or the error to answer it with."""
    try:
        call = _call_decoder.decode(data)
    except msgspec.ValidationError as error:
        return RpcError(INVALID_REQUEST, f"not a JSON-RPC 2.0 request: {error}")
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        return _not_json(error)
    if call.jsonrpc != "2.0":
        return RpcError(INVALID_REQUEST, 'not a JSON-RPC 2.0 request: it lacks "jsonrpc": "2.0"')
    if call.params is not UNSET and bytes(call.params).lstrip()[:1] not in (b"[", b"{"):
        return RpcError(INVALID_REQUEST, "params is an array or an object, or left out")
    if isinstance(call.id, str) and len(call.id) > MAX_ID_LENGTH:
        return RpcError(INVALID_REQUEST, f"an id has at most {MAX_ID_LENGTH} characters")
    return call


def _not_json(error: Exception) -> RpcError:
    reason = "it nests too deep" if isinstance(error, RecursionError) else str(error)
    return RpcError(PARSE_ERROR, f"not valid JSON: {reason}")


def request(method: str, params: Any, id: int) -> bytes:
    """Return a call that is to be answered.

    Args:
        method: the name of the method.
        params: a list or dictionary of values that msgspec encodes.
        id: identifies the answer.
    """
    return _encoder.encode({"jsonrpc": "2.0", "method": method, "params": params, "id": id})


def reply(id: Id | UnsetType, result: Any) -> bytes:
    """Return the answer to a successful call.

    Args:
        id: that of the call.
        result: a value that msgspec encodes; `Raw` is inserted as it is.
    """
    return _encoder.encode({"jsonrpc": "2.0", "result": result, "id": None if id is UNSET else id})


def failure(id: Id | UnsetType, error: RpcError) -> bytes:
    """Return the answer to a failed call, or to an element that is no call (id null).

    Args:
        id: that of the call; UNSET or None where there is none.
        error: the error.
    """
    body = _Error(error.code, error.message, error.data)
    return _encoder.encode({"jsonrpc": "2.0", "error": body, "id": None if id is UNSET else id})


def batch(replies: list[bytes]) -> bytes:
    """Join answers to a batch.

    Args:
        replies: at least one: a batch of notifications alone is not answered at all.
    """
    return b"[" + b",".join(replies) + b"]"


def parse_reply(data: bytes | str) -> tuple[Id, Raw | RpcError]:
    """Return the id of an answer, and its result or error.

    Raises:
        ValueError: it is no answer.
    """
    try:
        answer = _reply_decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a JSON-RPC answer: {error}") from None
    if answer.id is not UNSET and answer.error is UNSET and answer.result is not UNSET:
        return answer.id, answer.result
    if answer.id is not UNSET and answer.error is not UNSET and answer.result is UNSET:
        problem = answer.error
        return answer.id, RpcError(problem.code, problem.message, problem.data)
    raise ValueError("not a JSON-RPC answer: it has an id and either a result or an error")


C = TypeVar("C")
Handler = Callable[..., Any]


class _Method:
    """A handler with the names and types of its parameters.

    Args:
        handler: its first parameter is the context; the annotations of the others are the types.
    """

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self.required: set[str] = set()
        parameters = list(inspect.signature(handler).parameters.values())[1:]
        for parameter in parameters:
            self.decoders[parameter.name] = msgspec.json.Decoder(parameter.annotation)
            if parameter.default is parameter.empty:
                self.required.add(parameter.name)
        # Structs, since a list or a dictionary would decode any number of parameters before they are counted.
        fields = [(name, Raw | UnsetType, UNSET) for name in self.decoders]
        self._positional, self._named = [
            msgspec.json.Decoder(
                msgspec.defstruct("Parameters", fields, array_like=array_like, forbid_unknown_fields=True)
            )
            for array_like in (True, False)
        ]

    def arguments(self, params: Raw | UnsetType) -> dict[str, Any]:
        """Return the decoded arguments of a call by name.

        Raises:
            RpcError: one is missing, unknown, or of another type (INVALID_PARAMS).
        """
        values = self._by_name(params)
        missing = self.required - values.keys()
        if missing:
            raise RpcError(INVALID_PARAMS, f"missing parameter: {', '.join(sorted(missing))}")
        arguments = {}
        for name, raw in values.items():
            try:
                arguments[name] = self.decoders[name].decode(raw)
            except (msgspec.DecodeError, RecursionError) as error:
                raise RpcError(INVALID_PARAMS, f"parameter {name}: {error}") from None
        return arguments

    def _by_name(self, params: Raw | UnsetType) -> Mapping[str, Raw]:
        """Return the undecoded parameters by name, those of an array by their position."""
        if params is UNSET:
            return {}
        decoder = self._positional if bytes(params).lstrip()[:1] == b"[" else self._named
        try:
            given = decoder.decode(params)
        except msgspec.ValidationError as error:
            names = ", ".join(self.decoders) or "none"
            raise RpcError(INVALID_PARAMS, f"the parameters are {names}: {error}") from None
        values = {name: getattr(given, name) for name in self.decoders}
        return {name: raw for name, raw in values.items() if raw is not UNSET}


class Methods(Generic[C]):
    """The table of the methods that can be called, with positional or with named parameters.

    A handler is ``def method(context, first: int, second: str = "")``; it returns the result, or a `Later`.
    Parameters are checked against the annotations. An annotation `msgspec.Raw` leaves the JSON of that
    parameter undecoded.

    ::

        methods: Methods[Session] = Methods()

        @methods.add
        def double(session, number: int):
            return 2 * number
    """

    def __init__(self) -> None:
        self._methods: dict[str, _Method] = {}

    def add(self, handler: Handler) -> Handler:
        """Add a function under its name; usable as a decorator.

        The annotations have to be types at run time, not strings: a module of handlers has no
        ``from __future__ import annotations``.
        """
        self._methods[handler.__name__] = _Method(handler)
        return handler

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    def call(self, context: C, call: Call | RpcError, respond: Callable[[bytes | None], object]) -> None:
        """Run one call and pass its answer to `respond`, now or later; None for a notification.

        An exception of the handler other than `RpcError` passes, for it is a bug: the server logs it and
        answers with INTERNAL_ERROR.

        Args:
            context: the first argument of the handler.
            call: the call, or the error to answer it with.
            respond: called once with the encoded answer.
        """
        if isinstance(call, RpcError):
            respond(failure(None, call))
            return

        def answer(result: Any) -> None:
            if call.is_notification:
                respond(None)
            elif isinstance(result, RpcError):
                respond(failure(call.id, result))
            else:
                respond(reply(call.id, result))

        try:
            method = self._methods.get(call.method)
            if method is None:
                raise RpcError(METHOD_NOT_FOUND, f"no method {call.method[:50]!r}")  # noqa: TRY301
            result = method.handler(context, **method.arguments(call.params))
        except RpcError as error:
            answer(error)
            return
        if isinstance(result, Later):
            result.when_done(answer)
        else:
            answer(result)


class Later:
    """A result that follows later; a handler returns it, and resolves it once on the same thread.

    Args:
        cancel: called when the result is not wanted any more, for example because the client has
            disconnected.
    """

    def __init__(self, cancel: Callable[[], object] | None = None) -> None:
        self.cancel = cancel or (lambda: None)
        """Called when the result is not wanted any more."""
        self._outcome: list[Any] = []
        self._answer: Callable[[Any], object] | None = None

    @property
    def is_done(self) -> bool:
        """Whether it was resolved."""
        return bool(self._outcome)

    def resolve(self, outcome: Any) -> None:
        """Set the result, or an `RpcError`; later ones are ignored."""
        if not self._outcome:
            self._outcome.append(outcome)
            if self._answer is not None:
                self._answer(outcome)

    def when_done(self, answer: Callable[[Any], object]) -> None:
        """Call `answer` with the outcome, now or later."""
        self._answer = answer
        if self._outcome:
            answer(self._outcome[0])
