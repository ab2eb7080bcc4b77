"""Run the sessions of `clients/` with a driver.

::

    python -m tests.conformance.run --driver "ruby tests/conformance/drivers/ruby.rb" follow resume

Without names all sessions of the driver's level run; a name selects those that contain it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).parents[2]))

from berrymq.bridge.discovery import connection_file
from tests.conformance.driving import Driver
from tests.conformance.scripted import ScriptedSession
from tests.conformance.sessions import DIRECTORY, LiveSession, Session, Vector, client_vectors
from tests.support.javascript import node
from tests.support.nodes import Nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "the-access-token-of-the-sessions"

COMMANDS = {
    "python": [sys.executable, "tests/conformance/drivers/python.py"],
    "node20": [node(20) or "node20", "tests/conformance/drivers/node.mjs"],
    "node22": [node(22) or "node22", "tests/conformance/drivers/node.mjs"],
    "ruby": ["ruby", "tests/conformance/drivers/ruby.rb"],
    "r": ["Rscript", "--vanilla", "tests/conformance/drivers/r.R"],
}
"""The drivers of this project, by language."""

LEVELS = {"python": 3, "node20": 3, "node22": 3, "ruby": 3, "r": 1}
"""The level that each has."""


def drivers_found() -> list[str]:
    """Return the languages whose driver is there."""
    return [name for name, command in COMMANDS.items() if (DIRECTORY.parents[1] / command[-1]).exists()]


class Stage:
    """Where sessions are played: a driver, the hubs, and a runtime directory of their own.

    Args:
        command: of the driver.
        runtime: the runtime directory.
    """

    def __init__(self, command: list[str] | str, runtime: Path) -> None:
        self.command = command
        self.runtime = runtime
        self._driver: Driver | None = None
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        self.nodes = nodes = self._ends.enter_context(Nodes())
        self.hub = hub = nodes.hub()
        nodes.servers[hub].access_token = TOKEN
        self._ends.enter_context(
            connection_file.publish(
                url=nodes.servers[hub].url, access_token=TOKEN, name="hub", kind="hub", directory=self.runtime
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._end_driver()
        self._ends.close()

    def _end_driver(self) -> None:
        if self._driver is not None:
            self._driver.end()
            self._driver = None

    @property
    def driver(self) -> Driver:
        """The driver, started again if it has ended."""
        if self._driver is None or not self._driver.is_running:
            self._end_driver()
            self._driver = Driver(self.command, {"BERRYMQ_RUNTIME_DIR": str(self.runtime)})
        return self._driver

    def play(self, vector: Vector) -> None:
        """Play one session.

        Raises:
            SessionError: the client does not pass.
        """
        driver = self.driver
        driver.messages.clear()
        driver.states.clear()
        session = self._session(vector, driver)
        try:
            session.play(vector.steps)
            session.finish()
        except BaseException:
            self._end_driver()
            raise
        finally:
            session.close()

    def _session(self, vector: Vector, driver: Driver) -> Session:
        if vector.hub == "live":
            return LiveSession(driver, self.nodes, self.hub, self.runtime)
        return ScriptedSession(driver)


@contextmanager
def private_runtime() -> Iterator[Path]:
    """Make a runtime directory for a run."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        path = Path(directory)
        path.chmod(0o700)
        yield path


def main() -> int:
    """Run the sessions and print what passed; return how many did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run", description=__doc__)
    parser.add_argument("--driver", help="the command line of a driver, or one of " + ", ".join(COMMANDS))
    parser.add_argument("--level", type=int, help="run the sessions up to this level (default 2)")
    parser.add_argument("--list", action="store_true", help="list the sessions")
    parser.add_argument("names", nargs="*", help="run the sessions whose names contain one of these")
    options = parser.parse_args()
    level = options.level or LEVELS.get(options.driver, 2)
    chosen = [
        vector
        for vector in client_vectors()
        if vector.level <= level
        and (any(name in vector.name for name in options.names) if options.names else not vector.slow)
    ]
    if options.list or not options.driver:
        for vector in chosen:
            print(f"level {vector.level}  {vector.name}")
        return 0
    logging.getLogger("berrymq").setLevel(logging.CRITICAL)
    return sum([not passed for passed in results(COMMANDS.get(options.driver, options.driver), chosen)])


def results(command: Any, vectors: list[Vector]) -> Iterator[bool]:
    """Play sessions, print a line for each, and yield whether it passed."""
    passed = 0
    with private_runtime() as runtime, Stage(command, runtime) as stage:
        for vector in vectors:
            began = time.monotonic()
            try:
                stage.play(vector)
            except (AssertionError, OSError) as error:
                print(f"FAIL  {vector.name}\n    {error}", flush=True)
                yield False
            else:
                passed += 1
                print(f"pass  {vector.name} ({time.monotonic() - began:.2f} s)", flush=True)
                yield True
    print(f"{passed} of {len(vectors)} passed")


if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith("BERRYMQ_")]:
        del os.environ[variable]
    sys.exit(1 if main() else 0)
