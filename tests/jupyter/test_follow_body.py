import asyncio
import inspect
import threading
import traceback
from types import SimpleNamespace

import pytest
from IPython.core.error import UsageError

from berrymq_jupyter.follow_body import compile_body

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


@pytest.mark.parametrize("before", [{}, {"message": "stale"}])
@pytest.mark.parametrize(
    "text",
    [
        "%%time\nprint('score', message.score)",
        "\n%%capture output\nprint('score', message.score)\n",
        "%%timeit -n1 -r1\nprint('score', message.score)",
        "%%bash -s {message.score}\necho score $1",
    ],
)
def test_a_cell_magic_inside_sees_the_message(body, names, capsys, before, text):
    names.update(before)
    body(text)(MESSAGE)
    printed = capsys.readouterr().out + (str(names["output"]) if "output" in names else "")
    assert "score 3" in printed
    assert {key: names[key] for key in ("message",) if key in names} == before


def test_a_cell_magic_that_fails_gives_the_name_back(body, names):
    names["message"] = "mine"
    with pytest.raises(ZeroDivisionError):
        body("%%prun -q\nmessage = message.score / 0")(MESSAGE)
    assert names["message"] == "mine"


def test_cell_magics_of_two_threads_do_not_mix(body, names):
    function = body("%%time\nimport time\ntime.sleep(0.01 * message)\nheard.append(message)")
    names["heard"] = heard = []
    threads = [threading.Thread(target=function, args=(number,)) for number in (3, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(heard) == [1, 2, 3]
    assert "message" not in names


def test_a_cell_magic_that_needs_no_message_leaves_the_name_alone(body, names, capsys):
    names["seen"] = lambda: pytest.fail("was lent") if "message" in names else print("not lent")
    body("%%time\nseen()")(MESSAGE)
    assert "not lent" in capsys.readouterr().out


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
        ("\n\nx = = 3", "line 4 of the cell: invalid syntax: x = = 3"),
        ("\n  \n\nif x:", "line 5 of the cell: incomplete input: if x:"),
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
@pytest.mark.parametrize("blank", ["", "\n\n", "  \n\t\n\n"])
def test_tracebacks_show_the_lines_of_the_cell(body, first, blank):
    text = f"{blank}x = 1\nmessage.score / 0"
    function = body(text, first)
    with pytest.raises(ZeroDivisionError) as caught:
        function(MESSAGE)
    (*_, frame) = traceback.extract_tb(caught.value.__traceback__)
    assert frame.line == "message.score / 0"
    assert frame.lineno == (first + blank).count("\n") + 2


def test_a_body_has_a_name_for_lists(body):
    assert body("1").__qualname__ == "on_message"
