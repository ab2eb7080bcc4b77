"""The Jupyter servers that run with this user's rights, from the files in which they say so.

Read here rather than with ``jupyter_server.serverapp.list_running_servers``: importing that takes seconds,
and it deletes files.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from berrymq.bridge.processes import is_running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RunningServer", "all_servers", "answers", "running_servers"]

_MAX_BYTES = 64 * 1024
_PATIENCE = 1.0


class RunningServer(msgspec.Struct, frozen=True):
    """What a Jupyter server's file says of it. The token is not in the ``repr``."""

    url: str
    pid: int
    token: str = ""
    password: bool = False
    sock: str = ""

    def __repr__(self) -> str:
        return f"<Jupyter server at {self.url}, pid {self.pid}>"


def running_servers(environ: Mapping[str, str] = os.environ) -> Iterator[RunningServer]:
    """Servers that run and that we could get into; none where Jupyter is not installed."""
    return (server for server in all_servers(environ) if server.token or not server.password)


def all_servers(environ: Mapping[str, str] = os.environ) -> Iterator[RunningServer]:
    """Servers that run and have a URL, also those that want a password."""
    for path in _files(environ):
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                if os.name != "nt" and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
                    continue
                server = msgspec.json.decode(file.read(_MAX_BYTES), type=RunningServer)
            if not server.sock and server.url.startswith(("http://", "https://")) and is_running(server.pid):
                yield server


def answers(url: str, token: str | None) -> bool:
    """Whether a hub answers a ``ping`` at this URL. Takes a second at most; a redirect is no answer."""
    from http.client import HTTPException
    from urllib import request

    call = request.Request(  # noqa: S310 - only http(s) URLs come here
        url + "rpc",
        data=b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
        headers={
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        },
    )
    opener = request.OpenerDirector()  # knows no proxies and follows nothing
    opener.add_handler(request.HTTPHandler())
    opener.add_handler(request.HTTPSHandler())
    try:
        with opener.open(call, timeout=_PATIENCE) as reply:
            return reply.status == 200 and "result" in msgspec.json.decode(reply.read(_MAX_BYTES))
    except (OSError, HTTPException, msgspec.MsgspecError, TypeError):
        return False


def _files(environ: Mapping[str, str]) -> list[Path]:
    """The newest first."""
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:
        return []
    directory = Path(environ.get("JUPYTER_RUNTIME_DIR") or jupyter_runtime_dir())
    with suppress(OSError):
        return sorted(directory.glob("jpserver-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return []
