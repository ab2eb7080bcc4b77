"""The default name of this process's node, by which people recognise it as the source of messages."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["default_node_name"]

_MAX_CHARACTERS = 100
_LAUNCHERS = ("ipykernel_launcher", "colab_kernel_launcher")
"""The scripts that start a kernel; their names say nothing to people."""


def default_node_name(
    environ: Mapping[str, str] = os.environ,
    *,
    notebook: str | None = None,
    argv: Sequence[str] | None = None,
    modules: Collection[str] | None = None,
) -> str:
    """Return a name by which people recognise this process.

    In a notebook it is the notebook's file name: ``notebook`` if the caller knows it (VS Code), else as the
    Jupyter server has passed it to its kernel. Elsewhere it is the script's name, or ``python``, and the
    process number.

    Args:
        environ: the environment; ``JPY_SESSION_NAME`` is read.
        notebook: path of the notebook.
        argv: by default ``sys.argv``.
        modules: by default ``sys.modules``. A script started by a notebook has its environment too, but is no
            kernel.

    Returns:
        One printable line such as ``analysis.ipynb`` or ``train-4711``.
    """
    is_kernel = "ipykernel" in (sys.modules if modules is None else modules)
    session = notebook or (environ.get("JPY_SESSION_NAME") if is_kernel else None)
    return _clean(_base(session or "")) or _clean(f"{_program(argv)}-{os.getpid()}")


def _program(argv: Sequence[str] | None) -> str:
    """Return the script's name without its suffix; the package's if it was started with ``-m``."""
    path = next(iter(sys.argv if argv is None else argv), "")
    name = _base(path)
    if name == "__main__.py":
        name = _base(re.split(r"[/\\]+", path)[-2]) if re.search(r"[/\\]", path) else ""
    name = name.removesuffix(".py").removesuffix(".exe")
    if name in _LAUNCHERS:
        return "kernel"
    return "python" if name in ("", "-", "-c", "-m") else name


def _base(path: str) -> str:
    """Return the last part of a path of any system: a server may run on another one than its kernel."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _clean(name: str) -> str:
    """Make a name printable, one line, and at most `_MAX_CHARACTERS` long."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
