"""The scripts and style sheets of the views, as text.

The sources are the TypeScript modules beside this file. When the package is built, ``hatch_build.py`` has
esbuild make a script and a style sheet of each view, in ``berrymq_jupyter/static``. Text instead of a path
keeps anywidget from holding a reference to every instance.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["module", "style"]


@cache
def module(view: str) -> str:
    """Return the script of a view: an ES module without imports."""
    return bundled(f"{view}.js")


@cache
def style(view: str) -> str:
    """Return the style sheet of a view."""
    return bundled(f"{view}.css")


def bundled(name: str) -> str:
    """Read a file of the bundle.

    Raises:
        FileNotFoundError: the bundle was not built; the text says how to.
    """
    try:
        return files("berrymq_jupyter").joinpath("static", name).read_text("utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"the pages of berrymq_jupyter are not built ({name}): install the package, "
            "in a clone of the source with `pip install -e .` or `make lab`"
        ) from None
