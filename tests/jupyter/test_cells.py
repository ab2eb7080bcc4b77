"""A cell owns what was registered in it: running it again replaces, and nothing doubles."""

import sys

import pytest

from berrymq import default_bus, twitter

IMPORTS = "from berrymq import Follower, Queue, follow, following, following_function, twitter\nheard = []"


@pytest.fixture
def cells(shell):
    shell.run(IMPORTS)
    return shell


def follows():
    return [subscription.follows for subscription in default_bus.subscriptions()]


@pytest.mark.parametrize(
    "cell",
    [
        "follow('a:b', heard.append)",
        "%follow a:b heard.append",
        "%%follow a:b\nheard.append(message)",
        "@following_function('a:b')\ndef f(message): heard.append(message)",
        (
            "class F(metaclass=Follower):\n"
            "    @following('a:b')\n"
            "    def f(self, message): heard.append(message)\n"
            "kept = F()"
        ),
    ],
)
def test_running_a_cell_again_replaces_its_followers(cells, cell):
    for _ in range(3):
        assert "Error" not in cells.run(cell, "one")
        heard = cells["heard"]
        heard.clear()
        twitter("a:b")
        assert len(heard) == 1
    cells.run("None", "one")
    assert follows() == []


def test_another_cell_is_another(cells):
    cells.run("follow('a:b', heard.append);", "one")
    cells.run("follow('a:b', heard.append);", "two")
    twitter("a:b")
    assert len(cells["heard"]) == 2


def test_without_a_name_from_the_front_end_the_text_is_the_cell(cells):
    cells.run("follow('a:b', heard.append);")
    cells.run("follow('a:b', heard.append);")
    cells.run("follow('a:b', heard.append)  # another")
    assert follows() == ["a:b", "a:b"]


def test_the_cell_that_loads_the_extension_owns_too(bare_shell):
    cell = "%load_ext berrymq_jupyter\nfrom berrymq import follow\nfollow('a:b', print);"
    bare_shell.run(cell, "one")
    bare_shell.run(cell, "one")
    assert follows() == ["a:b"]


def test_the_former_ones_are_gone_before_the_cell_begins(cells):
    cell = "twitter('a:b')\nfollow('a:b', heard.append);"
    cells.run(cell, "one")
    cells.run(cell, "one")
    assert cells["heard"] == []


def test_a_queue_is_replaced(cells):
    cells.run("q = Queue('a:b')", "one")
    first = cells["q"]
    cells.run("q = Queue('a:b')", "one")
    assert first.closed
    assert not cells["q"].closed


def test_a_syntax_error_loses_nothing(cells):
    cells.run("follow('a:b', heard.append);", "one")
    assert "SyntaxError" in cells.run("follow('a:b', heard.append", "one")
    assert follows() == ["a:b"]
    cells.run("follow('a:b', heard.append);", "one")
    assert follows() == ["a:b"]


def test_an_exception_keeps_what_was_registered_before_it(cells):
    cells.run("follow('a:b', heard.append)\n1 / 0\nfollow('c:d', heard.append)", "one")
    assert follows() == ["a:b"]
    cells.run("None", "one")
    assert follows() == []


def test_a_cell_that_awaits(cells):
    cell = "import asyncio\nawait asyncio.sleep(0)\nfollow('a:b', heard.append);"
    cells.run(cell, "one")
    cells.run("follow('c:d', heard.append);", "two")
    cells.run(cell, "one")
    assert sorted(follows()) == ["a:b", "c:d"]


def test_code_that_runs_code_is_one_cell(cells):
    cell = "get_ipython().run_cell('follow(\"a:b\", heard.append);')\nfollow('c:d', heard.append);"
    cells.run(cell, "one")
    cells.run(cell, "one")
    assert sorted(follows()) == ["a:b", "c:d"]


def test_what_is_registered_outside_cells_is_left_alone(cells):
    with default_bus.follow("a:b", print):
        cells.run("None", "one")
        cells.run("None", "one")
        assert follows() == ["a:b"]


def test_what_ends_badly_does_not_keep_a_cell_from_running(cells, caplog):
    cells.run(
        "from berrymq import scopes\n"
        "class Bad:\n"
        "    def close(self): raise RuntimeError('stuck')\n"
        "bad = Bad()\n"
        "scopes.current().add(bad)",
        "one",
    )
    assert cells.run("print('runs')", "one") == "runs"
    assert "could not be ended" in caplog.text


def test_autoreload_does_no_harm(cells):
    assert cells.run("%load_ext autoreload\n%autoreload 2") == ""
    cells.run("follow('a:b', heard.append);", "one")
    cells.run("follow('a:b', heard.append);", "one")
    twitter("a:b")
    assert len(cells["heard"]) == 1


LIBRARY = """
import berrymq

heard = []
berrymq.follow("imported:*", heard.append)
jobs = berrymq.Queue("imported:*")

class Logger(metaclass=berrymq.Follower):
    @berrymq.following("imported:*")
    def note(self, message):
        heard.append(message)

logger = Logger()
"""


def test_a_cell_does_not_own_what_a_module_registers_when_it_is_imported(cells, tmp_path, monkeypatch):
    (tmp_path / "library_of_cells.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        for _ in range(3):
            assert cells.run("import library_of_cells", "one") == ""
        twitter("imported:a")
        library = sys.modules["library_of_cells"]
        assert len(library.heard) == 2
        assert library.jobs.qsize() == 1
    finally:
        for subscription in default_bus.subscriptions():
            subscription.cancel()
        sys.modules.pop("library_of_cells", None)


SOMEBODYS = """
import functools
from berrymq import follow

received = []


@functools.cache
def cached():
    return follow("test:run", lambda message: received.append("cached"))


def watch(identifier):
    return follow(identifier, lambda message: received.append(identifier))
"""


@pytest.fixture
def library(cells, tmp_path, monkeypatch):
    """A module of somebody else's whose functions register followers, imported by a cell."""
    (tmp_path / "somebodys.py").write_text(SOMEBODYS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "somebodys", raising=False)
    cells.run("import somebodys; from berrymq import twitter", "imports")
    yield sys.modules["somebodys"]
    sys.modules.pop("somebodys", None)


def test_what_a_library_caches_or_sets_up_once_goes_on_when_the_cell_runs_again(cells, library):
    for _ in range(3):
        cells.run("somebodys.cached()", "cell")
        cells.run("twitter('test:run')", "other")
    assert library.received == ["cached"] * 3


def test_what_a_library_registers_at_each_call_is_replaced_whatever_its_arguments(cells, library):
    cells.run("somebodys.watch('test:run')", "cell")
    cells.run("def start(): somebodys.watch('test:*')\nstart()", "cell")
    cells.run("twitter('test:run')", "other")
    assert library.received == ["test:*"]


def test_what_the_cells_own_code_registers_within_a_library_is_the_cells(cells, library):
    cells.run("list(map(lambda one: somebodys.follow(one, somebodys.received.append), ['test:run']))", "cell")
    cells.run("pass", "cell")
    cells.run("twitter('test:run')", "other")
    assert library.received == []
