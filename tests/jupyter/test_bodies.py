import asyncio
import inspect
import traceback
from types import SimpleNamespace

import pytest
from IPython.core.error import UsageError

from berrymq_jupyter.bodies import compile_body

MESSAGE = SimpleNamespace(score=3, args=(1, 2))


@pytest.fixture
def body(bare_shell):
    def compile_it(text, first="%%follow test:*\n"):
        return compile_body(bare_shell.ip, text, first + text)

    return compile_it


@pytest.fixture
def names(bare_shell):
    return bare_shell.ip.user_ns


def test_assigned_names_are_the_notebooks(body, names):
    body(
        "count = 1\n"
        "typed: int = 2\n"
        "declared: str\n"
        "a, (b, *c) = 1, (2, 3)\n"
        "for i in range(2): pass\n"
        "import os.path as path\n"
        "from os import sep\n"
        "def function(): return message.score\n"
        "class Kind: attribute = 1\n"
        "with open(__file__ if False else path.devnull) as file: pass\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError as error: pass\n"
        "match [1]:\n"
        "    case [first]: pass\n"
        "[walrus := x for x in (1, 2)]"
    )(MESSAGE)
    expected = "count typed a b c i path sep function Kind file first walrus"
    assert [name for name in expected.split() if name not in names] == []
    assert names["walrus"] == 2
    assert not {"message", "error", "x", "declared"} & names.keys()


def test_the_notebooks_names_are_read_and_changed(body, names):
    names["count"] = 1
    function = body("count += 1\ndel gone")
    names["gone"] = 1
    function(MESSAGE)
    assert names["count"] == 2
    assert "gone" not in names


def test_a_message_of_the_notebook_is_left_alone(body, names):
    names["message"] = "mine"
    assert body("message = message.score\nmessage")(MESSAGE) == 3
    assert names["message"] == "mine"


def test_functions_inside_see_the_message(body):
    function = body(
        "[message.score for _ in '12'] + [(lambda: message.score)()] + list(message.score for _ in '1')"
    )
    assert function(MESSAGE) == [3, 3, 3, 3]


def test_two_messages_at_once_do_not_mix(body, names):
    outer = body("inner(2) if message == 1 else None\nmessage")
    names["inner"] = outer
    assert outer(1) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("message.score", 3),
        ("message.score;", None),
        ("x = 1", None),
        ("if message.score < 5: return 'early'\n'late'", "early"),
        ("'''a\nb'''", "a\nb"),
        ("# nothing", None),
    ],
)
def test_the_last_value_is_returned(body, text, value):
    assert body(text)(MESSAGE) == value


def test_magics_work(body, names, capsys):
    names["x"] = 1
    body("found = %who_ls int")(MESSAGE)
    assert names["found"] == ["x"]


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio\nawait asyncio.sleep(0)\nmessage.score",
        "async def numbers():\n    yield message.score\n[n async for n in numbers()][0]",
        "async def numbers():\n    yield message.score\nasync for n in numbers(): pass\nn",
    ],
)
def test_a_body_that_awaits_is_a_coroutine_function(body, text):
    function = body(text)
    assert inspect.iscoroutinefunction(function)
    assert asyncio.run(function(MESSAGE)) == 3


def test_an_async_function_inside_does_not_make_it_one(body):
    assert not inspect.iscoroutinefunction(body("async def later():\n    await message\nlater"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nx = = 3", "line 3 of the cell: invalid syntax: x = = 3"),
        ("x\n  y", "line 3 of the cell: unexpected indent: y"),
        ("yield 1", "it cannot yield"),
        ("global message", "line 2 of the cell: name 'message' is parameter and global: global message"),
        ("from os import *", "line 2 of the cell: import * only allowed at module level: from os import *"),
    ],
)
def test_mistakes_are_one_line(body, text, said):
    with pytest.raises(UsageError) as caught:
        body(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("first", ["%%follow test:*\n", "\n\n%%follow test:*\n"])
def test_tracebacks_show_the_lines_of_the_cell(body, first):
    text = "x = 1\nmessage.score / 0"
    function = body(text, first)
    with pytest.raises(ZeroDivisionError) as caught:
        function(MESSAGE)
    (*_, frame) = traceback.extract_tb(caught.value.__traceback__)
    assert frame.line == "message.score / 0"
    assert frame.lineno == first.count("\n") + 2


def test_it_has_a_name_for_lists(body):
    assert body("1").__qualname__ == "on_message"
