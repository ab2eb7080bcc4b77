"""Senders and receivers of arrays that are killed: others go on, and no shared memory is left behind."""

import os
import random
from contextlib import ExitStack

import pytest

from berrymq.bridge.buffers import is_available
from tests.support.descriptors import open_memories
from tests.support.nodes import Nodes, wait
from tests.support.scripts import script

pytestmark = pytest.mark.skipif(not is_available(), reason="this system has no sealed shared memory")

KILLS = int(os.environ.get("BERRYMQ_TEST_KILLS", "20"))
"""Processes that are killed in the middle of what they do."""

LINK = """
import numpy as np
link = berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name='script', ttl=0.5)
"""
RECEIVER = f"""{LINK}
def check(message):
    number, array = message.args
    if type(array) is np.ndarray:
        assert (array == number).all(), (number, array)
    berrymq.twitter('seen:run', number)
berrymq.follow('test:*', check)
print('ready', flush=True)
sys.stdin.read()
"""
SENDER = f"""{LINK}
print('ready', flush=True)
for number in range(10**9):
    berrymq.twitter('test:run', number, np.full(50_000 + 100 * (number % 50), float(number)))
    link.flush(5)
"""


@pytest.mark.timeout(60 + 5 * KILLS)
def test_processes_that_are_killed_leave_no_memory_open_and_arrays_as_they_were():
    choose = random.Random(5)
    with Nodes() as nodes:
        hub, here = nodes.hub(), nodes.add()
        nodes.link(here, hub)
        server = nodes.servers[hub]
        environment = {"URL": server.url, "TOKEN": server.access_token}
        seen, errors = [], []
        here.bus.follow("seen:run", lambda message: seen.append(message.args[0]))
        nodes.settle()
        before = len(open_memories())
        with ExitStack() as stack:

            def start(text):
                process = stack.enter_context(script(text, **environment))
                assert process.stdout.readline() == "ready\n"
                return process

            texts = [RECEIVER, RECEIVER, SENDER]
            processes = [start(text) for text in texts]
            for _ in range(KILLS):
                count = len(seen)
                wait(lambda count=count: len(seen) > count + 5, "arrays arrive")
                which = choose.randrange(3)
                processes[which].kill()
                errors.append(processes[which].stderr.read())
                processes[which].wait(10)
                processes[which] = start(texts[which])
            for process in processes:
                process.kill()
                errors.append(process.stderr.read())
        assert not [text for text in errors if "Error" in text]
        wait(lambda: len(hub.peers) == 1, "those that were killed are forgotten")
        wait(lambda: len(open_memories()) <= before, "the hub has let go of their memory")
