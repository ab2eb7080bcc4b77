"""Loading gives everything, unloading leaves nothing."""

import re
import subprocess
import sys
import threading

import pytest

from berrymq import Message, default_bus

MAGICS = ["ask", "follow", "followers", "link", "links", "queue", "talk", "twitter", "unfollow", "unlink"]


def state(shell):
    """Everything of a shell and of the bus that the extension changes."""
    manager, formatter = shell.ip.magics_manager, shell.ip.display_formatter
    formatters = [
        *formatter.formatters.values(),
        formatter.ipython_display_formatter,
        formatter.mimebundle_formatter,
    ]
    return {
        "magics": {kind: sorted(found) for kind, found in manager.magics.items()},
        "registry": sorted(manager.registry),
        "events": {name: list(found) for name, found in shell.ip.events.callbacks.items()},
        "matchers": list(shell.ip.Completer.custom_matchers),
        "printers": [(sorted(map(str, f.type_printers)), sorted(f.deferred_printers)) for f in formatters],
        "hooks": list(default_bus.hooks),
        "reports": default_bus.on_background_error,
        "followers": default_bus.subscriptions(),
        "threads": [thread for thread in threading.enumerate() if "berrymq" in thread.name],
    }


def test_loading_gives_the_magics(shell):
    line, cell = (shell.ip.magics_manager.magics[kind] for kind in ("line", "cell"))
    assert [name for name in MAGICS if name not in line] == []
    assert [name for name in MAGICS if name in cell] == ["ask", "follow", "talk", "twitter"]


@pytest.mark.parametrize("name", MAGICS)
def test_every_magic_has_help(shell, name):
    text = shell.run(f"%{name}?")
    first, rest = text.removeprefix("Docstring:").strip().split("\n\n", 1)
    assert re.fullmatch(r"[A-Z][^\n]*\.", first), "a sentence comes first"
    assert rest.startswith(f"Usage:\n    %{name}")
    parts = re.findall(r"^(Usage|Arguments|Options|Examples):$", rest, re.MULTILINE)
    assert parts == sorted(parts, key=["Usage", "Arguments", "Options", "Examples"].index)
    assert ("Arguments" in parts) <= ("Examples" in parts)
    assert "::" not in text


@pytest.mark.parametrize("name", MAGICS)
def test_no_magic_expands_variables(shell, name):
    assert shell.ip.find_line_magic(name)._ipython_magic_no_var_expand


def test_unloading_leaves_nothing(bare_shell):
    shell = bare_shell
    shell.run("%unload_ext nothing")  # IPython loads its own magics when they are first used
    before = state(shell)
    earlier = set(threading.enumerate())
    shell.run("%load_ext berrymq_jupyter")
    assert state(shell) != before
    shell.run("%%follow a:b\nmessage", "one")
    shell.run("q = %queue a:b", "two")
    default_bus.gateway.receive([Message.make("a:b", source="elsewhere")])
    shell.run("%unload_ext berrymq_jupyter")
    for thread in set(threading.enumerate()) - earlier:
        if "berrymq" in thread.name:
            thread.join(10)
    assert state(shell) == before


def test_a_foreign_magic_of_the_same_name_stays(shell):
    shell.ip.register_magic_function(lambda line: "theirs", "line", "link")
    shell.run("%unload_ext berrymq_jupyter")
    assert shell.run("%link").endswith("'theirs'")


def test_followers_from_outside_stay(shell):
    with default_bus.follow("a:b", print) as subscription:
        shell.run("%unload_ext berrymq_jupyter")
        assert subscription.active


def test_reloading(shell):
    before = state(shell)
    for _ in range(3):
        assert shell.run("%reload_ext berrymq_jupyter") == ""
        after = state(shell)
        assert after["magics"] == before["magics"]
        assert {name: len(found) for name, found in after["events"].items()} == {
            name: len(found) for name, found in before["events"].items()
        }
        assert len(after["hooks"]) == len(before["hooks"]) == 2
        assert len(after["matchers"]) == 1


def test_reloading_says_what_it_ends(shell):
    shell.run("%follow test:* print\nlog = %queue task:*")
    assert shell.run("%reload_ext berrymq_jupyter") == (
        "ended with the extension: 2 followers, queues and views of cells; "
        "run those cells again to have them back"
    )


def test_loading_twice(shell):
    before = state(shell)
    assert "already loaded" in shell.run("%load_ext berrymq_jupyter")
    assert state(shell) == before


def test_the_extension_loads_under_the_name_of_the_library_too(bare_shell):
    assert bare_shell.run("%load_ext berrymq") == ""
    before = state(bare_shell)
    assert "twitter" in before["magics"]["line"]
    bare_shell.run("%load_ext berrymq_jupyter")
    assert state(bare_shell) == before
    bare_shell.run("%unload_ext berrymq")
    assert "twitter" not in state(bare_shell)["magics"]["line"]


def test_loading_loads_neither_widgets_nor_links_nor_server():
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.instance().run_line_magic('load_ext', 'berrymq_jupyter')\n"
        "heavy = ('anywidget', 'ipywidgets', 'tornado', 'jupyter_server')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.strip() == "[]"
