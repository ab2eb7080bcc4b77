"""Small tables, as text and as HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from berrymq.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

LEFT = ' style="text-align:left"'


class Table:
    """Rows of text below a line of titles.

    Texts may be those of other nodes: characters that would move or hide something are escaped.

    Args:
        titles: of the columns.
        rows: each with one text for each column.
        empty: shown when there are no rows.
    """

    def __init__(self, titles: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str = "") -> None:
        self.titles = titles
        self.rows = [[printable(cell) for cell in row] for row in rows]
        self.empty = printable(empty)

    def text(self) -> str:
        """Return the table as lines with aligned columns."""
        if not self.rows:
            return self.empty
        lines = [self.titles, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def html(self) -> str:
        """Return the table as HTML in which every text is escaped."""
        if not self.rows:
            return f"<div>{escape(self.empty)}</div>"
        head = "".join(f"<th{LEFT}>{escape(title)}</th>" for title in self.titles)
        body = "".join(
            f"<tr>{''.join(f'<td{LEFT}>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
