"""A terminal IPython with its real prompt: messages come while nobody types."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.jupyter_server import private_environment

ROOT = Path(__file__).parents[2]
# As from a link: in another thread, half a second after the prompt is back.
LATER = (
    "import threading; from berrymq import *; "
    "receive = lambda n: default_bus.gateway.receive([Message.make('a:b', (n,))]); "
    "later = lambda n: threading.Timer(0.5, receive, [n]).start()"
)
HEAR = "lambda message: print('HEARD', message.args, threading.current_thread() is threading.main_thread())"


class Prompt:
    """IPython in a pseudo-terminal."""

    def __init__(self, home: Path) -> None:
        environment = private_environment(home) | {
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "PYTHONPATH": str(ROOT),
        }
        options = ["--colors=NoColor", "--no-banner", "--no-confirm-exit", "--HistoryManager.enabled=False"]
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", *options],
            env=environment,
            encoding="utf-8",
            timeout=30,
            dimensions=(50, 250),
        )

    def type(self, keys: str) -> None:
        """Type something when the prompt is there."""
        self._child.expect(r"In.*\[\d+\]")
        self._child.send(keys)

    def enter(self, line: str) -> None:
        """Type a line when the prompt is there."""
        self.type(line + "\r")

    def go_on(self, keys: str) -> None:
        """Type on."""
        self._child.send(keys)

    def wait_for(self, text: str) -> None:
        """Wait until the terminal shows `text`."""
        self._child.expect(re.escape(text))

    def close(self) -> None:
        """Shut the terminal's window."""
        self._child.close(force=True)


@pytest.fixture
def prompt(tmp_path: Path) -> Iterator[Prompt]:
    prompt = Prompt(tmp_path)
    prompt.enter("%load_ext berrymq_jupyter")
    prompt.enter(LATER)
    prompt.enter(f"%follow a:b {HEAR}")
    yield prompt
    prompt.close()


def test_a_message_shows_above_the_prompt(prompt):
    prompt.enter("later(1)")
    prompt.wait_for("HEARD (1,) False")
    prompt.enter("print('still', 'there')")
    prompt.wait_for("still there")


def test_deliveries_on_the_main_thread_need_no_key(prompt):
    prompt.enter("from berrymq_jupyter.extension import EXTENSIONS")
    prompt.enter("EXTENSIONS[get_ipython()].deliver_on('main')")
    prompt.enter("later(1)")
    prompt.wait_for("HEARD (1,) True")
    prompt.enter("default_bus.gateway.receive([Message.make('a:b', (2,))])")
    prompt.wait_for("HEARD (2,) True")


def test_tab_completes(prompt):
    prompt.enter("follow('unmis' + 'taka' + 'ble:thing', lambda message: print('COMPLETED', message.args));")
    prompt.type("%twitter unmis\t")
    prompt.wait_for("takable:thing")
    prompt.go_on(" 1\r")
    prompt.wait_for("COMPLETED (1,)")
