"""`jupyter console`: a kernel, and a terminal in the place of a page."""

import re
import sys
from pathlib import Path

import pexpect
import pytest

from tests.support.jupyter_server import private_environment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def console(tmp_path):
    environment = private_environment(tmp_path) | {
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "PYTHONPATH": str(ROOT),
    }
    child = pexpect.spawn(
        sys.executable,
        ["-m", "jupyter_console", "--ZMQTerminalInteractiveShell.banner="],
        env=environment,
        encoding="utf-8",
        timeout=40,
        dimensions=(50, 250),
    )
    yield child
    child.sendline("exit()")
    child.close(force=True)


def enter(console, line):
    console.expect(r"In \[.*?\]: ")
    console.send(line + "\r")


def test_a_log_is_lines(console):
    """This console shows what comes between two cells with the next of them."""
    enter(console, "%load_ext berrymq_jupyter")
    enter(console, "%follow test:*")
    enter(console, "%twitter test:run 6 * 7")
    for _ in range(30):
        enter(console, "pass")
        if console.expect([re.escape("test:run 42"), pexpect.TIMEOUT], timeout=1) == 0:
            break
    enter(console, "%twitter test:run 7 * 7")
    console.expect(re.escape("test:run 49"))
