"""How the place of a link was found, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berrymq import Link

__all__ = ["how_found"]

# By what `Link.found_by` calls it.
WAYS = {
    "environment": "a hub that BERRYMQ_HUB_URL names",
    "connection file": "the hub of this machine, by its connection file",
    "started a hub": "the hub of this machine, which was started for this link",
    "JupyterHub": "this user's server of JupyterHub",
}


def how_found(link: Link) -> str:
    """Say how the place of a link was found, so that it can be told without knowing the ways there are."""
    return WAYS.get(link.found_by, link.found_by)
