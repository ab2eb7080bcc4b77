"""`SendForm`: send messages by filling in a form."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from IPython.core.error import UsageError
from IPython.core.getipython import get_ipython

import berrymq
from berrymq import Identifier
from berrymq.errors import IdentifierError
from berrymq_jupyter.arguments import CALLEE, Arguments, evaluate_arguments, parse_call

from . import assets
from .base import Reply, RequestError, View, Work
from .reach import Reach
from .render import cut, error_text, shown
from .static import Form, clock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SendForm"]

HISTORY: Final = 20
"""Sent messages that are kept for sending them again."""
LONGEST: Final = 1_000_000
"""The longest payload that is typed or pasted, in characters."""
SAVED: Final = 200
"""Characters of a payload in the static form."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The fields of a form.

    Attributes:
        identifier: as it is typed, perhaps invalid.
        payload: as it is typed.
    """

    identifier: str
    payload: str
    notation: str = "python"
    """The notation of the payload: ``python`` or ``json``."""


class SendForm(View):
    """A form that sends messages: an identifier, and a payload as a Python argument list or as JSON.

    ::

        SendForm("train:stop", "'enough', after=3")

    Python is evaluated among the names of the notebook, as in ``%twitter``. Of JSON, an object gives
    keywords, an array positional arguments, anything else is the one argument. The fields are checked while
    they are typed, without evaluating them.

    Args:
        identifier: fills in the field.
        payload: fills in the other one, as a Python argument list.
        bus: where messages are sent; by default the default bus.
    """

    title = "SendForm"
    _esm = assets.module("send_form")
    _css = assets.style("send_form")

    def __init__(
        self, identifier: str | Identifier = "", payload: str = "", *, bus: berrymq.Bus | None = None
    ) -> None:
        super().__init__()
        self.bus = berrymq.default_bus if bus is None else bus
        self.draft = Draft(str(identifier), payload)
        """The present content of the fields."""
        self.sent: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        """The messages sent last, as pages get them."""
        self.count = 0
        """How many were sent."""
        self.reach = Reach(self.bus)
        self.unsent = True
        """Whether there is an update for the page."""
        self.start()

    # -- for the base ----------------------------------------------------------------------------------------

    def pending(self) -> bool:
        """Return whether an update is to be sent to the page."""
        return self.unsent

    def absorb(self, now: float) -> float | None:
        """Do nothing: the form collects no messages."""

    def update(self, everything: bool) -> dict[str, Any] | None:
        """Return what was sent, the initial fields, and the known identifiers."""
        if not self.unsent and not everything:
            return None
        self.unsent = False
        return {
            "full": everything,
            "id": self.draft.identifier,
            "payload": cut(self.draft.payload, LONGEST),
            "as": self.draft.notation,
            "sent": list(self.sent),
        }

    def answer(self, request: dict[str, Any]) -> Reply | Work | None:
        """Serve a request of the page: ``check`` at once, ``send`` as work for another thread.

        Args:
            request: its JSON.

        Raises:
            RequestError: it is neither.
        """
        draft = Draft(
            str(request.get("id", "")),
            str(request.get("payload", "")),
            "json" if request.get("as") == "json" else "python",
        )
        match request.get("t"):
            case "check":
                self.keep(draft)
                return self.check(draft)
            case "send":
                self.keep(draft)
                return partial(self.send_message, draft, self.check(draft))
        raise RequestError("the page asked for something unknown; it may be of another version: reload it")

    def form(self) -> Form:
        """Return the static form, for the saved notebook."""
        rows: list[tuple[str, ...]] = [
            (clock(entry["time"] / 1000), entry["id"], cut(entry["payload"], SAVED), entry["error"])
            for entry in reversed(self.sent)
        ]
        draft = self.draft
        if draft.identifier or draft.payload:
            rows.insert(0, ("filled in", draft.identifier, cut(draft.payload, SAVED), ""))
        facts = f"a form to send messages with; {self.count or 'none'} sent from here"
        return Form(self.title, "", facts, ("time", "identifier", "payload", ""), rows)

    def keep(self, draft: Draft) -> None:
        """Store the fields, for a page that is loaded again and for the saved notebook."""
        if draft != self.draft:
            self.draft = draft
            self.static.changed(monotonic())

    # -- requests --------------------------------------------------------------------------------------------

    def check(self, draft: Draft) -> dict[str, Any]:
        """Return what is wrong with the two fields, and the followers that the message would reach.

        Nothing is evaluated.

        Args:
            draft: the fields.

        Returns:
            The reply for the page.
        """
        identifier = draft.identifier
        problem_id, parsed = attempt(lambda: Identifier.parse(identifier.strip()))
        read = read_json if draft.notation == "json" else check_python
        problem_payload, _ = attempt(lambda: read(limited(draft.payload)))
        return {
            "t": "checked",
            "idProblem": problem_id if identifier.strip() else "",
            "payloadProblem": problem_payload,
            "ready": not problem_id and not problem_payload,
            "known": self.reach.identifiers(),
            "reach": "" if parsed is None else self.reach.describe(parsed),
        }

    def send_message(self, draft: Draft, checked: Reply) -> Reply:
        """Send the message of the two fields. The payload and the followers may take long.

        Args:
            draft: the fields.
            checked: what `check` has returned for them.

        Returns:
            The reply for the page: that of `check` with the error of evaluation, or ``sent`` with that of
            followers.
        """
        identifier = draft.identifier
        if not checked["ready"]:
            return {
                **checked,
                "idProblem": checked["idProblem"] or ("" if identifier.strip() else "write one"),
            }
        evaluate = read_json if draft.notation == "json" else evaluate_python
        problem, found = attempt(lambda: evaluate(draft.payload), BaseException)
        if found is None:
            return {**checked, "payloadProblem": problem, "ready": False}
        parsed = Identifier.parse(identifier.strip())
        error = ""
        try:
            self.bus.twitter(parsed, *found.args, **found.kwargs)
        except BaseException as trouble:  # noqa: BLE001 - a follower's, or a payload that no link can carry
            error = error_text(trouble)
        with self.guard:
            self.remember(str(parsed), draft, error)
        return {**checked, "t": "sent", "id": str(parsed), "error": error}

    def remember(self, identifier: str, draft: Draft, error: str) -> None:
        """Store what was sent. The guard of the view is held.

        Args:
            identifier: in canonical form.
            draft: the fields.
            error: of a follower, or "".
        """
        entry = {
            "time": round(time() * 1000),
            "id": identifier,
            "payload": cut(draft.payload, 2000),
            "as": draft.notation,
            "error": error,
        }
        self.sent.append(entry)
        self.count += 1
        self.unsent = True
        self.static.changed(monotonic())

    def __repr__(self) -> str:
        identifier = f" {self.draft.identifier}" if self.draft.identifier else ""
        return f"<SendForm{identifier}{', closed' if self.closed else ''}>"


def attempt(work: Callable[[], Any], also: type[BaseException] = ValueError) -> tuple[str, Any]:
    """Return what went wrong, or "", and the result, or None. Errors of our own are shown without a class.

    Args:
        work: is called once.
        also: further exceptions that are caught, and shown with their class.
    """
    try:
        return "", work()
    except (UsageError, IdentifierError, ValueError) as problem:
        return shown(cut(" ".join(str(problem).split()), 400)), None
    except also as problem:
        return error_text(problem, 400), None


def limited(text: str) -> str:
    """Return `text`; raise an error if it is too long to be checked while it is typed."""
    if len(text) > LONGEST:
        raise ValueError(
            f"a payload of {len(text):,} characters is too long for a form: use %twitter and a variable"
        )
    return text


def check_python(text: str) -> None:
    """Check an argument list; nothing is evaluated.

    Raises:
        UsageError: it is none.
    """
    if text.strip():
        parse_call(f"{CALLEE}({text}\n)", text)


def evaluate_python(text: str) -> Arguments:
    """Evaluate an argument list among the names of the notebook.

    Raises:
        UsageError: it is none, or an argument raises.
    """
    shell = get_ipython()
    return evaluate_arguments(text, {} if shell is None else shell.user_ns)


def read_json(text: str) -> Arguments:
    """Read JSON as a payload: an object as keywords, an array as arguments, anything else as one argument.

    Raises:
        ValueError: it is not JSON.
    """
    if not text.strip():
        return Arguments((), {})
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"this is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise ValueError("this JSON is nested too deep") from None
    if isinstance(value, dict):
        return Arguments((), value)
    return Arguments(tuple(value) if isinstance(value, list) else (value,), {})
