"""Tables of what a hub holds for a room: shared queues and retained messages. Loads the bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from berrymq.bridge.errors import LinkError
from berrymq.bridge.keeping import Keep, Kept

from .tables import Table

if TYPE_CHECKING:
    from berrymq import Link

__all__ = ["hub_tables", "kept_table"]

MAX_MEMBERS = 8
"""Members of one shared queue that a table names."""


def hub_tables(link: Link) -> list[Table]:
    """Return the tables for the room of a link, without empty ones; none if the hub does not answer."""
    try:
        status = link.status()
    except LinkError:
        return []
    groups, kept = (
        [one for one in status.get(key, ()) if one["room"] == link.room] for key in ("groups", "kept")
    )
    tables = [
        upstream_table(status.get("upstream")),
        queue_table(groups),
        kept_table(Kept(msgspec.convert(kept, list[Keep]), [], 0, 0)),
    ]
    return [table for table in tables if table.rows]


def upstream_table(upstream: dict[str, str] | None) -> Table:
    """Return a table of the system that links a hub to those of other machines."""
    rows = [(upstream["url"], upstream["problem"] or "linked")] if upstream else []
    return Table(("other machines", ""), rows)


def queue_table(groups: list[dict[str, Any]]) -> Table:
    """Return a table of shared queues, as the status of a hub describes them."""
    rows = []
    for one in groups:
        members = [f"{member['name']} ({member['taken']:,})" for member in one["members"]]
        more = len(members) - MAX_MEMBERS + one["members_more"]
        named = ", ".join(members[:MAX_MEMBERS]) or "no members"
        taken_by = f"{named} and {more:,} more" if more > 0 else named
        dropped = f"{one['dropped']:,} dropped" if one["dropped"] else ""
        rows.append((one["id"], f"{one['depth']:,}", f"{one['taken']:,}", taken_by, dropped))
    return Table(("shared queue", "waiting", "taken", "by", "dropped"), rows)


def kept_table(kept: Kept) -> Table:
    """Return a table of what a hub keeps."""
    return Table(
        ("keeps", "retained", "at most", "", "dropped"),
        kept.rows(),
        empty="the hub keeps nothing; %keep train:* has it retain messages",
    )
