"""A module that is executed again replaces what its former execution registered."""

import importlib
import sys
import types

import pytest

import berrymq
from berrymq import scopes

HANDLERS = """
import berrymq

@berrymq.following_function("reload:*")
def report(message):
    seen.append(("{version}", message.id))

@berrymq.following_function("reload:*")
def _(message):
    seen.append(("first _", message.id))

@berrymq.following_function("reload:*")
def _(message):
    seen.append(("second _", message.id))

class Logger(metaclass=berrymq.Follower):
    @berrymq.following("reload:*")
    @classmethod
    def receive(cls, message):
        seen.append(("class {version}", message.id))

queue = berrymq.Queue("reload:*")
kept = queue
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module that can be imported; the list `seen` is a builtin of it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = set()

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        names.add(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)
        known = scopes._modules.pop(name, None)
        if known is not None:
            known[1].close()


@pytest.fixture
def seen(monkeypatch):
    import builtins

    messages = []
    monkeypatch.setattr(builtins, "seen", messages, raising=False)
    return messages


NEW = [("new", "reload:a"), ("first _", "reload:a"), ("second _", "reload:a"), ("class new", "reload:a")]


def reload(module):
    return importlib.reload(module)


def import_anew(module):
    del sys.modules[module.__name__]
    return importlib.import_module(module.__name__)


@pytest.mark.parametrize("again", [reload, import_anew])
def test_each_follows_once_with_its_newest_code(write, seen, again):
    write("handlers_of_test", HANDLERS.format(version="old"))
    module = importlib.import_module("handlers_of_test")
    former = module.queue
    write("handlers_of_test", HANDLERS.format(version="new"))
    module = again(module)
    berrymq.twitter("reload:a")
    assert seen == NEW
    assert former.closed
    assert module.queue.qsize() == 1
    again(module)
    seen.clear()
    berrymq.twitter("reload:a")
    assert seen == NEW


def test_autoreload_of_ipython(write, seen):
    autoreload = pytest.importorskip("IPython.extensions.autoreload")
    write("handlers_of_test", HANDLERS.format(version="old"))
    module = importlib.import_module("handlers_of_test")
    write("handlers_of_test", HANDLERS.format(version="new"))
    autoreload.superreload(module, autoreload.reload, {})
    berrymq.twitter("reload:a")
    assert seen == NEW


def test_what_a_module_has_others_register_is_the_module_s(write, seen):
    write("library_of_test", "import berrymq\ndef setup(): berrymq.follow('reload:*', seen.append)")
    write("handlers_of_test", "import library_of_test\nlibrary_of_test.setup()")
    module = importlib.import_module("handlers_of_test")
    reload(module)
    berrymq.twitter("reload:a")
    assert len(seen) == 1
    reload(sys.modules["library_of_test"])
    berrymq.twitter("reload:b")
    assert len(seen) == 2


def test_what_is_registered_after_the_import_stays(write, seen):
    write("handlers_of_test", "import berrymq\ndef setup(): berrymq.follow('reload:*', seen.append)\n")
    module = importlib.import_module("handlers_of_test")
    module.setup()
    reload(module)
    berrymq.twitter("reload:a")
    assert len(seen) == 1
    berrymq.unfollow("reload:*")


def test_a_module_with_an_error_in_its_syntax_leaves_everything_as_it_was(write, seen):
    write("handlers_of_test", HANDLERS.format(version="old"))
    module = importlib.import_module("handlers_of_test")
    write("handlers_of_test", "def")
    with pytest.raises(SyntaxError):
        reload(module)
    berrymq.twitter("reload:a")
    assert len(seen) == 4


def test_another_file_by_the_same_name_is_another_module(write, seen, tmp_path, monkeypatch):
    write("handlers_of_test", HANDLERS.format(version="one"))
    first = importlib.import_module("handlers_of_test")
    del sys.modules["handlers_of_test"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "handlers_of_test.py").write_text(HANDLERS.format(version="other"))
    monkeypatch.syspath_prepend(tmp_path / "other")
    importlib.invalidate_caches()
    second = importlib.import_module("handlers_of_test")
    berrymq.twitter("reload:a")
    assert [name for name, _ in seen].count("one") == [name for name, _ in seen].count("other") == 1
    for module in (first, second):
        berrymq.unfollow(module.report)
    berrymq.unfollow("reload:*")


def test_closures_and_equal_names_are_different_followers(bus, seen):
    def make(number):
        def handler(message):
            seen.append(number)

        return handler

    for number in range(3):
        bus.follow("a:b", make(number))
    bus.twitter("a:b")
    assert seen == [0, 1, 2]


def test_an_import_in_a_scope_is_the_module_s_and_not_the_scope_s(write, seen):
    write("handlers_of_test", HANDLERS.format(version="new"))
    cell = scopes.Scope("cell")
    with cell.collecting():
        importlib.import_module("handlers_of_test")
        berrymq.follow("reload:*", seen.append)
    assert len(cell) == 1
    cell.close()
    berrymq.twitter("reload:a")
    assert seen == NEW


def test_scripts_and_cells_have_no_scope_of_their_own():
    assert scopes.of_module({"__name__": "__main__", "__spec__": object()}) is None
    assert scopes.of_module({"__name__": "cell", "__spec__": None}) is None
    assert scopes.of_module({"__name__": None, "__spec__": object()}) is None
    code = compile("found = scopes.owner()", "<cell>", "exec")
    namespace = {"scopes": scopes, "__name__": "__main__"}
    exec(code, namespace)
    assert namespace["found"] is None
    module = types.ModuleType("made_of_test")
    assert scopes.of_module(vars(module)) is None
