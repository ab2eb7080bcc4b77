from contextlib import closing

import pytest

from berrymq import default_bus, twitter
from berrymq_jupyter import MessageLog, ProgressView


def follows():
    return [subscription.follows for subscription in default_bus.subscriptions()]


class TestFollow:
    def test_in_a_terminal_each_message_is_a_line(self, shell):
        shell.run("%follow test:*")
        printed = shell.run("%twitter test:run 1, name='x'")
        assert printed[8:] == " test:run 1, name='x'"

    def test_in_a_terminal_a_log_answers_no_question(self, shell):
        shell.run("%%follow calc:add\nsum(message.args)")
        shell.run("%follow calc:*")
        printed = shell.run("answers = %ask calc:add 1, 2")
        assert "calc:add 1, 2" in printed
        assert shell["answers"] == [3]

    def test_a_function(self, shell):
        shell.run("heard = []\n%follow test:* heard.append")
        twitter("test:run", 1)
        assert shell["heard"][0].args == (1,)

    def test_a_function_of_the_calling_function(self, shell):
        shell.run(
            "heard = []\ndef register():\n    handler = heard.append\n    %follow test:* handler\nregister()"
        )
        twitter("test:run")
        assert len(shell["heard"]) == 1

    def test_a_body_shows_what_its_last_line_gives(self, shell):
        shell.run("%%follow test:*\nprint(message.id)\nmessage.args[0] + 1")
        assert shell.run("%twitter test:run 2") == "test:run\n3"

    def test_lines_are_counted_as_in_the_cell(self, shell):
        shell.run("%%follow test:*\n\n\n1\n1 / 0")
        printed = shell.run("%twitter test:run")
        assert "line 5" in printed
        assert "----> 5 1 / 0" in printed

    def test_a_body_may_await(self, shell):
        shell.run(
            "%%follow test:*\nimport asyncio\nawait asyncio.sleep(0)\nprint('awaited', message.args[0])"
        )
        printed = shell.run("import asyncio\n%twitter test:run 2\nawait asyncio.sleep(0.05)")
        assert printed == "awaited 2"

    @pytest.mark.parametrize(
        ("cell", "said"),
        [
            ("%follow", "an identifier is missing, as in: %follow test:*"),
            ("%follow te*:x", "has '*' inside its name"),
            ("%follow test:* nobody", "nobody does not evaluate: NameError"),
            ("%follow test:* 3", "an int is not callable"),
            ("%follow test:* lambda: 1", "it is called with one argument, the message"),
            ("%%follow test:*\n   \n", "the cell has no body"),
            ("%%follow test:* print\n1", "its handler is the cell, not print"),
            ("%%follow test:*\nx = = 1", "line 2 of the cell: invalid syntax"),
        ],
    )
    def test_mistakes_are_one_line(self, shell, cell, said):
        printed = shell.run(cell)
        assert printed.startswith("UsageError: ")
        assert said in printed
        assert "\n" not in printed
        assert follows() == []

    def test_an_unknown_handler_is_not_taken_for_text(self, shell):
        printed = shell.run("%follow a:b missing")
        assert printed == ("UsageError: missing does not evaluate: NameError: name 'missing' is not defined")


class TestUnfollow:
    def test_one_identifier(self, shell):
        shell.run("%follow test:* print\n%follow test:run print\n%%time\n", "one")
        shell.run("%unfollow test:*")
        assert follows() == ["test:run"]

    def test_quoted(self, shell):
        shell.run("%follow 'two words:*' print")
        assert shell.run("%unfollow 'two words:*'") == ""
        assert follows() == []

    def test_queues_go_on(self, shell):
        shell.run("q = %queue test:*\n%follow test:* print")
        shell.run("%unfollow test:*")
        assert follows() == ["test:*"]
        assert shell.run("%unfollow test:*") == (
            "UsageError: test:* is collected by a queue, which goes on until its close() is called"
        )

    def test_all_that_cells_have_registered(self, shell):
        with default_bus.follow("library:*", print):
            shell.run("%follow a:b print\n%follow c:d print")
            shell.run("%unfollow --all")
            assert follows() == ["library:*"]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("", "name one identifier"),
            ("--all a:b", "name one identifier"),
            ("a:b", "no followers of a:b here"),
            ("a:b c:d", "does not take c:d"),
        ],
    )
    def test_mistakes_are_one_line(self, shell, line, said):
        printed = shell.run(f"%unfollow {line}")
        assert printed.startswith("UsageError: ")
        assert said in printed
        assert "\n" not in printed


def test_followers_are_listed_with_their_cells(shell):
    assert shell.run("%followers").endswith("no followers here")
    with default_bus.follow("library:*", follows_in_a_file := lambda message: None):
        shell.run("%%follow train:*\nmessage")
        shell.run("q = %queue 'two words:*'")
        lines = shell.run("%followers").splitlines()[-4:]
    assert [line.split("  ")[0] for line in lines] == ["follows", "library:*", "train:*", "two words:*"]
    assert lines[1].endswith(f"test_following.py:{follows_in_a_file.__code__.co_firstlineno}")
    assert lines[2].split() == ["train:*", "on_message", "cell", "In", "[3]"]
    assert lines[3].endswith("cell In [4]")


def test_views_are_listed_under_their_names(shell):
    with closing(ProgressView("train:progress")), closing(MessageLog("train:*")):
        lines = shell.run("%followers").splitlines()[-2:]
    assert [line.split()[:2] for line in lines] == [
        ["train:progress", "ProgressView"],
        ["train:*", "MessageLog"],
    ]


class TestQueue:
    def test_a_queue_is_returned(self, shell):
        assert shell.run("q = %queue task:*") == ""
        shell.run("%twitter task:add 1")
        assert shell["q"].get_nowait().args == (1,)

    def test_as_the_value_of_a_cell_it_is_text_in_a_terminal(self, shell):
        assert shell.run("%queue task:*") == "Out[2]: <Queue task:*, 0 waiting>"

    def test_options(self, shell):
        shell.run("q = %queue --shared --maxsize 2 --overflow drop_newest 'two words:*'")
        queue = shell["q"]
        assert (queue.follows, queue.shared, queue.maxsize, queue.overflow) == (
            "two words:*",
            True,
            2,
            "drop_newest",
        )

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("", "an identifier is missing, as in: %queue task:*"),
            ("--maxsize -1 a:b", "maxsize is a number of messages"),
        ],
    )
    def test_mistakes_are_one_line(self, shell, line, said):
        printed = shell.run(f"%queue {line}")
        assert printed.startswith("UsageError: ")
        assert said in printed
        assert "\n" not in printed
