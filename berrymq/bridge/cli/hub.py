"""The command ``berrymq hub``, in the terminal or in the background.

What runs is ``berrymq.bridge.hub.process.serve_hub``; this module prints, and reports readiness to the
process that has started a hub in the background (``discovery/starting.py``).
"""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from berrymq.bridge.discovery.connection_file import read_hub
from berrymq.bridge.discovery.starting import READY, launch_hub
from berrymq.bridge.errors import LinkError
from berrymq.bridge.hub.process import HubOptions, detach, log_to_file, serve_hub

from .terminal import Printer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berrymq.bridge.discovery.connection_file import ConnectionFile

__all__ = ["HubOptions", "hub", "launch"]


def hub(options: HubOptions, memory: int | None, *, detach_when_ready: bool) -> int:
    """Run the hub until a signal ends it; with `detach_when_ready`, in the background once it listens.

    Args:
        options: how it listens.
        memory: MiB that it may hold for slow nodes; by default that of `HubOptions`.
        detach_when_ready: another process waits for it to be ready.

    Returns:
        The exit code: 130 after Ctrl-C, else 0.

    Raises:
        LinkError: it can't listen, or a hub of this user runs already.
    """
    if memory is not None:
        options = replace(options, memory=memory << 20)
    printer = Printer()

    def on_ready(file: ConnectionFile) -> None:
        if detach_when_ready:
            log_to_file()
            printer.note(f"{READY} {file.info.url}")
            detach()
            return
        printer.note(f"berryMQ hub at {file.info.url}")
        printer.note("Your programs on this machine find it by themselves. Ctrl-C ends it.")
        printer.note(f"Others need the access token that is in {file.path}")
        printer.flush()

    if (info := read_hub()) is not None:
        raise LinkError(f"a hub of yours runs already at {info.url} (process {info.pid})")
    return 130 if serve_hub(options, on_ready) == signal.SIGINT else 0


def launch(arguments: Sequence[str]) -> int:
    """Start a hub in the background, unless one runs, and print its URL; return the exit code.

    Args:
        arguments: those of ``berrymq hub``, without ``--detached``.

    Raises:
        LinkError: it did not start.
    """
    launched = launch_hub(arguments)
    printer = Printer()
    printer.note(f"{'started' if launched.is_new else 'already running'} {launched.info.url}")
    printer.flush()
    return 0
