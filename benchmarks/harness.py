"""How the benchmarks measure, print and store.

The sides of a comparison run in turns, many short rounds each, so that other load on the machine affects them
alike. Processor time is measured, not wall-clock time. A ratio is the median of the ratios of the rounds; a
time is that of the best round.
"""

from __future__ import annotations

import gc
import json
import platform
import statistics
import timeit
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RESULTS = Path(__file__).with_name("results")


@dataclass
class Side:
    """One measured side: a statement for `timeit`, with the names that it uses."""

    name: str
    statement: str
    names: dict[str, Any]
    before: Callable[[], None] | None = None
    """Run before each round, outside of the time taken."""

    def timer(self) -> timeit.Timer:
        """Return a timer of the statement."""
        return timeit.Timer(self.statement, timer=process_time, globals=self.names)


@dataclass
class Against:
    """The result of one side against another."""

    name: str
    nanoseconds: float | None
    """None if no time is compared."""
    ratio: float
    target: float | None = None
    at_least: bool = False
    """The target is a ratio to reach, not one to stay below: more is better."""
    note: str = ""
    processor: dict[str, float] = field(default_factory=dict)
    """Nanoseconds of the processor, by process."""

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None when there is none."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target

    @property
    def aim(self) -> str:
        """The target in words, empty when there is none."""
        if self.target is None:
            return ""
        return f"target {'>=' if self.at_least else '<='} {self.target}"


@dataclass
class Row:
    """One line of a table: the measurement, its time, and the peers."""

    what: str
    nanoseconds: float | None
    """None if no time was measured."""
    against: list[Against] = field(default_factory=list)
    note: str = ""
    processor: dict[str, float] = field(default_factory=dict)
    """Nanoseconds of the processor, by process."""


def compare(
    what: str,
    ours: Side,
    peers: Iterable[Side],
    targets: dict[str, float],
    *,
    number: int = 2_000,
    rounds: int = 60,
    note: str = "",
) -> Row:
    """Measure `ours` against `peers`, in turns; `targets` are ratios to stay below, by name of the peer."""
    sides = [ours, *peers]
    taken = measure(sides, number, rounds)
    row = Row(what, min(taken[0]) * 1e9, note=note)
    for side, times in zip(sides[1:], taken[1:], strict=True):
        ratio = statistics.median(mine / theirs for mine, theirs in zip(taken[0], times, strict=True))
        row.against.append(Against(side.name, min(times) * 1e9, ratio, targets.get(side.name)))
    return row


def measure(sides: list[Side], number: int, rounds: int) -> list[list[float]]:
    """Return, for each side, the seconds of one run in each round."""
    timers = [side.timer() for side in sides]
    taken: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds + 2):
        for side, timer, times in zip(sides, timers, taken, strict=True):
            if side.before is not None:
                side.before()
            gc.collect(0)
            seconds = timer.timeit(number) / number
            if turn >= 2:  # the first rounds warm up
                times.append(seconds)
    return taken


def show(title: str, rows: list[Row]) -> None:
    """Print a table for people."""
    print(f"\n{title}  (Python {platform.python_version()}, {platform.machine()})")
    for row in rows:
        print(f"  {row.what:<44} {duration(row.nanoseconds):>10}  {remarks(row)}".rstrip())
        for one in row.against:
            verdict = {None: "", True: f"{one.aim}: met", False: f"{one.aim}: MISSED"}[one.met]
            line = f"{one.ratio:6.3f} x  {one.name:<32} {duration(one.nanoseconds):>10}   {verdict:<21}"
            print(f"      {line}  {remarks(one)}".rstrip())


def remarks(measured: Row | Against) -> str:
    """Return remarks on a row, with the processor time of each process."""
    notes = [measured.note] if measured.note else []
    if measured.processor:
        each = ", ".join(f"{name} {duration(taken)}" for name, taken in measured.processor.items())
        notes.append(f"processor: {each}")
    return "; ".join(notes)


def duration(nanoseconds: float | None) -> str:
    """Return nanoseconds in a readable unit; nothing for None."""
    if nanoseconds is None:
        return ""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.2f} {unit}"
    return f"{nanoseconds:.0f} ns"


def keep(name: str, rows: list[Row], packages: Iterable[str]) -> Path:
    """Write the rows, with all versions, to ``results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {package: version(package) for package in packages},
        "rows": [
            {**asdict(row), "against": [{**asdict(one), "met": one.met} for one in row.against]}
            for row in rows
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return path


def missed(rows: list[Row]) -> list[str]:
    """Return the names of the targets that were missed."""
    return [
        f"{row.what}: {one.ratio:.3f} x {one.name}, {one.aim}"
        for row in rows
        for one in row.against
        if one.met is False
    ]
