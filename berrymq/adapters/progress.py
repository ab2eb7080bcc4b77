"""A progress bar that also sends how far it is; with ``tqdm``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm  # type: ignore[import-untyped]

from .base import Adapter

if TYPE_CHECKING:
    from berrymq.bus import Bus

__all__ = ["Progress"]


class Progress(Adapter, tqdm):  # type: ignore[misc]  # tqdm comes without types
    """A `tqdm` that sends ``NAME:progress`` whenever it draws itself, and once more at its end.

    ``message.args[0]`` is how many are done; ``total``, ``elapsed`` (seconds), ``rate`` (per second),
    ``description`` and, in the last message, ``done=True`` are keywords. All else is as in `tqdm`.
    """

    def __init__(self, *args: Any, name: str = "progress", bus: Bus | None = None, **kwargs: Any) -> None:
        self._ended = True  # until there is something to end
        Adapter.__init__(self, name, bus)
        tqdm.__init__(self, *args, **kwargs)
        self._ended = self.disable

    def update(self, n: float | None = 1) -> bool | None:
        """Advance by `n`."""
        drawn: bool | None = tqdm.update(self, n)
        if drawn:
            self._report()
        return drawn

    def stop(self) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar."""
        tqdm.close(self)
        if not self._ended:
            self._ended = True
            self._report(done=True)

    def __exit__(self, *error: object) -> None:
        self.close()

    def _report(self, **more: Any) -> None:
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
