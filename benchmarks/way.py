"""``python -m benchmarks.way``: list the functions that one message calls, at both ends of a link.

The two ends are processes. Listed are the library's own functions in the order of their first calls: at the
sender until `twitter` returns, at the receiver from the socket until the follower is called, on its thread.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import berrymq

if TYPE_CHECKING:
    from types import FrameType

TOKEN = "for-this-measurement-alone"
WARM_UP = 50
WAITING = (
    "wait",
    "pump",
    "only_channel",
    "_wait_for_work",
    "has_work",
    "watch",
    "suspend",
    "unwatch",
    "run_guarded",
)
"""The calls of a thread that waits for the next message, whether one arrives or not."""
TIMER = ("start_ack_timer", "call_later", "call", "is_current", "__init__")
"""The calls that start the acknowledgement timer, five times a second at most."""

ROOT = str(Path(berrymq.__file__).parent)


class Trace:
    """Records calls of the library's functions on every thread that starts after this."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.recording = False
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if (
            self.recording
            and event == "call"
            and code.co_filename.startswith(ROOT)
            and code.co_name[0] != "<"
        ):
            where = code.co_filename[len(ROOT) + 1 :]
            self.calls.append((threading.current_thread().name, where, code.co_qualname))

    def show(self, title: str) -> None:
        """Print each function once, in the order of the first calls, and how many there are."""
        calls = list(dict.fromkeys(self.calls))
        print(f"{title}: {len(calls)} functions in {len({where for _, where, _ in calls})} files")
        for thread, where, name in calls:
            print(f"  {thread:26} {where:34} {name}")


def receive() -> None:
    """Follow, listen, and list what the one message that is called ``last`` calls here."""
    trace = Trace()
    done = threading.Event()
    number, thread = [0], [""]

    def follow(_: berrymq.Message) -> None:
        trace.recording = number[0] == WARM_UP - 1  # from the last but one on
        if number[0] == WARM_UP:
            thread.append(threading.current_thread().name)
            done.set()
        number[0] += 1

    berrymq.follow("test:run", follow)
    node = berrymq.init_connection(access_token=TOKEN, name="receiver")
    print(node.url, flush=True)
    done.wait(60)
    sys.stdin.read()  # until the other end is closed
    trace.calls = [
        call
        for call in trace.calls
        if call[0] == thread[-1] and call[2].split(".")[-1] not in WAITING + TIMER
    ]
    trace.show("receiver")


def send(url: str) -> None:
    """Send messages with delays between them, and list the calls of the last one here."""
    trace = Trace()
    bus = berrymq.Bus()
    with berrymq.link(url, access_token=TOKEN, bus=bus, name="sender") as link:
        for number in range(WARM_UP + 1):
            time.sleep(0.01)
            trace.recording = number == WARM_UP
            bus.twitter("test:run", number, loss=0.12)
            trace.recording = False
        trace.calls = [call for call in trace.calls if call[0] == threading.current_thread().name]
        trace.show("sender")
        link.flush(20)


def main() -> None:
    """Run both ends."""
    command = [sys.executable, "-m", "benchmarks.way"]
    with subprocess.Popen(
        [*command, "receive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout is not None
        url = receiver.stdout.readline().strip()
        subprocess.run([*command, "send", url], check=True, timeout=60)
        print(receiver.communicate(timeout=60)[0])


if __name__ == "__main__":
    {"receive": receive, "send": send}.get(sys.argv[1], main)(*sys.argv[2:]) if sys.argv[1:] else main()
