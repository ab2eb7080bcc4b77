"""The directory of the connection files of one user's nodes: private to that user, or refused.

By default it is ``berrymq`` in the user's runtime directory (``XDG_RUNTIME_DIR`` on Linux). The files hold
access tokens, so a directory in which other users could read, exchange or add files is refused, with advice.
"""

from __future__ import annotations

import errno
import os
import stat
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from berrymq.bridge.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RuntimeDirectoryError", "private_directory", "runtime_directory"]

VARIABLE = "BERRYMQ_RUNTIME_DIR"
"""The environment variable that names another directory, for example to keep groups of nodes apart."""

_MAX_LINKS = 40
"""The limit of symbolic links in one path, as in Linux."""

_ADVICE = f"Mend that, or set {VARIABLE} to a private directory of yours"


class RuntimeDirectoryError(LinkError):
    """The runtime directory is unusable, or others could read or replace files in it."""


def runtime_directory(environ: Mapping[str, str] = os.environ, *, create: bool = True) -> Path:
    """Return the directory of this user's connection files; create it if missing, and check it each time.

    It is ``berrymq`` below the user's runtime directory, or ``BERRYMQ_RUNTIME_DIR``. With ``create=False`` a
    missing directory is returned without a check.

    Args:
        environ: the environment, with ``BERRYMQ_RUNTIME_DIR`` and the variables of the platform.
        create: create it if it is missing.

    Returns:
        The absolute path.

    Raises:
        RuntimeDirectoryError: there is no private one. The text says what to do.
    """
    given = environ.get(VARIABLE)
    path = Path(given) if given else _usual()
    if not path.is_absolute():
        raise RuntimeDirectoryError(f"{VARIABLE} must be an absolute path, not {str(path)!r}")
    return private_directory(path, create=create)


def private_directory(path: Path, *, create: bool = True) -> Path:
    """Return ``path`` if it is this user's, closed to all others, and no other user can replace it.

    The result is not cached, so that no verdict outlives its reason.

    Args:
        path: the directory.
        create: create it, with mode 0700, if it is missing.

    Raises:
        RuntimeDirectoryError: it is not, or can't be made.
    """
    try:
        problem = _problem(path, create=create)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RuntimeDirectoryError(f"can't use {path} for connection files: {reason}. {_ADVICE}") from error
    if problem:
        raise RuntimeDirectoryError(f"{problem}: access tokens would not be safe there. {_ADVICE}")
    return path


def _usual() -> Path:
    """Return where the system stores such files."""
    import platformdirs

    with warnings.catch_warnings():
        # It falls back to a directory that our own check accepts or not, whatever it warns of.
        warnings.simplefilter("ignore")
        try:
            return Path(platformdirs.user_runtime_dir("berrymq", appauthor=False))
        except OSError as error:
            raise RuntimeDirectoryError(f"no directory for connection files: {error}. {_ADVICE}") from error


def _problem(path: Path, *, create: bool) -> str | None:
    """Return what is wrong with the directory, as the beginning of a sentence; make it if requested.

    The path is walked from its root, as the system does it, and each step is checked before the next: a user
    who may write into one of the directories, or has made one of the links, could exchange everything below.

    Args:
        path: absolute.
        create: create missing directories.

    Returns:
        None when it is private, or missing where only this user could create it.

    Raises:
        OSError: a step can't be read or created, or is no directory.
    """
    if os.name == "nt":  # pragma: no cover
        # The profile's access control lists keep it private there; mode bits say nothing.
        if create:
            path.mkdir(parents=True, exist_ok=True)
        return f"{path} is a symbolic link" if path.is_symlink() else None
    step = Path(path.anchor)
    names = list(path.parts[1:])
    links = 0
    found = step.lstat()
    while names:
        if problem := _parent_problem(step, found, path):
            return problem
        name = names.pop(0)
        if name == "..":
            step = step.parent
            found = step.lstat()
            continue
        step /= name
        try:
            found = _lstat(step, create=create)
        except FileNotFoundError:
            return None  # it does not exist, and no other user can create it
        if stat.S_ISLNK(found.st_mode):
            if not names:
                return f"{step} is a symbolic link"
            if problem := _owner_problem(step, found, path):
                return problem
            links += 1
            if links > _MAX_LINKS:
                return f"{path} leads through more than {_MAX_LINKS} symbolic links"
            target = step.readlink()
            names[:0] = target.parts[1:] if target.is_absolute() else target.parts
            step = Path(target.anchor) if target.is_absolute() else step.parent
            found = step.lstat()
        elif not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{step} is not a directory")
    return _leaf_problem(step, found)


def _lstat(step: Path, *, create: bool) -> os.stat_result:
    """Return the status of a path; make a missing directory if requested, private from the start."""
    try:
        return step.lstat()
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):  # made by another process just now: it is checked like any other
        step.mkdir(mode=0o700)
    return step.lstat()


def _leaf_problem(step: Path, found: os.stat_result) -> str | None:
    """Return why other users could read or write the directory itself."""
    if found.st_uid != os.geteuid():
        return f"{step} belongs to another user (uid {found.st_uid})"
    if found.st_mode & 0o077:
        return f"{step} is open to other users (mode {stat.S_IMODE(found.st_mode):04o}; chmod 700 closes it)"
    return None


def _parent_problem(step: Path, found: os.stat_result, path: Path) -> str | None:
    """Return why others could replace the entries of this directory."""
    if problem := _owner_problem(step, found, path):
        return problem
    # In a sticky one, such as /tmp, only its owner can replace an entry; the owner is checked next.
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        if found.st_mode & stat.S_IWOTH:
            return f"{step}, above {path}, can be written by every user (chmod o-w closes it)"
        return f"{step}, above {path}, can be written by its group (gid {found.st_gid}; chmod g-w closes it)"
    return None


def _owner_problem(step: Path, found: os.stat_result, path: Path) -> str | None:
    """Return why a step of the path can't be trusted: its owner is neither this user nor root."""
    if found.st_uid in (0, os.geteuid()):
        return None
    kind = "a symbolic link above" if stat.S_ISLNK(found.st_mode) else "above"
    return f"{step}, {kind} {path}, belongs to another user (uid {found.st_uid})"
