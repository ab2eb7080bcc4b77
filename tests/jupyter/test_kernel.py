"""The magics in real kernels, of every ipykernel that is asked for."""

import re
import socket

import pytest


class TestViews:
    def test_follow_shows_a_log_once(self, loaded):
        cell = loaded.run("%follow test:*")
        assert cell.error is None, cell.text
        assert cell.widgets == 1

    def test_a_cell_run_again_shows_one_log(self, loaded):
        assert [loaded.run("%follow test:*", cell_id="log").widgets for _ in range(3)] == [1, 1, 1]

    def test_follow_gives_the_log(self, loaded):
        cell = loaded.run("log = %follow test:*\nprint('after')")
        assert cell.widgets == 1
        assert cell.text.endswith("after")
        assert loaded.run("twitter('test:run', 1); [m.args for m in log.messages()]").text == "[(1,)]"

    def test_a_log_shown_again_is_shown(self, loaded):
        loaded.run("log = %follow test:*")
        assert loaded.run("log").widgets == 1

    def test_a_log_is_listed_by_its_name(self, loaded):
        loaded.run("%follow test:*", cell_id="log")
        assert "test:*   MessageLog  cell In [" in loaded.run("%followers").text

    def test_a_queue_is_shown_once(self, loaded):
        assert loaded.run("%queue task:*").widgets == 1
        assert loaded.run("q = %queue task:*").widgets == 1
        assert loaded.run("q = %queue task:*\nq").widgets == 1
        assert loaded.run("q").widgets == 1

    def test_a_queue_of_plain_python_is_shown(self, loaded):
        cell = loaded.run("from berrymq import Queue\nq = Queue('task:*')\nq")
        assert cell.widgets == 1

    def test_running_a_cell_again_replaces_its_views(self, loaded):
        loaded.run("log = %follow test:*\nq = %queue task:*", cell_id="views")
        loaded.run("first = log, q")
        loaded.run("log = %follow test:*\nq = %queue task:*", cell_id="views")
        assert loaded.run("[view.closed for view in (*first, log, q)]").text == "[True, True, False, False]"
        assert loaded.run("[s.follows for s in default_bus.subscriptions()].count('test:*')").text == "1"


class TestMistakes:
    @pytest.mark.parametrize(
        "line",
        [
            "%twitter a:b:c",
            "%twitter a:b nobody",
            "%follow a*:b",
            "%queue",
            "%link http://127.0.0.1:9/",
            "%unlink",
            "%ask a:b 1 2",
        ],
    )
    def test_mistakes_are_one_line_on_stderr(self, loaded, line):
        cell = loaded.run(line)
        assert {output.get("name") for output in cell.outputs} == {"stderr"}
        assert cell.text.startswith("UsageError: ")
        assert "\n" not in cell.text

    def test_nothing_else_is_disturbed(self, loaded):
        follower = loaded.run("%%follow a:b\nprint('heard')")
        loaded.run("%follow a:b nobody")
        loaded.run("%twitter a:b")
        assert follower.text == "heard"


class TestInterrupts:
    """The stop button."""

    @pytest.mark.parametrize("magic", ["%ask", "%twitter"])
    def test_a_follower_shows_where_it_was(self, loaded, magic):
        follower = loaded.run("%%follow a:b\nprint('begins')\nimport time\ntime.sleep(60)")
        cell = loaded.start(f"{magic} a:b")
        loaded.wait_for_text(follower, "begins")
        loaded.interrupt()
        loaded.finish(cell)
        assert cell.error == "KeyboardInterrupt"
        assert "----> 4 time.sleep(60)" in cell.text
        assert not re.search(r"berrymq(_jupyter)?/[\w/]+\.py", cell.text), "no frame of ours is shown"

    def test_a_link_that_is_not_made_is_one_line(self, loaded):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(20)
            cell = loaded.start(f"%link http://127.0.0.1:{silent.getsockname()[1]}/")
            connection, _ = silent.accept()
            loaded.interrupt()
            loaded.finish(cell)
            connection.close()
        assert cell.text == "KeyboardInterrupt: the link was not made"
        assert loaded.run("%links").text == "not linked; %link joins a hub"


class TestMainThread:
    @pytest.fixture
    def on_main(self, loaded):
        loaded.run(
            "from berrymq_jupyter.extension import EXTENSIONS\nEXTENSIONS[get_ipython()].deliver_on('main')"
        )
        yield loaded
        loaded.run("EXTENSIONS[get_ipython()].deliver_on('thread')")

    def test_between_cells(self, on_main):
        follower = on_main.run(
            "%%follow a:b\nprint(message.args[0], threading.current_thread() is threading.main_thread())"
        )
        busy = on_main.run(
            "for n in (1, 2): default_bus.gateway.receive([Message.make('a:b', (n,))])\n"
            "print('end of the cell')"
        )
        on_main.wait_for_text(follower, "2 True")
        assert follower.text == "1 True\n2 True"
        assert busy.text == "end of the cell"

    def test_an_error_is_shown_under_its_cell(self, on_main):
        follower = on_main.run("%%follow a:b\n1 / 0")
        on_main.run("receive('a:b')")
        on_main.wait(lambda: follower.error, "the traceback")
        assert "----> 2 1 / 0" in follower.text

    def test_the_interrupt_button_stops_a_follower(self, on_main):
        follower = on_main.run("%%follow a:b\nprint('begins', flush=True)\nimport time\ntime.sleep(60)")
        on_main.run("receive('a:b')")
        on_main.wait_for_text(follower, "begins")
        on_main.interrupt()
        on_main.wait(lambda: follower.error, "the traceback")
        assert follower.error == "KeyboardInterrupt"
        assert on_main.run("print('alive')").text == "alive"


def test_a_widgets_callback_keeps_the_output_of_its_cell(loaded):
    """What a follower prints stays under its cell also when a page's message set it off."""
    follower = loaded.run("%%follow button:*\nprint('heard', message.args[0])")
    loaded.run(
        "import ipywidgets\n"
        "button = ipywidgets.Button()\n"
        "button.on_click(lambda _: twitter('button:clicked', 1))\n"
        "button.comm.comm_id"
    )
    comm = loaded.run("print(button.comm.comm_id)").text
    loaded.send_comm(comm, {"method": "custom", "content": {"event": "click"}})
    loaded.wait_for_text(follower, "heard 1")


def test_unloading_leaves_no_thread_and_no_follower(loaded):
    loaded.run("%follow a:b\n%follow a:b print\nq = %queue a:b")
    loaded.run("%link http://127.0.0.1:9/")
    loaded.run("receive('a:b', 1)\ndefault_bus.gateway.deliverer.drain(20)")
    cell = loaded.run(
        "%unload_ext berrymq_jupyter\n"
        "for thread in threading.enumerate():\n"
        "    if 'berrymq' in thread.name: thread.join(20)\n"
        "print([thread.name for thread in threading.enumerate() if 'berrymq' in thread.name])\n"
        "print(default_bus.subscriptions())"
    )
    printed = [output["text"] for output in cell.outputs if output.get("name") == "stdout"]
    said, *left = "".join(printed).splitlines()
    assert said.startswith("ended with the extension: ")
    assert left == ["[]", "[]"]
