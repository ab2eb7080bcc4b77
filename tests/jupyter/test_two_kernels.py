"""Two real kernels of a real Jupyter server talk, and nobody typed an address or a secret."""

import os
import signal
from ast import literal_eval
from collections.abc import Iterator

import pytest

from tests.support.hubs import connection_files
from tests.support.jupyter_server import JupyterServer
from tests.support.kernel import Kernel

JOIN = "%load_ext berrymq_jupyter\n%link"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    with JupyterServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def listener(server: JupyterServer) -> Iterator[Kernel]:
    kernel = Kernel(server, "listener.ipynb")
    yield kernel
    kernel.close()


@pytest.fixture
def speaker(server: JupyterServer) -> Iterator[Kernel]:
    kernel = Kernel(server, "speaker.ipynb")
    yield kernel
    kernel.close()


@pytest.fixture
def joined(listener: Kernel, speaker: Kernel) -> tuple[Kernel, Kernel]:
    for kernel in (listener, speaker):
        cell = kernel.run(JOIN)
        assert cell.error is None, cell.text
    return listener, speaker


def test_the_server_is_the_hub_and_its_kernels_find_it(server, joined):
    listener, _ = joined
    links = listener.run("%links").text
    assert "the hub of this machine, by its connection file" in links
    assert "listener" in links
    assert "speaker" in links
    (file,) = connection_files(server.home)
    assert file.stat().st_mode & 0o077 == 0
    assert server.token not in file.read_text()


def test_a_body_runs_with_arguments_source_and_time(joined):
    listener, speaker = joined
    cell = listener.run(
        "%%follow test:*\n"
        "print(message.id, message.args, message.kwargs['name'], message.source, message.sent_at)"
    )
    speaker.wait_for_follower("test:*")
    speaker.run('import time; before = time.time()\n%twitter test:run 1, name="x"')
    listener.wait_for_text(cell, "test:run (1,) x speaker.ipynb")
    sent_at = float(cell.text.split()[-1])
    assert speaker.run(f"before <= {sent_at} <= time.time()").text == "True"


def test_output_stands_under_the_cell_that_follows_while_another_is_busy(joined):
    listener, speaker = joined
    body = listener.run("%%follow test:*\nprint('body', *message.args)")
    function = listener.run(
        "import threading\n"
        "from berrymq import following_function\n"
        "heard = threading.Event()\n"
        '@following_function("test:*")\n'
        "def hear(message):\n"
        "    print('function', *message.args)\n"
        "    if message.args == (3,): heard.set()"
    )
    busy = listener.start("print('busy', flush=True)\nprint('heard while busy:', heard.wait(20))")
    listener.wait_for_text(busy, "busy")
    speaker.wait_for_follower("test:*")
    speaker.run("for n in range(1, 4):\n    get_ipython().run_line_magic('twitter', f'test:run {n}')")
    listener.finish(busy)
    listener.wait_for_text(body, "body 3")
    listener.wait_for_text(function, "function 3")
    assert body.text.split("\n") == ["body 1", "body 2", "body 3"]
    assert function.text.split("\n") == ["function 1", "function 2", "function 3"]
    assert busy.text == "busy\nheard while busy: True"


def test_running_a_cell_again_replaces_its_follower(joined):
    listener, speaker = joined
    # A front end runs the same cell again: same source, same cell id.
    source = "%%follow test:*\nprint('heard', *message.args)"
    first = listener.run(source, cell_id="the-cell")
    again = listener.run(source, cell_id="the-cell")
    last = listener.run("%%follow test:*\nprint('other', *message.args)", cell_id="another-cell")
    speaker.wait_for_follower("test:*")
    speaker.run("%twitter test:run 1")
    listener.wait_for_text(last, "other 1")
    assert "heard 1" in again.text
    assert "heard" not in first.text


def test_a_queue_gives_what_was_sent(joined):
    listener, speaker = joined
    shown = listener.run("q = %queue task:*")
    assert shown.widgets == 1, shown.text
    waiting = listener.start("taken = q.get(timeout=20)\nprint(taken.id, taken.args, taken.source)")
    speaker.wait_for_follower("task:*")
    speaker.run('%twitter task:add "buy milk"')
    assert listener.finish(waiting).text == "task:add ('buy milk',) speaker.ipynb"


def test_a_log_appears_below_its_cell(joined):
    listener, _ = joined
    assert listener.run("%follow test:*").widgets == 1


@pytest.mark.parametrize(
    ("line", "clue"),
    [
        ("%twitter test:run:more 1", "test:run:more"),
        ("%twitter test:run missing_name", "missing_name"),
        ("%link http://127.0.0.1:9/", "127.0.0.1:9"),
    ],
)
def test_bad_input_is_one_clear_line(joined, line, clue):
    listener, _ = joined
    cell = listener.run(line)
    assert cell.text.count("\n") == 0, cell.text
    assert clue in cell.text
    assert listener.run("print('still here')").text == "still here"


def test_a_payload_that_can_not_cross_arrives_opaque_with_one_clear_line_at_the_sender(joined):
    listener, speaker = joined
    cell = listener.run("%%follow test:*\nprint('heard', *message.args)")
    speaker.wait_for_follower("test:*")
    warned = speaker.run("%twitter test:run object()")
    assert warned.error is None
    assert warned.text.strip().count("\n") == 0, warned.text
    assert warned.text.startswith("object in test:run arrives elsewhere as an Opaque: ")
    speaker.run("%twitter test:run 'after'")
    listener.wait_for_text(cell, "heard after")
    assert "heard <Opaque object: <object object at " in cell.text


def test_a_kernel_that_ends_is_gone_from_the_others(server, joined):
    _, speaker = joined
    third = Kernel(server, "third.ipynb")
    third.run(JOIN)
    assert "third" in speaker.run("%links").text
    third.close()
    gone = speaker.run(
        "import time, berrymq.bridge as bridge\n"
        "deadline = time.monotonic() + 20\n"
        "while any(node.name == 'third' for node in bridge.links()[0].nodes()):\n"
        "    assert time.monotonic() < deadline\n"
        "    time.sleep(0.05)\n"
        "print('gone')"
    )
    assert gone.text == "gone"


def test_unloading_leaves_and_loading_joins_again(joined):
    listener, speaker = joined
    cell = listener.run(
        "%unload_ext berrymq_jupyter\nimport threading\n[t.name for t in threading.enumerate()]"
    )
    assert cell.error is None, cell.text
    assert "berrymq" not in cell.text
    assert listener.run(JOIN).error is None
    follower = listener.run("%%follow test:*\nprint('heard', *message.args)")
    speaker.wait_for_follower("test:*")
    speaker.run("%twitter test:run 'again'")
    listener.wait_for_text(follower, "heard again")


TAKE_JOBS = """
jobs = %queue --shared job:*
taken = []
def take():
    for job in jobs:
        taken.append(job.args[0])
import threading
threading.Thread(target=take, daemon=True).start()
"""


def test_each_job_of_a_shared_queue_is_done_by_one_kernel(joined):
    for kernel in joined:
        cell = kernel.run(TAKE_JOBS)
        assert cell.error is None, cell.text
    listener, speaker = joined
    speaker.run("for number in range(300):\n    %twitter job:add number\n")
    wait = "import time\nwhile not jobs.empty():\n    time.sleep(0.01)\ntime.sleep(0.1)\nprint(taken)"
    there, here = [literal_eval(kernel.run(wait).stream("stdout")) for kernel in (listener, speaker)]
    assert sorted(there + here) == list(range(300))
    assert there
    assert here
    for kernel in joined:
        kernel.run("jobs.close()")


def test_what_a_killed_kernel_had_not_taken_goes_to_the_other(joined):
    listener, speaker = joined
    speaker.run("jobs = %queue --shared job:*\nfor number in range(20):\n    %twitter job:add number\n")
    listener.run(
        "import os\njobs = %queue --shared job:*\njobs.get(timeout=10)\njobs._store.membership._ask(now=5)"
    )
    assert listener.run("len(jobs._store.items)").text == "5"
    pid = int(listener.run("os.getpid()").text)
    speaker.run("import time\nwhile len(jobs.members()) < 2:\n    time.sleep(0.01)")
    os.kill(pid, signal.SIGKILL)
    speaker.run("while len(jobs.members()) > 1:\n    time.sleep(0.01)")  # its jobs have returned
    cell = speaker.run("print(*(jobs.get(timeout=20).args[0] for _ in range(19)))")
    assert cell.text.split() == [str(number) for number in range(20) if str(number) in cell.text.split()]
    assert len(set(cell.text.split())) == 19


def test_an_array_of_one_notebook_is_in_the_other(joined):
    listener, speaker = joined
    body = listener.run(
        "%%follow frame:*\n"
        "array = message.args[0]\n"
        "print('got', type(array).__name__, array.shape, array.sum())"
    )
    speaker.wait_for_follower("frame:*")
    speaker.run("import numpy as np\n%twitter frame:new np.ones((1000, 300))")
    listener.wait_for_text(body, "got ndarray (1000, 300) 300000.0")


def test_a_table_of_one_notebook_is_taken_in_the_other(joined):
    listener, speaker = joined
    speaker.run("import pandas as pd\ndf = pd.DataFrame({'a': range(100_000), 'b': ['x'] * 100_000})")
    assert speaker.run("%share df").text.startswith("shared: df: DataFrame 100,000 x 2, ")
    assert "df: DataFrame 100,000 x 2" in listener.run("%shares").text
    taken = listener.run(
        "there = %take df\nthere.loc[0, 'a'] = 7\nprint(there['a'].sum(), there['b'].nunique())"
    )
    assert taken.text.strip() == "4999950007 1"
    assert speaker.run("df.loc[0, 'a']").text == "np.int64(0)"


def test_a_late_notebook_has_the_whole_curve_once_while_the_sender_floods(server, joined):
    """A view, a follower and a queue that come late, in a kernel that nobody had opened before."""
    _, speaker = joined
    sender = speaker.run(
        "%keep --last 50000 curve:*\n"
        "import threading\n"
        "from berrymq import twitter\n"
        "stop, sent = threading.Event(), 0\n"
        "def flood():\n"
        "    global sent\n"
        "    while not stop.wait(0.01):\n"
        "        for _ in range(20):\n"
        "            twitter('curve:loss', sent)\n"
        "            sent += 1\n"
        "thread = threading.Thread(target=flood)\n"
        "thread.start()"
    )
    assert sender.error is None, sender.text
    speaker.run("import time\nwhile sent < 3000: time.sleep(0.01)")
    late = Kernel(server, "late.ipynb")
    try:
        cell = late.run(
            f"{JOIN}\nfrom berrymq_jupyter import MessageLog\nheard = []\n"
            "%follow --past 100 curve:* heard.append\nlog = MessageLog('curve:*')\nlog"
        )
        assert cell.error is None, cell.text
        assert cell.widgets == 1
        late.run("seen = []")
        behind = late.run("%%follow curve:* --past\nseen.append(message)")
        queue = late.run("q = %queue --past curve:loss")
        total = int(speaker.run("stop.set(); thread.join(); print(sent)").text)
        wait = late.run(
            "import time\n"
            "deadline = time.monotonic() + 20\n"
            "def done(messages): return messages and messages[-1].args[0] == "
            f"{total} - 1\n"
            "while not all(map(done, (log.messages(), heard, seen, q.waiting()))):\n"
            "    assert time.monotonic() < deadline\n"
            "    time.sleep(0.01)\n"
            "all_, some = (log.messages(), q.waiting(), seen), [one.args[0] for one in heard]\n"
            f"print([[one.args[0] for one in found] == list(range({total})) for found in all_],\n"
            "      some == list(range(some[0], some[-1] + 1)), some[0] > 2000,\n"
            "      log.messages()[0].past, log.messages()[-1].past)"
        )
        assert (behind.error, queue.error, wait.error) == (None, None, None), wait.text
        assert wait.text == "[True, True, True] True True True False"
        kept = late.run("%keep").text
        assert "curve:*" in kept
        assert "by speaker" in kept
    finally:
        late.close()
        speaker.run("%keep --drop curve:*")
