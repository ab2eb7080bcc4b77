"""The form of a view that needs no kernel and no script: its last state as a table of HTML and as text.

It is in an output of its own below the live view, which hides it while that is open. So it can be updated
without disturbing the live view (updating that one's own output would build it again, with its scroll
position and the user's selection lost), and a saved, exported or reopened notebook shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from time import localtime, strftime
from typing import TYPE_CHECKING, Any, Final

from .render import cut, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Form", "StaticOutput", "clock", "publish"]

QUIET: Final = 1.0
"""Seconds without a change after which the form is updated."""
PATIENCE: Final = 20.0
"""Seconds after which it is updated though changes go on."""

Cells = tuple[str, ...]
"""The texts of one row."""

STYLE: Final = (
    "<style>.bmq-static{overflow:hidden;animation:bmq-appear .4s step-end}"
    "@keyframes bmq-appear{from{max-height:0}}"
    ".jp-OutputArea-child:has(>.jp-OutputArea-output.jupyter-widgets)"
    ":has(+.jp-OutputArea-child .bmq-static){display:none}</style>"
)
"""Until the live view is loaded and hides the form, it has no height and moves nothing. Where no live view is
loaded, as in a notebook that is opened again, JupyterLab shows "model not found" in its output (its class
is then the output's own): that line is hidden, for the form shows more."""

TABLE: Final = "border-collapse:collapse;font-size:12px;text-align:left"
CELL: Final = "text-align:left;padding:2px 12px 2px 0;vertical-align:top;font-family:monospace"

WRAPPED: Final = ";overflow-wrap:anywhere"
WIDE: Final = frozenset({"payload", "follows"})
"""Columns whose texts may be long."""
LONG, SHORT = 400, 80
"""Characters of a text in one of them, and in another column."""


@dataclass(slots=True)
class Form:
    """A title, a line of facts, a picture, and a table.

    Texts are cut and made printable here; `html` escapes them.

    Attributes:
        title: the kind of view.
        subject: what it shows, such as an identifier.
        facts: numbers, in words.
        columns: the titles of the table.
        rows: each with a text for each column.
    """

    title: str
    subject: str
    facts: str
    columns: Cells = ()
    rows: list[Cells] = field(default_factory=list)
    picture: str = ""
    """As HTML, made by `picture.picture`."""
    pictures: list[str] = field(default_factory=list)
    """Of the rows, below their last text; as HTML of `thumbnails.Picture`, "" for none."""

    def __post_init__(self) -> None:
        self.subject, self.facts = shown(self.subject), shown(self.facts)
        self.rows = [
            tuple(shown(cut(cell, LONG if column in WIDE else SHORT)) for column, cell in cells)
            for cells in (zip(self.columns, row, strict=True) for row in self.rows)
        ]

    def html(self, css_class: str) -> str:
        """Return the form as HTML, every text escaped."""
        subject = f"<code>{escape(self.subject)}</code> " if self.subject else ""
        head = f"<div><strong>{escape(self.title)}</strong> {subject}<span>{escape(self.facts)}</span></div>"
        return f'{STYLE}<div class="bmq-static {escape(css_class)}">{head}{self.picture}{self.table()}</div>'

    def table(self) -> str:
        """Return the rows as an HTML table."""
        if not self.rows:
            return ""
        titles = "".join(f'<th scope="col" style="{CELL}">{escape(title)}</th>' for title in self.columns)
        styles = [CELL + WRAPPED if title in WIDE else CELL for title in self.columns]
        pictures = self.pictures or [""] * len(self.rows)
        lines = "".join(
            table_row(styles, row, picture) for row, picture in zip(self.rows, pictures, strict=True)
        )
        return f'<table style="{TABLE}"><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>'

    def text(self) -> str:
        """Return the form as lines of text."""
        head = f"{self.title} {self.subject}".rstrip() + f": {self.facts}"
        rows = [self.columns, *self.rows] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([head, *lines])


def table_row(styles: Sequence[str], row: Cells, picture: str) -> str:
    """Return a row as HTML, with a picture after its last text."""
    cells = [escape(cell) for cell in row]
    if picture:
        cells[-1] += f" {picture}"
    written = (f'<td style="{style}">{cell}</td>' for style, cell in zip(styles, cells, strict=True))
    return f"<tr>{''.join(written)}</tr>"


class StaticOutput:
    """The outputs that show the static form of one view, and the times of their updates.

    Times are seconds of one monotonic clock, which the caller passes.

    Args:
        css_class: names the outputs of this view, and finds them on the page.
    """

    def __init__(self, css_class: str) -> None:
        self.css_class = css_class
        self.shown = 0
        """The number of times that the view was displayed; each has an output of its own."""
        self.changed_at: float | None = None
        """When the form changed last; None if the outputs are up to date."""
        self.published_at = 0.0
        """When it was sent last."""
        self._saved: Form | None = None
        """The form that `save` sent last."""

    def show(self, form: Form, now: float) -> None:
        """Add an output with the form."""
        self.shown += 1
        self.publish(form, now, update=False)

    def changed(self, now: float) -> None:
        """Record that the form has changed."""
        self.changed_at = now

    def save(self, form: Form, now: float) -> None:
        """Send the form, if it has changed, at a moment at which the front end accepts output.

        Args:
            form: the present form.
            now: in seconds.
        """
        if self.shown and form != self._saved:
            self._saved = form
            self.publish(form, now)

    def due(self, now: float) -> float | None:
        """Return the seconds until the outputs are to be updated; None if they are up to date."""
        if self.changed_at is None or not self.shown:
            return None
        return max(0.0, min(self.changed_at + QUIET, self.published_at + PATIENCE) - now)

    def publish(self, form: Form, now: float, *, update: bool = True) -> None:
        """Send the form to its outputs.

        Args:
            form: the form.
            now: in seconds.
            update: replace the content of all outputs; else add the latest one.
        """
        self.changed_at = None
        self.published_at = now
        data: dict[str, Any] = {"text/html": form.html(self.css_class), "text/plain": form.text()}
        for number in range(1, self.shown + 1) if update else [self.shown]:
            publish(data, display_id=f"{self.css_class}-{number}", update=update)


def publish(
    data: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    *,
    display_id: str | None = None,
    update: bool = False,
) -> None:
    """Publish a MIME bundle to the front end, as a new output or in place of an earlier one.

    Args:
        data: by MIME type.
        metadata: by MIME type.
        display_id: names the output, for later updates.
        update: replace the output of that name.
    """
    from IPython.display import publish_display_data

    send: Any = publish_display_data  # it has no types
    transient = {} if display_id is None else {"display_id": display_id}
    send(data, metadata, transient=transient, update=update)


def clock(moment: float) -> str:
    """Return a time of day with milliseconds, in local time.

    Args:
        moment: seconds since 1970.
    """
    return strftime("%H:%M:%S", localtime(moment)) + f".{int(moment % 1 * 1000):03d}"
