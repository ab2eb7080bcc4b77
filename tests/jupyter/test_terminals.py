"""Two plain IPython terminals talk, with no Jupyter server anywhere: the first `%link` starts a hub."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hubs import connection_files, end_hubs
from tests.support.terminal import Terminal


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The home of one user; the hub that was started there is ended."""
    yield tmp_path
    end_hubs(tmp_path)


@pytest.fixture
def terminals(home: Path) -> Iterator[tuple[Terminal, Terminal]]:
    with Terminal(home) as one, Terminal(home) as other:
        for terminal in (one, other):
            terminal.run("%load_ext berrymq_jupyter")
        yield one, other


def test_the_first_link_starts_a_hub_and_the_second_finds_it(home, terminals):
    one, other = terminals
    assert "the hub of this machine, which was started for this link" in one.run("%link")
    assert "the hub of this machine, by its connection file" in other.run("%link")
    (file,) = connection_files(home)
    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_text())["kind"] == "hub"


def test_what_one_says_the_other_hears(terminals):
    one, other = terminals
    one.run("%link")
    one.run("from berrymq import follow")
    one.run("h = follow('test:*', lambda m: print('heard', m.id, m.args, dict(m.kwargs), 'from', m.source))")
    other.run("%link --name speaker")
    other.run('%twitter test:run 1, name="x"')
    assert "test:run (1,) {'name': 'x'} from speaker" in one.wait_for("heard [^\r\n]*speaker")


def test_a_queue_is_filled_by_the_other(terminals):
    one, other = terminals
    one.run("%link")
    one.run("q = %queue task:*")
    other.run("%link")
    other.run('%twitter task:add "buy milk"')
    assert "buy milk" in one.run("q.get(timeout=20).args[0]")


def test_a_terminal_that_has_sent_and_leaves_has_sent(terminals):
    one, other = terminals
    one.run("%link")
    one.run("q = %queue task:*")
    other.run("%link")
    other.run("for n in range(100): get_ipython().run_line_magic('twitter', f'task:add {n}')")
    assert other.close() == 0
    assert "[0, 1, 2]" in one.run("[q.get(timeout=20).args[0] for n in range(100)][:3]")


def test_the_hub_outlives_the_terminal_that_started_it(terminals):
    one, other = terminals
    one.run("%link")
    other.run("%link --name other")
    assert one.close() == 0
    assert "linked" in other.run("%links")
    other.run("q = %queue test:*")
    other.run("%twitter test:run 'still here'")
    assert "still here" in other.run("q.get(timeout=20).args[0]")


@pytest.mark.parametrize(
    "line", ["%twitter bad:id:entifier", "%link http://127.0.0.1:9/", "%twitter test:run nothing_like_it"]
)
def test_bad_input_is_one_line(terminals, line):
    one, _ = terminals
    shown = one.run(line)
    assert "Traceback" not in shown
    assert len(shown.splitlines()) == 1, shown
