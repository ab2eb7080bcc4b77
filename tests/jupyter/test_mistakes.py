"""Each magic with each kind of bad line: one line comes back, which says what to write."""

import pytest

MAGICS = ["twitter", "follow", "unfollow", "followers", "queue", "talk", "ask", "keep"]
MAGICS += ["link", "unlink", "links"]


def check(printed):
    assert printed.startswith("UsageError: ")
    assert "\n" not in printed
    for word in ("argparse", "unrecognized", "expected one argument", "the following arguments", "Traceback"):
        assert word not in printed


@pytest.mark.parametrize("name", MAGICS)
def test_an_unknown_option(shell, name):
    printed = shell.run(f"%{name} --nonsense")
    check(printed)
    assert "no option --nonsense" in printed
    assert f"%{name}" in printed


@pytest.mark.parametrize("name", MAGICS)
def test_a_quote_that_is_not_closed(shell, name):
    printed = shell.run(f"%{name} 'a:b")
    check(printed)
    assert "the quote before a:b is not closed" in printed


@pytest.mark.parametrize("name", ["twitter", "follow", "queue", "talk", "ask"])
def test_no_identifier(shell, name):
    printed = shell.run(f"%{name}")
    check(printed)
    assert f"an identifier is missing, as in: %{name} " in printed


@pytest.mark.parametrize("name", ["twitter", "follow", "unfollow", "queue", "talk", "ask", "keep"])
def test_an_identifier_that_is_none(shell, name):
    printed = shell.run(f"%{name} a:b:c")
    check(printed)
    assert "write 'a:b.c'" in printed


@pytest.mark.parametrize(
    "line",
    ["unfollow a:b c:d", "followers x", "queue a:b 1", "keep a:b 1", "link a b", "unlink a b", "links a b"],
)
def test_a_word_too_many(shell, line):
    printed = shell.run(f"%{line}")
    check(printed)
    assert f"does not take {line.split()[-1]}; write, for example: %{line.split()[0]}" in printed


@pytest.mark.parametrize(
    "line",
    ["link --room", "link --name", "link --deliver", "queue --maxsize", "ask --timeout", "keep --last"],
)
def test_an_option_without_its_value(shell, line):
    printed = shell.run(f"%{line}")
    check(printed)
    assert f"needs a value behind {line.split()[1]}" in printed


@pytest.mark.parametrize("name", ["twitter", "follow", "ask", "talk c:d"])
def test_an_unknown_option_behind_the_identifier(shell, name):
    printed = shell.run(f"%{name} a:b --nonsense 2")
    check(printed)
    assert "there is no option --nonsense here" in printed


def test_an_unknown_option_that_could_be_python(shell):
    printed = shell.run("%follow a:b --nonsense")
    check(printed)
    assert "name 'nonsense' is not defined (and there is no option --nonsense here)" in printed


def test_an_option_behind_the_arguments_of_a_question(shell):
    printed = shell.run("%ask a:b 1 --timeout 2")
    check(printed)
    assert "(options stand before the arguments)" in printed


@pytest.mark.parametrize("name", ["queue", "keep", "link", "unlink", "links", "unfollow", "followers"])
def test_a_cell_below_a_magic_that_takes_none(shell, name):
    printed = shell.run(f"%%{name} a:b\ntext")
    check(printed)
    assert f"line magic `%{name}` exists" in printed


@pytest.mark.parametrize("name", ["twitter", "follow", "talk", "ask"])
def test_a_cell_without_an_identifier(shell, name):
    printed = shell.run(f"%%{name}\ntext")
    check(printed)
    assert f"an identifier is missing, as in: %%{name} " in printed


@pytest.mark.parametrize(
    "line", ["%twitter --help", "%follow -h", "%links --help", "%link --help", "%ask --help"]
)
def test_who_asks_for_help_as_on_a_command_line_is_told_where_it_is(shell, line):
    assert f"{line.split()[0]}? shows the help" in shell.run(line)
