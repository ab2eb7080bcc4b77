"""``python -m benchmarks [SUITE ...] [--check]``: run suites, print ratios, store them as JSON."""

from __future__ import annotations

import argparse
import signal
import sys
from importlib import import_module

from benchmarks.harness import keep, missed, show

SUITES = ["core", "links", "over_nats", "arrays", "views"]


def main() -> int:
    """Run the chosen suites; with ``--check``, fail when a target was missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure berryMQ against its peers."
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--check", action="store_true", help="fail when a target was missed")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"there is no suite {', '.join(sorted(unknown))}; there are: {', '.join(SUITES)}")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that all processes are ended
    failures = []
    for name in options.suites or SUITES:
        suite = import_module(f"benchmarks.{name}")
        rows = suite.run()
        show(name, rows)
        print(f"  kept in {keep(name, rows, suite.PACKAGES)}")
        failures += missed(rows)
    return bool(options.check and failures)


if __name__ == "__main__":
    sys.exit(main())
