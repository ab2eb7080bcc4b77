"""Processes that die, stop, fork and exit, beside others that go on."""

import os
import signal
import time

import pytest

from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder
from tests.support.scripts import run_script, script

LINK = "link = berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name='script')\n"


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture(params=["a node", "a hub"])
def other(request, nodes):
    """What scripts link to: a node with a recorder of its own, or a hub with a member that has one."""
    node = nodes.add("here", listening=request.param == "a node")
    node.recorder = Recorder(node.bus)
    if request.param == "a node":
        return node
    hub = nodes.hub()
    hub.recorder = node.recorder
    nodes.link(node, hub)
    nodes.settle()
    return hub


@pytest.fixture
def environment(nodes, other):
    server = nodes.servers[other]
    return {"URL": server.url, "TOKEN": server.access_token}


class TestLeaving:
    @pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise RuntimeError('the end')", "del link"])
    def test_what_a_script_publishes_before_its_end_arrives(self, other, environment, end):
        text = f"for number in range(2000):\n    berrymq.twitter('test:run', number)\n{end}\n"
        done = run_script(LINK + text, **environment)
        assert "the end" in done.stderr or done.stderr == ""
        assert other.recorder.wait_for(2000) == list(range(2000))
        wait(lambda: not [peer for peer in other.peers.values() if peer.name == "script"], "it has left")

    def test_so_does_that_of_one_that_is_interrupted(self, other, environment):
        text = """
berrymq.twitter('test:run', 0)
import signal
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
berrymq.twitter('test:run', 1)
time.sleep(30)
"""
        done = run_script(LINK + text, **environment)
        assert "KeyboardInterrupt" in done.stderr
        assert other.recorder.wait_for(2) == [0, 1]

    def test_one_that_is_killed_is_seen_to_be_gone(self, nodes, other, environment):
        text = "berrymq.twitter('test:run', 1)\nlink.flush(10)\nos.kill(os.getpid(), 9)"
        done = run_script(LINK + text, **environment)
        assert done.returncode == -signal.SIGKILL
        assert other.recorder.have(1) == [("script", 1)]
        (peer,) = [peer for peer in other.peers.values() if peer.name == "script"]
        wait(lambda: not peer.connected, "the cut is seen")
        assert "script" not in [info.name for info in other.nodes(None)]

    @pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="this system has no such signal")
    def test_sigterm_with_pythons_own_handling_ends_at_once_and_what_was_flushed_has_arrived(
        self, other, environment
    ):
        """The default action runs no Python, so nothing can be told; a handler that exits does flush."""
        text = "berrymq.twitter('test:run', 1)\nlink.flush(10)\nos.kill(os.getpid(), 15)\ntime.sleep(30)"
        done = run_script(LINK + text, **environment)
        assert done.returncode == -signal.SIGTERM
        assert other.recorder.wait_for(1) == [1]

    def test_sigterm_with_a_handler_that_exits_flushes(self, other, environment):
        text = """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
for number in range(2000):
    berrymq.twitter('test:run', number)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(30)
"""
        done = run_script(LINK + text, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert other.recorder.wait_for(2000) == list(range(2000))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestFork:
    WARNINGS = "import warnings\nwarnings.simplefilter('ignore')\n"

    def test_a_child_has_no_links_and_is_told_at_its_first_message_that_would_cross(self, other, environment):
        text = """
berrymq.twitter('test:run', 'before')
link.flush(10)
pid = os.fork()
if not pid:
    berrymq.twitter('nobody:follows', 'child')
    print('told later', flush=True)
    sys.stderr.flush()
    for _ in range(3):
        berrymq.twitter('test:run', 'child')
    print(len(berrymq.links()), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
berrymq.twitter('test:run', 'parent')
print(link.state, link.flush(10), flush=True)
"""
        done = run_script(self.WARNINGS + LINK + text, **environment)
        told = "test:run does not leave this process: it was forked, and the links are its parent's."
        assert done.stderr.count(told) == 1, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stdout.split()[2:] == ["0", "linked", "True"]
        assert other.recorder.have(2) == [("script", "before"), ("script", "parent")]

    def test_a_child_that_ends_in_good_order_leaves_its_parents_links_alone(self, other, environment):
        text = """
pid = os.fork()
if not pid:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
berrymq.twitter('test:run', 'parent')
print(link.state, link.flush(10))
"""
        done = run_script(self.WARNINGS + LINK + text, **environment)
        assert done.stdout.split() == ["linked", "True"], done.stderr
        assert other.recorder.have(1) == [("script", "parent")]

    def test_a_child_may_link_anew(self, other, environment):
        text = """
pid = os.fork()
if not pid:
    berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name='child')
    berrymq.twitter('test:run', 'child')
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
berrymq.twitter('test:run', 'parent')
"""
        done = run_script(self.WARNINGS + LINK + text, **environment)
        assert done.stderr == ""
        assert sorted(other.recorder.have(2)) == [("child", "child"), ("script", "parent")]

    def test_forks_under_load_of_all_threads_do_not_hang(self, other, environment):
        """Whatever lock another thread holds at that moment."""
        text = """
import atexit
over = threading.Event()
def publish():
    number = 0
    while not over.is_set():
        berrymq.twitter('load:run', number)
        number += 1
threads = [threading.Thread(target=publish) for _ in range(2)]
for thread in threads:
    thread.start()
for number in range(30):
    pid = os.fork()
    if not pid:
        made = berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name=f'child {number}')
        berrymq.twitter('test:run', number)
        made.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
over.set()
for thread in threads:
    thread.join()
print(link.state)
"""
        done = run_script(self.WARNINGS + LINK + text, **environment)
        assert done.stdout.split() == ["linked"], done.stderr
        assert sorted(other.recorder.wait_for(30)) == list(range(30))

    def test_a_forked_pool(self, other, environment):
        text = """
import multiprocessing
def work(number):
    if not berrymq.links():
        berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name=f'worker {os.getpid()}')
    berrymq.twitter('test:run', number)
    return number
with multiprocessing.get_context('fork').Pool(3) as pool:
    print(sum(pool.map(work, range(200))))
    pool.close()
    pool.join()
"""
        done = run_script(self.WARNINGS + LINK + text, **environment)
        assert done.stdout.split() == [str(sum(range(200)))], done.stderr
        assert sorted(other.recorder.wait_for(200)) == list(range(200))

    def test_the_death_of_a_parent_is_seen_while_its_child_lives(self, other, environment):
        """The child holds no descriptor of its parent's link."""
        text = """
pid = os.fork()
if not pid:
    time.sleep(30)
    os._exit(0)
print(pid, flush=True)
time.sleep(30)
"""
        with script(self.WARNINGS + LINK + text, **environment) as process:
            child = int(process.stdout.readline())
            (peer,) = [peer for peer in other.peers.values() if peer.name == "script"]
            assert peer.connected
            process.kill()
            wait(lambda: not peer.connected, "the cut is seen")
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no such signal")
class TestStopped:
    FOLLOW = (
        "recorded = []\n"
        "berrymq.follow('test:*', lambda message: recorded.append(message.args[0]))\n"
        + LINK
        + "link.flush(10)\n"
        "print('ready', flush=True)\n"
    )

    def test_a_receiver_that_is_stopped_holds_up_neither_sender_nor_others_and_misses_nothing(
        self, nodes, other, environment
    ):
        text = """
count = int(input())
while len(recorded) < count:
    time.sleep(0.01)
print(recorded == list(range(count)), link.stats().lost, flush=True)
"""
        with script(self.FOLLOW + text, **environment) as process:
            assert process.stdout.readline() == "ready\n"
            if other.is_hub:
                sender = nodes.add("sender", listening=False)
                nodes.link(sender, other)
            else:
                sender = other
            wait(
                lambda: [peer for peer in other.peers.values() if peer.name == "script" and peer.follows],
                "it follows",
            )
            if other.is_hub:
                wait(lambda: sender.is_followed(parse("test:run")), "that is known")
            process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            for number in range(20_000):
                sender.bus.twitter("test:run", number)
            assert time.monotonic() - began < 5
            assert other.recorder.wait_for(20_000)[-1] == 19_999
            process.send_signal(signal.SIGCONT)
            process.stdin.write("20000\n")
            process.stdin.flush()
            assert process.stdout.readline().split() == ["True", "0"]

    def test_one_that_is_stopped_for_long_is_cut_comes_back_and_misses_nothing(self, monkeypatch):
        from berrymq.bridge.protocol.limits import Limits

        with Nodes(limits=Limits(keepalive=0.2)) as nodes:
            hub, sender = nodes.hub(), nodes.add("sender", listening=False)
            nodes.link(sender, hub)
            server = nodes.servers[hub]
            text = """
while len(recorded) < 100:
    time.sleep(0.01)
print(recorded == list(range(100)), flush=True)
"""
            with script(self.FOLLOW + text, URL=server.url, TOKEN=server.access_token) as process:
                assert process.stdout.readline() == "ready\n"
                (peer,) = [peer for peer in hub.peers.values() if peer.name == "script"]
                wait(lambda: sender.is_followed(parse("test:run")), "it follows")
                process.send_signal(signal.SIGSTOP)
                wait(lambda: not peer.connected, "it counts as dead")
                for number in range(100):
                    sender.bus.twitter("test:run", number)
                process.send_signal(signal.SIGCONT)
                assert process.stdout.readline() == "True\n"


def parse(text):
    from berrymq import Identifier

    return Identifier.parse(text)


class TestRestart:
    def test_one_that_is_started_again_under_the_same_name_is_another_node(self, nodes, other, environment):
        """Nothing of the former one is taken for its own, nor its messages for duplicates."""
        text = """
for number in range(100):
    berrymq.twitter('test:run', number)
link.flush(10)
os.kill(os.getpid(), 9)
"""
        for turn in range(3):
            run_script(LINK + text, **environment)
            assert other.recorder.wait_for(100 * (turn + 1)) == list(range(100)) * (turn + 1)
