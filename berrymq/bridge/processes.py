"""Whether a process still runs, told apart from a later one that was given the same number."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
import uuid
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["Process", "is_running", "start_mark", "this_process"]

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_PID_NAMESPACE = "/proc/self/ns/pid"


class Process(Struct, frozen=True, omit_defaults=True):
    """A process, as it tells others of itself.

    Attributes:
        machine: names the machine that it runs on, or the part of it that counts its processes alone.
        pid: its number there.
        mark: what tells it from a later one of the same number, where the system can tell.
    """

    machine: Annotated[str, Meta(min_length=1, max_length=64)]
    pid: Annotated[int, Meta(ge=1, lt=2**32)]
    mark: Annotated[str, Meta(max_length=64)] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it is known to run no longer; of those of another machine that can't be known."""
        return self.machine == _machine() and not (is_running(self.pid, self.mark) or _is_hidden(self.pid))


def this_process() -> Process:
    """The one that calls."""
    pid = os.getpid()
    return Process(_machine(), pid, start_mark(pid))


def _is_hidden(pid: int) -> bool:
    """Whether there is a process that belongs to another user, of whose like the system may tell nothing."""
    if os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


@functools.cache
def _machine() -> str:
    """Differs between machines, between containers that count their processes apart, and with each boot."""
    try:
        parts = [Path(_BOOT_ID).read_text(encoding="ascii"), str(Path(_PID_NAMESPACE).readlink())]
    except OSError:  # not a Linux
        parts = [platform.node(), str(uuid.getnode())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def start_mark(pid: int) -> str | None:
    """What tells this process from a later one of the same number; ``None`` when the system can't say."""
    return _state(pid)[1]


def is_running(pid: int, mark: str | None = None) -> bool:
    """Whether process ``pid`` runs, and is the one that ``mark`` (from :func:`start_mark`) was taken of.

    A process that has ended but was not yet collected by its parent counts as gone.
    """
    running, current = _state(pid)
    return running and (mark is None or current is None or mark == current)


if sys.platform == "win32":  # pragma: no cover - os.kill(pid, 0) would end the process there
    import ctypes
    from ctypes import wintypes

    _QUERY_LIMITED_INFORMATION = 0x1000
    _STILL_ACTIVE = 259

    def _state(pid: int) -> tuple[bool, str | None]:
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.OpenProcess.restype = wintypes.HANDLE
        kernel32.CloseHandle.argtypes = [wintypes.HANDLE]
        handle = kernel32.OpenProcess(_QUERY_LIMITED_INFORMATION, False, pid) if 0 < pid < 2**32 else None
        if not handle:
            return False, None
        try:
            code = wintypes.DWORD()
            times = [wintypes.FILETIME() for _ in range(4)]
            process = wintypes.HANDLE(handle)
            if not kernel32.GetExitCodeProcess(process, ctypes.byref(code)) or code.value != _STILL_ACTIVE:
                return False, None
            if not kernel32.GetProcessTimes(process, *map(ctypes.byref, times)):
                return True, None
            return True, f"{times[0].dwHighDateTime}.{times[0].dwLowDateTime}"
        finally:
            kernel32.CloseHandle(handle)

else:
    _PROC = "/proc"

    def _state(pid: int) -> tuple[bool, str | None]:
        """Whether it runs, and its start mark."""
        if pid <= 0:
            return False, None
        try:
            # The name in parentheses may hold anything, parentheses too: the fields begin after the last one.
            fields = Path(_PROC, str(pid), "stat").read_bytes().rpartition(b")")[2].split()
            return fields[0] not in (b"Z", b"X", b"x"), fields[19].decode("ascii")
        except (OSError, IndexError):
            return _answers(pid), None

    def _answers(pid: int) -> bool:
        """Whether a process of this number takes our signals (one that does not is somebody else's)."""
        try:
            os.kill(pid, 0)
        except (OSError, OverflowError):
            return False
        return True
