"""Accepting connections, also where the system lets this process open only so many files."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
from typing import Any

__all__ = ["AcceptingSocket", "connection_limit", "listen_on"]

OTHER_FILES = 128
"""Open files that are left to the rest of the process, where that is less than half of all."""

BACKLOG = 128
"""Connections that may wait to be accepted."""

_log = logging.getLogger("berrymq")


def connection_limit(most: int) -> int:
    """How many connections a server may hold, at most *most*."""
    if sys.platform == "win32":
        return most
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if files == resource.RLIM_INFINITY else min(most, max(files - OTHER_FILES, files // 2))


def listen_on(host: str, port: int) -> list[AcceptingSocket]:
    """Listen at every address of a host; with port 0 the system chooses one, the same for all.

    Raises:
        OSError: one of them can't be had. None is left open then.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    sockets: list[AcceptingSocket] = []
    with contextlib.ExitStack() as opened:
        for family, (name, _, *scope) in addresses:
            try:
                listening = socket.create_server((name, port, *scope), family=family, backlog=BACKLOG)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(addresses) > 1:
                    continue  # a system without IPv6, on which names have such addresses all the same
                # Python adds the address, which who reads this has at hand.
                raise OSError(error.errno, os.strerror(error.errno or 0)) from None
            port = listening.getsockname()[1]
            sockets.append(opened.enter_context(AcceptingSocket(listening)))
        opened.pop_all()
    return sockets


class AcceptingSocket(socket.socket):
    """A listening socket that refuses connections while no more files can be opened.

    Else they would wait in its queue, and the loop would try to accept them over and over. A file is held in
    spare for that: in its stead a connection can be accepted, in order to close it.

    Args:
        listening: the socket to take over; it is not used any more.
    """

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(fileno=listening.detach())
        self.setblocking(False)
        self._spare: int | None = None
        self._warned = False
        self._hold_spare()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            BlockingIOError: none waits.
            ConnectionAbortedError: there was one, and it has ended or was refused.
        """
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        if not self._warned:
            self._warned = True
            _log.warning("connections are refused, for no more files can be opened: see `ulimit -n`")
        self._release_spare()
        try:
            with super().accept()[0]:
                raise ConnectionAbortedError("refused")
        finally:
            self._hold_spare()

    def close(self) -> None:
        """Listen no more."""
        self._release_spare()
        super().close()

    def _hold_spare(self) -> None:
        with contextlib.suppress(OSError):  # somebody else was quicker
            self._spare = os.open(os.devnull, os.O_RDONLY)

    def _release_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)
