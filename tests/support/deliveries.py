"""Followers and messages for tests of what delivers in other threads."""

import threading

from berrymq import Identifier, Message, Subscription
from berrymq.targets import make_target

__all__ = ["Busy", "Gate", "follower", "message"]


def follower(function, **options):
    """An active subscription of ``a:b`` on no bus."""
    made = Subscription((Identifier.parse("a:b"),), make_target(function), **options)
    made._start(lambda subscriber: None)
    return made


def message(number=0):
    """A message of ``a:b`` with a number."""
    return Message.make("a:b", (number,))


class Gate:
    """A follower that releases `entered` when it is called, and returns when `go` is released."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.seen = []

    def __call__(self, message):
        self.entered.release()
        assert self.go.acquire(timeout=10)
        self.seen.append(message.args[0])


class Busy:
    """A follower that notes when it runs twice at once."""

    def __init__(self):
        self.entered = threading.Event()
        self.go = threading.Event()
        self.seen = []
        self.overlaps = 0
        self.running = 0

    def __call__(self, message):
        self.running += 1
        self.overlaps += self.running > 1
        self.entered.set()
        self.go.wait(10)
        self.seen.append(message.args[0])
        self.running -= 1
        return message.args[0]
