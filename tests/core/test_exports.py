"""What `berrymq` hands on, and what importing it costs."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import berrymq

HISTORICAL = [
    "following",
    "following_function",
    "auto_twitter",
    "twitter_exception",
    "cond",
    "Follower",
    "twitter",
    "talk",
    "Message",
    "Identifier",
    "Queue",
    "Empty",
    "set_multiplicity",
    "regist_method",
    "regist_function",
    "show_followers",
    "show_network",
    "init_connection",
    "interconnect",
    "connect_oneway",
    "connect_via_queue",
    "send_message",
    "get",
    "get_nowait",
    "close_connection",
]
ADDED = [
    "Bus",
    "follow",
    "unfollow",
    "register_method",
    "register_function",
    "once",
    "ask",
    "aask",
    "expect",
    "link",
    "flush",
    "drain",
    "keep",
    "latest",
    "alatest",
    "Link",
    "register_type",
    "IdentifierError",
    "RegistrationError",
    "LoopError",
    "QueueClosed",
    "AskTimeout",
    "BerryMQError",
    "LinkError",
    "PayloadError",
]

CORE = [
    info.name for info in pkgutil.iter_modules(berrymq.__path__) if not info.ispkg and info.name != "__main__"
]


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50
    )
    return done.stdout.split()


LAZY = [
    (module.lstrip("."), name)
    for module, names in berrymq._LAZY.items()
    if module.startswith(".")
    for name in names
]


def test_the_names_of_the_design_are_there():
    assert set(HISTORICAL + ADDED) <= set(berrymq.__all__)


def test_all_is_sorted_and_without_doubles():
    assert sorted(set(berrymq.__all__)) == berrymq.__all__


@pytest.mark.parametrize("name", berrymq.__all__)
def test_every_name_is_found(name):
    assert getattr(berrymq, name) is not None
    assert name in dir(berrymq)


@pytest.mark.parametrize(("module", "name"), LAZY)
def test_lazy_names_are_those_of_their_module(module, name):
    assert getattr(berrymq, name) is getattr(importlib.import_module(f"berrymq.{module}"), name)
    assert name in berrymq.__all__


def test_lazy_names_have_their_types():
    (block,) = (
        node
        for node in ast.parse(Path(berrymq.__file__).read_text("utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    typed = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert typed == set(LAZY)


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="module 'berrymq' has no attribute 'nonsense'"):
        _ = berrymq.nonsense


@pytest.mark.parametrize("name", CORE)
def test_what_a_module_offers_is_there(name):
    module = importlib.import_module(f"berrymq.{name}")
    for offered in getattr(module, "__all__", ()):
        assert hasattr(module, offered)
    assert module.__doc__


def test_no_module_has_a_public_name():
    # `berrymq.link` must be the function, whatever was imported before.
    assert not set(CORE) & set(berrymq.__all__)


def test_importing_is_light():
    heavy = {
        "asyncio",
        "tornado",
        "msgspec",
        "inspect",
        "logging",
        "socket",
        "ssl",
        "dataclasses",
        "berrymq.bridge",
    }
    loaded = run("import sys, berrymq; print(*sys.modules)")
    assert not heavy & set(loaded)


def test_importing_starts_no_thread():
    assert run("import threading, berrymq; print(threading.active_count())") == ["1"]


def test_using_it_starts_no_thread_and_loads_no_loop():
    program = """
import sys, threading, berrymq
berrymq.follow("a:b", lambda message: None)
queue = berrymq.Queue("a:b")
berrymq.twitter("a:b")
queue.get()
assert not {"asyncio", "logging", "socket"} & set(sys.modules)
print(threading.active_count())
"""
    assert run(program) == ["1"]


def test_the_core_imports_nothing_of_the_layers_above_and_nothing_foreign():
    allowed = set(sys.stdlib_module_names)
    for name in CORE:
        tree = ast.parse((Path(berrymq.__file__).parent / f"{name}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module.partition(".")[0] in allowed
            elif isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("bridge")
