from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from berrymq import PayloadError, default_bus, follow


@pytest.fixture
def heard(shell):
    """What `any:*` and `note:*` were sent."""
    found = []
    with follow("any:*", found.append), follow("note:*", found.append):
        yield found


class TestTwitter:
    def test_identifier_and_arguments(self, shell, heard):
        shell.run("xs = [1, 2]\noptions = {'y': 3}")
        assert shell.run("%twitter any:thing *xs, 'text, more', x={'a': [xs]}, **options") == ""
        (message,) = heard
        assert message.id == "any:thing"
        assert message.args == (1, 2, "text, more")
        assert message.kwargs == {"x": {"a": [[1, 2]]}, "y": 3}

    def test_braces_and_dollars_are_python(self, shell, heard):
        shell.run("x = 1\n%twitter any:thing {'x': x}, '{x} $x'")
        assert heard[0].args == ({"x": 1}, "{x} $x")

    def test_in_a_function_its_names_count(self, shell, heard):
        assert (
            shell.run("def train(epoch):\n    loss = 0.5\n    %twitter any:epoch epoch, loss=loss\ntrain(3)")
            == ""
        )
        assert (heard[0].args, heard[0].loss) == ((3,), 0.5)

    def test_the_text_of_a_cell(self, shell, heard):
        shell.run("%%twitter note:add 7, by='me'\nAny {text}\n\n$of several lines")
        assert heard[0].args == ("Any {text}\n\n$of several lines", 7)
        assert heard[0].by == "me"

    def test_twitter_is_a_plain_call(self, shell):
        assert (
            shell.run(
                "order = []\n%follow any:* lambda message: order.append('follower')\n"
                "%twitter any:thing\norder.append('sender')\norder"
            )
            == "Out[2]: ['follower', 'sender']"
        )

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("", "an identifier is missing, as in: %twitter test:run 1, x=2"),
            ("--loud test:run 1", "there is no option --loud here; it begins as in: %twitter test:run 1"),
            ("any:a:b", "has more than one ':'"),
            (
                "any:thing hello",
                "hello does not evaluate: NameError: name 'hello' is not defined (text needs quotes)",
            ),
            ("any:thing 1, 2 3", "is not a list of Python arguments"),
        ],
    )
    def test_mistakes_are_one_line(self, shell, heard, line, said):
        printed = shell.run(f"%twitter {line}")
        assert printed.startswith("UsageError: ")
        assert said in printed
        assert "\n" not in printed
        assert heard == []

    def test_a_followers_error_shows_its_code(self, shell):
        shell.run("%%follow any:*\nx = 1\nx / 0")
        printed = shell.run("%twitter any:thing")
        assert "ZeroDivisionError" in printed
        assert "----> 3 x / 0" in printed
        assert (
            "raised for the message 'any:thing' by on_message (Cell In[2], line 1), which follows any:*"
            in printed
        )
        assert "berrymq" not in printed

    def test_several_errors_come_as_a_group(self, shell):
        shell.run("%follow any:* lambda message: 1 / 0\n%follow any:* lambda message: [][0]")
        printed = shell.run("%twitter any:thing")
        assert "2 followers failed for the message 'any:thing'" in printed
        assert "ZeroDivisionError" in printed
        assert "IndexError" in printed

    def test_an_interrupted_wait_is_one_line(self, shell, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        waiting = Future()
        monkeypatch.setattr(waiting._condition, "wait", interrupt)
        bus = SimpleNamespace(twitter=waiting.result)
        monkeypatch.setattr("berrymq_jupyter.sending.default_bus", bus)
        assert shell.run("%twitter any:thing") == "KeyboardInterrupt: stopped waiting"

    def test_an_interrupted_follower_shows_its_code(self, shell):
        shell.run("%%follow any:*\nraise KeyboardInterrupt")
        printed = shell.run("%twitter any:thing")
        assert "----> 2 raise KeyboardInterrupt" in printed
        assert "berrymq" not in printed

    def test_a_full_queue_is_one_line_and_caught_as_such(self, shell):
        shell.run("from queue import Full\nq = %queue --maxsize 2 --overflow raise any:*")
        shell.run("%twitter any:thing\n%twitter any:thing")
        printed = shell.run("%twitter any:thing")
        assert printed == "Full: the queue is full (maxsize=2) and did not take in 'any:thing'"
        assert shell.run("try:\n    %twitter any:thing\nexcept Full: print('caught')") == "caught"

    def test_a_full_queue_beside_an_error_is_named_with_its_cell(self, shell):
        shell.run("q = %queue --maxsize 1 --overflow raise any:*\n%twitter any:thing")
        shell.run("%follow any:* lambda message: 1 / 0")
        assert "by Queue (Cell In[2]), which follows any:*" in shell.run("%twitter any:thing")


class TestPayloads:
    """A payload that can't cross a link, as a tap refuses it."""

    @pytest.fixture
    def refusing(self, shell):
        def refuse(message):
            raise PayloadError("args[0]", "a function is no data")

        taps = [default_bus.gateway.attach(lambda identifier: True, refuse) for _ in range(2)]
        yield
        for tap in taps:
            tap.cancel()

    def test_one_line_after_local_delivery(self, shell, refusing, heard):
        assert shell.run("%twitter any:thing print") == (
            "UsageError: args[0] can't cross a link: a function is no data"
        )
        assert heard[0].args == (print,)

    def test_beside_a_followers_error(self, shell, refusing):
        shell.run("%%follow any:*\n1 / 0")
        printed = shell.run("%twitter any:thing print")
        assert "ZeroDivisionError" in printed
        assert "args[0] can't cross a link: a function is no data" in printed


class TestTalkAndAsk:
    def test_answers(self, shell):
        shell.run("%%follow price:get\nmessage.args[0] * 2;\n21")
        shell.run("%follow price:get lambda message: message.args[0]")
        assert shell.run("answers = %ask price:get 4\nanswers").endswith("[21, 4]")

    def test_what_a_body_gives_is_its_answer(self, shell):
        shell.run("%%follow double:ask\nmessage.args[0] * 2")
        assert shell.run("%ask --timeout 5 double:ask 4").endswith("[8]")

    def test_the_text_of_a_cell(self, shell):
        shell.run("got = []\n%follow text:is lambda message: got.append(message.args[0])")
        shell.run("%follow text:shout lambda message: (message.args[0].upper(), *message.args[1:])")
        assert shell.run("%%ask text:shout --timeout 5 7\nAny {text}\n").endswith("[('ANY {TEXT}', 7)]")
        assert shell.run("%%talk text:shout text:is\nsome\nlines") == ""
        assert shell["got"] == [("SOME\nLINES",)]

    def test_talk_sends_answers_on(self, shell):
        shell.run(
            "got = []\n%follow price:get lambda message: message.args[0] * 2\n%follow price:is got.append"
        )
        assert shell.run("%talk price:get price:is 4") == ""
        assert [message.args for message in shell["got"]] == [(8,)]

    def test_an_error_of_the_callbacks_follower_shows_its_code_alone(self, shell):
        shell.run("%%follow price:get\n1 / 0")
        shell.run("def note(message):\n    return {}[message.error]\n%follow price:is note")
        printed = shell.run("%talk price:get price:is 4")
        assert "----> 2     return {}[message.error]" in printed
        assert "raised for the message 'price:is' by note" in printed
        assert printed.count("Traceback (most recent call last)") == 1
        assert "berrymq" not in printed

    def test_what_led_to_an_error_is_shown(self, shell):
        shell.run(
            "def f(message):\n    try:\n        [][0]\n    except IndexError:\n        1 / 0\n%follow a:b f"
        )
        printed = shell.run("%ask a:b")
        assert "During handling of the above exception" in printed
        assert "IndexError" in printed
        assert "ZeroDivisionError" in printed

    def test_an_error_of_several_begins_in_their_code(self, shell):
        shell.run("%follow a:b lambda message: 1 / 0\n%follow a:b lambda message: [][0]")
        *_, first, second = shell.run("%ask a:b").split("Traceback (most recent call last):")
        for part in (first, second):
            assert "in <lambda>" in part
            assert "berrymq" not in part

    def test_an_error_does_not_hide_what_the_others_answered(self, shell):
        shell.run("%follow a:b lambda message: 1 / 0\n%follow a:b lambda message: 'fine'")
        printed = shell.run("%ask a:b")
        assert "ZeroDivisionError" in printed
        assert "the others answered ['fine']" in printed
        shell.run("%unfollow a:b\nasync def f(message):\n    pass\n%follow a:b f\n%follow a:b lambda m: 7")
        printed = shell.run("%ask a:b")
        assert printed.endswith("; the others answered [7]")
        assert "\n" not in printed

    def test_what_berrymq_has_to_complain_of_is_one_line(self, shell):
        shell.run("async def f(message):\n    pass\n%follow a:b f")
        printed = shell.run("%twitter a:b")
        assert printed.startswith("UsageError: f is an 'async def' follower and no event loop runs")
        assert "\n" not in printed

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("%talk", "an identifier is missing, as in: %talk"),
            ("%talk price:get", "the identifier for the answers is missing, as in: %talk"),
            ("%talk price:get price:is nobody", "nobody does not evaluate"),
            ("%ask", "an identifier is missing, as in: %ask"),
            ("%ask --timeout x a:b", "--timeout to be a number of seconds, not x"),
            ("%ask a:b nobody", "nobody does not evaluate"),
            ("%ask a:b 1, timeout=3", "set the timeout with an option, as in: %ask --timeout 3 a:b"),
        ],
    )
    def test_mistakes_are_one_line(self, shell, line, said):
        printed = shell.run(line)
        assert printed.startswith("UsageError: ")
        assert said in printed
        assert "\n" not in printed
