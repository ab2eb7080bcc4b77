import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.discovery.naming import default_node_name

PID = os.getpid()


@pytest.mark.parametrize(
    ("session", "name"),
    [
        ("train.ipynb", "train.ipynb"),
        ("work/deep/train.ipynb", "train.ipynb"),
        (r"C:\work\train.ipynb", "train.ipynb"),
        ("work/two words.ipynb/", "two words.ipynb"),
        ("a\nb\x00.ipynb", "a b .ipynb"),
    ],
)
def test_a_kernel_has_its_notebook_s_name(session, name):
    assert default_node_name({"JPY_SESSION_NAME": session}, modules={"ipykernel"}) == name


def test_what_the_caller_knows_comes_first():
    environ = {"JPY_SESSION_NAME": "other.ipynb"}
    assert default_node_name(environ, notebook="/w/mine.ipynb", modules={"ipykernel"}) == "mine.ipynb"
    assert default_node_name({}, notebook="/w/mine.ipynb", modules=()) == "mine.ipynb"


def test_a_script_that_a_notebook_started_is_not_the_notebook():
    assert default_node_name({"JPY_SESSION_NAME": "a.ipynb"}, argv=["s.py"], modules=()) == f"s-{PID}"


@pytest.mark.parametrize("session", ["", "/", "\n"])
def test_an_empty_name_is_none(session):
    assert (
        default_node_name({"JPY_SESSION_NAME": session}, argv=["s.py"], modules={"ipykernel"}) == f"s-{PID}"
    )


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        ([], "python"),
        ([""], "python"),
        (["-"], "python"),
        (["-c"], "python"),
        (["-m"], "python"),
        (["script.py"], "script"),
        (["/home/me/script.py", "-x"], "script"),
        (["/usr/bin/ipython"], "ipython"),
        ([r"C:\Scripts\ipython.exe"], "ipython"),
        (["/site-packages/pytest/__main__.py"], "pytest"),
        (["__main__.py"], "python"),
        (["/site-packages/ipykernel_launcher.py"], "kernel"),
    ],
)
def test_elsewhere_it_is_program_and_process(argv, program):
    assert default_node_name({}, argv=argv, modules=()) == f"{program}-{PID}"


def test_of_this_process():
    assert default_node_name({}).endswith(f"-{PID}")


@given(st.text(), st.text())
def test_is_always_one_short_printable_line(session, script):
    name = default_node_name({"JPY_SESSION_NAME": session}, argv=[script], modules={"ipykernel"})
    assert 0 < len(name) <= 100
    assert name.isprintable()
    assert name == name.strip()
