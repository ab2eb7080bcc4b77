"""A progress bar that also sends its progress; with ``tqdm``.

``tqdm.auto`` selects the bar: a widget in notebooks, text elsewhere.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .base import Adapter

try:
    from tqdm.auto import tqdm  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError("a progress bar needs tqdm: pip install tqdm", name=error.name) from None

if TYPE_CHECKING:
    from types import TracebackType

    from berrymq.bus import Bus

__all__ = ["Progress"]

STOPPING = (GeneratorExit, KeyboardInterrupt)
"""The exceptions that end a loop early without being an error.

A loop that is left by ``break``, ``return`` or an error in its body closes the generator that feeds it, which
does not get the reason.
"""


class Progress(Adapter, tqdm):  # type: ignore[misc]  # tqdm comes without types
    """A `tqdm` that sends ``NAME:progress`` when it begins, whenever it draws itself, and at its end.

    ``message.args[0]`` is how many are done; ``total``, ``elapsed`` (seconds), ``rate`` (per second) and
    ``description`` are keywords. The last message has the outcome: ``done=True`` when all is done,
    ``stopped=True`` when it was left before that, and ``failed="ValueError"`` when it is known that an error
    ended it, as it is in ``with Progress(...) as bar``. All else is as in `tqdm`, which also decides how
    often it draws.

    ::

        for item in Progress(items, name="load"):      # load:progress(1, total=100, ...)
            ...

    Args:
        args: those of `tqdm`, such as the iterable.
        name: the name of the messages.
        bus: where they are sent; None for the default bus.
        kwargs: those of `tqdm`; with ``disable=True`` nothing is sent.
    """

    def __init__(self, *args: Any, name: str = "progress", bus: Bus | None = None, **kwargs: Any) -> None:
        self._ended = True  # until there is something to end
        self._handled = sys.exception()  # an error from before this bar is none of its own
        Adapter.__init__(self, name, bus)
        tqdm.__init__(self, *args, **kwargs)
        self._silent = self._ended = self.disable
        """Whether the bar is disabled."""
        if not self.disable:
            self._report()

    def update(self, n: float | None = 1) -> bool | None:
        """Advance by `n`; return whether the bar drew itself, and with that sent its progress."""
        drawn: bool | None = tqdm.update(self, n)
        if drawn:
            self._report()
        return drawn

    def stop(self) -> None:
        """Close the bar; scopes and ``with`` blocks of adapters call it by this name."""
        self.close()

    def close(self) -> None:
        """Close the bar and send the outcome. Calling it again does nothing."""
        tqdm.close(self)
        if not self._ended:
            self._ended = True
            error = sys.exception()
            self._report(**self._outcome(None if error is self._handled else error))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        already = self._ended
        self.close()
        # The loop inside has ended without knowing of the error that ended it.
        if already and not self._silent and "failed" in (outcome := self._outcome(error)):
            self._report(**outcome)

    def _outcome(self, error: BaseException | None) -> dict[str, Any]:
        """Return the outcome as keywords: one of ``done``, ``failed`` and ``stopped``.

        Args:
            error: what ended the loop, if that is known.
        """
        if self.total is not None and self.n >= self.total:
            return {"done": True}
        if error is not None and not isinstance(error, STOPPING):
            return {"failed": type(error).__name__}
        if error is not None or self.total is not None:
            return {"stopped": True}
        return {"done": True}

    def _report(self, **more: Any) -> None:
        """Send the present state, with `more` keywords."""
        # Not from `display`, which runs with tqdm's lock held.
        state = self.format_dict
        elapsed = state["elapsed"]
        rate = state["rate"] or ((self.n - self.initial) / elapsed if elapsed else None)
        self.send(
            "progress",
            self.n,
            total=self.total,
            elapsed=elapsed,
            rate=rate,
            description=(self.desc or "").removesuffix(": "),
            **more,
        )
