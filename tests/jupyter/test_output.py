"""What a follower prints, displays and raises stands below its own cell, on every ipykernel."""

import pytest

SENDERS = {
    "from a cell": "twitter({identifier!r}, {n})",
    "from a link": "receive({identifier!r}, {n})",
}


@pytest.fixture(params=SENDERS)
def send(request, loaded):
    def send(identifier, n=0):
        return loaded.run(SENDERS[request.param].format(identifier=identifier, n=n))

    return send


def test_printing_and_displaying(loaded, send):
    cell = loaded.run(
        "@following_function('shown:*')\n"
        "def show(message):\n"
        "    from IPython.display import HTML\n"
        "    print('printed', *message.args)\n"
        "    import sys; print('complained', file=sys.stderr)\n"
        "    display('displayed', HTML('<b>rich</b>'))"
    )
    sender = send("shown:now", 7)
    loaded.wait(lambda: "'displayed'" in cell.text and "rich" in str(cell.outputs), "what is displayed last")
    assert cell.stream("stdout") == "printed 7\n"
    assert cell.stream("stderr") == "complained\n"
    assert {"text/html": "<b>rich</b>", "text/plain": "<IPython.core.display.HTML object>"} in [
        output.get("data") for output in cell.outputs
    ]
    assert sender.outputs == []


def test_afterwards_output_goes_where_it_went_before(loaded, send):
    loaded.run("follow('quiet:*', lambda message: print('follower'))")
    send("quiet:now")
    assert loaded.run("print('own'); display(1); 2").text == "own\n1\n2"


def test_a_cell_that_runs_beside_a_delivery_keeps_its_output(loaded):
    follower = loaded.run(
        "entered, leave = threading.Event(), threading.Event()\n"
        "@following_function('slow:*')\n"
        "def slow(message):\n"
        "    entered.set(); leave.wait(20); print('follower'); display('follower')"
    )
    cell = loaded.run(
        "receive('slow:now'); entered.wait(20); print('cell'); display('cell'); leave.set()\n"
        "default_bus.gateway.deliverer.drain(20)\n"
        "print('cell again'); display('cell again')"
    )
    loaded.wait_for_text(follower, "'follower'")
    assert follower.text == "follower\n'follower'"
    assert cell.text == "cell\n'cell'\ncell again\n'cell again'"


def test_messages_are_delivered_while_a_cell_is_busy(loaded):
    follower = loaded.run(
        "heard = threading.Event()\n"
        "@following_function('busy:*')\n"
        "def hear(message):\n"
        "    print('heard', *message.args)\n"
        "    if message.args == (3,): heard.set()"
    )
    busy = loaded.run(
        "for n in (1, 2, 3): default_bus.gateway.receive([Message.make('busy:now', (n,))])\nheard.wait(20)"
    )
    loaded.wait_for_text(follower, "heard 3")
    assert follower.text == "heard 1\nheard 2\nheard 3"
    assert busy.text == "True"


def test_followers_that_send_to_followers_of_other_cells(loaded, send):
    outer = loaded.run("%%follow outer:*\nprint('before')\n%twitter inner:x\nprint('after')")
    inner = loaded.run("%%follow inner:*\nprint('inner'); display('inner')")
    send("outer:now")
    loaded.wait_for_text(outer, "after")
    loaded.wait_for_text(inner, "'inner'")
    assert outer.text == "before\nafter"
    assert inner.text == "inner\n'inner'"


def test_async_followers(loaded, send):
    first = loaded.run(
        "import asyncio\n"
        "@following_function('async:*')\n"
        "async def first(message):\n"
        "    print('before'); display('before'); await asyncio.sleep(0.05); print('after'); display('after')"
    )
    second = loaded.run(
        "@following_function('async:*')\n"
        "async def second(message):\n"
        "    await asyncio.sleep(0.02); print('second'); display('second')"
    )
    send("async:now")
    loaded.wait_for_text(first, "'after'")
    loaded.wait_for_text(second, "'second'")
    assert first.text == "before\n'before'\nafter\n'after'"
    assert second.text == "second\n'second'"


def test_cells_of_a_subshell_beside_a_busy_cell(loaded):
    subshell = loaded.open_subshell()
    if subshell is None:
        assert loaded.run("import ipykernel; ipykernel.version_info[0]").text == "6"
        return
    loaded.run("go, done = threading.Event(), threading.Event()")
    busy = loaded.start(
        "%%time\nprint('busy', flush=True)\ngo.wait(20); twitter('both:now'); done.wait(20)\nprint('end')"
    )
    loaded.wait_for_text(busy, "busy")
    for _ in range(2):
        beside = loaded.start_in(subshell, "follow('both:*', lambda message: display('follower'));", "beside")
        loaded.finish(beside)
    sender = loaded.finish(loaded.start_in(subshell, "twitter('both:now'); print('sent')", "sender"))
    loaded.wait_for_text(beside, "follower")
    assert sender.text == "sent"
    loaded.finish(loaded.start_in(subshell, "go.set(); done.set()", "go"))
    loaded.finish(busy)
    assert "follower" not in busy.text
    assert beside.text == "'follower'\n'follower'"


def test_what_a_follower_registers_belongs_to_its_cell(loaded):
    cell = loaded.run(
        "def register(message):\n"
        "    follow('nested:*', lambda message: print('nested'))\n"
        "follow('register:*', register)",
        cell_id="registers",
    )
    loaded.run("twitter('register:now')")
    loaded.run("twitter('nested:now')")
    loaded.wait_for_text(cell, "nested")
    loaded.run("None", cell_id="registers")
    assert loaded.run("len([s for s in default_bus.subscriptions() if s.name == '<lambda>'])").text == "0"


class TestErrors:
    def test_a_delivery_without_a_caller_shows_a_traceback_from_the_users_code(self, loaded):
        cell = loaded.run(
            "@following_function('bad:*')\ndef fail(message):\n    x = message.args[0]\n    return x / 0"
        )
        sender = loaded.run("receive('bad:now', 7)\ndefault_bus.gateway.deliverer.drain(20)")
        loaded.wait(lambda: cell.error, "the traceback")
        assert cell.error == "ZeroDivisionError"
        assert "----> 4     return x / 0" in cell.text
        assert "berrymq/" not in cell.text.replace("berrymq/berrymq", "")
        assert "raised for the message 'bad:now' by fail" in cell.text
        assert sender.error is None

    def test_the_cell_that_runs_meanwhile_does_not_fail(self, loaded):
        cell = loaded.run("follow('worse:*', lambda message: 1 / 0)")
        busy = loaded.run("receive('worse:now')\ndefault_bus.gateway.deliverer.drain(20)\nprint('fine')")
        loaded.wait(lambda: cell.error, "the traceback")
        assert busy.text == "fine"

    def test_a_body_of_a_cell_shows_its_own_lines(self, loaded):
        cell = loaded.run("%%follow broken:*\nscore = message.score\nscore / 0")
        loaded.run("receive('broken:now', score=1)")
        loaded.wait(lambda: cell.error, "the traceback")
        assert "----> 3 score / 0" in cell.text

    def test_a_caller_gets_the_error_of_a_follower(self, loaded):
        follower = loaded.run("%%follow called:*\nmessage.args[0] / 0")
        sender = loaded.run("%twitter called:now 1")
        assert sender.error == "ZeroDivisionError"
        assert "----> 2 message.args[0] / 0" in sender.text
        assert "berrymq_jupyter" not in sender.text
        assert follower.outputs == []

    def test_async_followers_too(self, loaded):
        cell = loaded.run("@following_function('abad:*')\nasync def fail(message):\n    1 / 0")
        loaded.run("receive('abad:now')")
        loaded.wait(lambda: cell.error, "the traceback")
        assert "----> 3     1 / 0" in cell.text
