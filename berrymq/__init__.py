"""berryMQ: a small in-memory message bus for interactive Python.

::

    from berrymq import following_function, twitter

    @following_function("train:*")
    def report(message):
        print(message.action, message.loss)

    twitter("train:epoch", 3, loss=0.12)

Names that not every program needs, and all of links between processes, are imported when they are first used.
"""

from __future__ import annotations

from . import interrupts as interrupts  # first: it handles Ctrl-C while the command line is imported

# isort: split
from typing import TYPE_CHECKING, Any

from .bus import Bus
from .conditions import Condition, cond
from .default import (
    aask,
    ask,
    auto_twitter,
    default_bus,
    drain,
    expect,
    follow,
    following_function,
    mute,
    observe,
    once,
    regist_function,
    regist_method,
    register_function,
    register_method,
    set_multiplicity,
    show_followers,
    show_network,
    talk,
    twitter,
    twitter_exception,
    unfollow,
)
from .errors import AskTimeout, BerryMQError, IdentifierError, LoopError, QueueClosed, RegistrationError
from .identifiers import Identifier
from .messages import JointMessage, Message
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .bridge import (
        Link,
        LinkError,
        NodeInfo,
        NotSharedError,
        Opaque,
        PayloadError,
        ShareInfo,
        alatest,
        close_connection,
        connect_oneway,
        connect_via_queue,
        flush,
        get,
        get_nowait,
        init_connection,
        interconnect,
        keep,
        latest,
        link,
        links,
        register_type,
        send_message,
        share,
        shares,
        take,
        unshare,
    )
    from .metaclass import Follower, following
    from .queues import Empty, Queue

__version__ = "0.4.0"

__all__ = [
    "AskTimeout",
    "BerryMQError",
    "Bus",
    "Condition",
    "Empty",
    "Follower",
    "Identifier",
    "IdentifierError",
    "JointMessage",
    "Link",
    "LinkError",
    "LoopError",
    "Message",
    "NodeInfo",
    "NotSharedError",
    "Opaque",
    "PayloadError",
    "Queue",
    "QueueClosed",
    "RegistrationError",
    "ShareInfo",
    "Subscription",
    "aask",
    "alatest",
    "ask",
    "auto_twitter",
    "close_connection",
    "cond",
    "connect_oneway",
    "connect_via_queue",
    "default_bus",
    "drain",
    "expect",
    "flush",
    "follow",
    "following",
    "following_function",
    "get",
    "get_nowait",
    "init_connection",
    "interconnect",
    "keep",
    "latest",
    "link",
    "links",
    "mute",
    "observe",
    "once",
    "regist_function",
    "regist_method",
    "register_function",
    "register_method",
    "register_type",
    "send_message",
    "set_multiplicity",
    "share",
    "shares",
    "show_followers",
    "show_network",
    "take",
    "talk",
    "twitter",
    "twitter_exception",
    "unfollow",
    "unshare",
]

_LAZY = {
    ".bridge": (
        "Link",
        "LinkError",
        "NodeInfo",
        "Opaque",
        "NotSharedError",
        "PayloadError",
        "ShareInfo",
        "alatest",
        "close_connection",
        "connect_oneway",
        "connect_via_queue",
        "flush",
        "get",
        "get_nowait",
        "init_connection",
        "interconnect",
        "keep",
        "latest",
        "link",
        "links",
        "register_type",
        "send_message",
        "share",
        "shares",
        "take",
        "unshare",
    ),
    ".metaclass": ("Follower", "following"),
    ".queues": ("Empty", "Queue"),
    # What IPython looks for at `%load_ext berrymq`, which does what `%load_ext berrymq_jupyter` does.
    "berrymq_jupyter": ("load_ipython_extension", "unload_ipython_extension"),
}
"""The names that are imported when they are first used, by the module that has them."""

_MODULES = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(module, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
