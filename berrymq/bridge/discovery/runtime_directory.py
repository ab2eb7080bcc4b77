"""The directory where the nodes of one user find each other: private to that user, or refused."""

from __future__ import annotations

import os
import stat
import warnings
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from berrymq.bridge.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RuntimeDirectoryError", "private_directory", "runtime_directory"]

VARIABLE = "BERRYMQ_RUNTIME_DIR"


class RuntimeDirectoryError(LinkError):
    """The runtime directory can't be had, or others could read or replace what lies in it."""


def runtime_directory(environ: Mapping[str, str] = os.environ, *, create: bool = True) -> Path:
    """The directory of this user's connection files, made when missing and checked at each call.

    It is ``berrymq`` below the user's runtime directory, or what ``BERRYMQ_RUNTIME_DIR`` says. With
    ``create=False`` a directory that does not exist is returned unmade.
    """
    given = environ.get(VARIABLE)
    path = Path(given) if given else _usual(environ.get("XDG_RUNTIME_DIR"), environ.get("TMPDIR"))
    if not path.is_absolute():
        raise RuntimeDirectoryError(f"{VARIABLE} must be an absolute path, not {str(path)!r}")
    return private_directory(path, create=create)


def private_directory(path: Path, *, create: bool = True) -> Path:
    """Give ``path`` back if it is this user's, closed to everyone else, and nobody else can replace it.

    Raises:
        RuntimeDirectoryError: it is not so, or can't be made.
    """
    try:
        if create:
            _make(path)
        problem = _problem(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not create:
            return path
        reason = error.strerror or str(error)
        raise RuntimeDirectoryError(f"can't use {path} for connection files: {reason}. {_MEND}") from error
    if problem:
        raise RuntimeDirectoryError(f"{problem}: access tokens would not be safe there. {_MEND}")
    return path


_MEND = f"Mend that, or set {VARIABLE} to a private directory of yours"


@lru_cache(maxsize=8)
def _usual(xdg: str | None, temporary: str | None) -> Path:  # noqa: ARG001 - they are the key of the cache
    """Where the system keeps such files; the arguments are what it depends on."""
    import platformdirs

    with warnings.catch_warnings():
        # It falls back to a place that our own check accepts or not, whatever it warns of.
        warnings.simplefilter("ignore")
        try:
            return Path(platformdirs.user_runtime_dir("berrymq", appauthor=False))
        except OSError as error:
            raise RuntimeDirectoryError(f"no place for connection files: {error}. {_MEND}") from error


def _make(path: Path) -> None:
    """Make ``path`` and what is missing above it, each closed to others from its first moment."""
    if path.exists() or path.is_symlink():
        return
    _make(path.parent)
    with suppress(
        FileExistsError
    ):  # made just now by another process of ours, or not of ours: the check tells
        path.mkdir(mode=0o700)


def _problem(path: Path) -> str | None:
    """What is wrong with the directory, as the beginning of a sentence."""
    leaf = path.lstat()
    if stat.S_ISLNK(leaf.st_mode):
        return f"{path} is a symbolic link"
    if not stat.S_ISDIR(leaf.st_mode):
        return f"{path} is not a directory"
    if os.name == "nt":
        return None  # the profile's access control lists keep it private there; mode bits say nothing
    if leaf.st_uid != os.geteuid():
        return f"{path} belongs to another user (uid {leaf.st_uid})"
    if leaf.st_mode & 0o077:
        return f"{path} is open to other users (mode {stat.S_IMODE(leaf.st_mode):04o}; chmod 700 closes it)"
    shared = False
    for place in reversed((path.resolve(), *path.resolve().parents)):
        found = place.stat()
        if shared and found.st_uid not in (0, os.geteuid()):
            return f"{place}, above {path}, belongs to another user (uid {found.st_uid})"
        shared = bool(found.st_mode & stat.S_IWOTH)
        if shared and not found.st_mode & stat.S_ISVTX:
            return f"{place}, above {path}, can be written by every user"
    return None
