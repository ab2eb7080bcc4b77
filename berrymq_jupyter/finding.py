"""How the place of a link was found, in words for people."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berrymq import Link

__all__ = ["how_found"]

# By what `Link.found_by` calls it.
WAYS = {
    "environment": "a hub that BERRYMQ_HUB_URL names",
    "this notebook's Jupyter server": "the hub of this notebook's Jupyter server",
    "connection file": "a hub on this machine, by its connection file",
    "connection file of a Jupyter server": "a Jupyter server on this machine, by its connection file",
    "started a hub": "a hub that was started for this link",
    "JupyterHub": "this user's server of JupyterHub",
}


def how_found(link: Link) -> str:
    """Say how the place of a link was found, so that it can be told without knowing the ways there are."""
    way = link.found_by
    if way == "environment" and "JPY_PARENT_PID" in os.environ:  # the server that started this kernel said so
        way = "this notebook's Jupyter server"
    return WAYS.get(way, way)
