"""The driver of the Python client: commands as JSON lines on stdin, events as JSON lines on stdout.

It is the model of the drivers of the other languages; `README.md` describes the protocol. It uses the public
names of `berrymq` alone.
"""

import base64
import json
import sys
import threading
import time
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from uuid import UUID

import berrymq

LEVEL = 3

_writing = threading.Lock()


def put(event):
    """Print one event."""
    line = json.dumps(event, ensure_ascii=False, allow_nan=False)
    with _writing:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


# -- values ---------------------------------------------------------------------------------------------
# In commands and events they are as on the wire. A client in another language may have these two functions.


def tagged(kind, value):
    return {"$type": kind, "value": value}


def untagged_dict(value):
    return {key: read(item) for key, item in value.items()}


READERS = {
    "tuple": lambda value: tuple(map(read, value)),
    "set": lambda value: set(map(read, value)),
    "frozenset": lambda value: frozenset(map(read, value)),
    "dict": lambda value: {read(key): read(item) for key, item in value},
    "float": float,
    "complex": lambda value: complex(*map(read, value)),
    "Decimal": Decimal,
    "UUID": UUID,
    "bytes": lambda value: base64.b64decode(value["value"]),
    "buffer": base64.b64decode,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time_of_day.fromisoformat,
    "timedelta": lambda value: timedelta(*value),
}


def read(value):
    """Return the Python value of a JSON value in which types may be tagged."""
    if isinstance(value, list):
        return list(map(read, value))
    if not isinstance(value, dict):
        return value
    reader = READERS.get(value.get("$type")) if value.keys() == {"$type", "value"} else None
    return untagged_dict(value) if reader is None else reader(value["value"])


WRITERS = {
    tuple: lambda value: tagged("tuple", list(map(write, value))),
    set: lambda value: tagged("set", sorted(map(write, value), key=repr)),
    frozenset: lambda value: tagged("frozenset", sorted(map(write, value), key=repr)),
    complex: lambda value: tagged("complex", [write(value.real), write(value.imag)]),
    Decimal: lambda value: tagged("Decimal", str(value)),
    UUID: lambda value: tagged("UUID", str(value)),
    bytes: lambda value: tagged("bytes", tagged("buffer", base64.b64encode(value).decode())),
    datetime: lambda value: tagged("datetime", value.isoformat()),
    date: lambda value: tagged("date", value.isoformat()),
    time_of_day: lambda value: tagged("time", value.isoformat()),
    timedelta: lambda value: tagged("timedelta", [value.days, value.seconds, value.microseconds]),
    berrymq.Opaque: lambda value: tagged("Opaque", [value.type, value.text]),
    list: lambda value: list(map(write, value)),
}


def write(value):
    """Return a JSON value of a Python value."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124
        return tagged("float", repr(value))
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and "$type" not in value:
            return {key: write(item) for key, item in value.items()}
        if value.keys() == {
            "$type",
            "value",
        }:  # of a type that this side does not know: it is passed unchanged
            return value
        return tagged("dict", [[write(key), write(item)] for key, item in value.items()])
    writer = WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return tagged("Opaque", [type(value).__name__, repr(value)])


def described(message):
    """Return a message as it is printed; None for none."""
    if message is None:
        return None
    return {
        "identifier": message.id,
        "args": [write(value) for value in message.args],
        "kwargs": {key: write(value) for key, value in message.kwargs.items()},
        "source": message.source,
        "past": bool(getattr(message, "past", False)),
    }


def deliver(message):
    """Print a message that was followed."""
    put({"message": described(message)})


def fail(message):
    """Fail to answer."""
    raise ValueError("the follower was told to fail")


ANSWERS = {"sum": lambda message: sum(message.args), "echo": lambda message: list(message.args), "fail": fail}


# -- commands -------------------------------------------------------------------------------------------


class Driver:
    """What was made so far, and the commands that make it."""

    def __init__(self):
        self.link = None
        self.subscriptions = {}
        self.queues = []

    def do_link(self, url=None, token=None, name=None, room=None, ttl=1000):
        self.link = berrymq.link(url, access_token=token, name=name, room=room, ttl=ttl, timeout=10)
        threading.Thread(target=self.report_state, args=(self.link,), daemon=True).start()
        return {"id": self.link.node.id}

    @staticmethod
    def report_state(link):
        """Print each change of the state of a link; Python's has no callback for it."""
        shown = None
        while shown != "closed":
            state = {"connecting": "reconnecting"}.get(link.state, link.state)
            if state != shown:
                shown = state
                put({"state": state})
            time.sleep(0.01)

    def do_follow(self, identifier, past=False):
        subscription = berrymq.follow(identifier, deliver, past=past)
        self.subscriptions.setdefault(identifier, []).append(subscription)

    def do_unfollow(self, identifier):
        for subscription in self.subscriptions.pop(identifier, ()):
            subscription.cancel()

    def do_twitter(self, identifier, args=(), kwargs=None, count=None):
        args, kwargs = [read(value) for value in args], untagged_dict(kwargs or {})
        if count is None:
            berrymq.twitter(identifier, *args, **kwargs)
        else:
            for number in range(count):
                berrymq.twitter(identifier, number, *args, **kwargs)

    def do_answer(self, identifier, **how):
        subscription = berrymq.follow(identifier, ANSWERS[how["with"]])
        self.subscriptions.setdefault(identifier, []).append(subscription)

    def do_ask(self, identifier, args=(), kwargs=None, timeout=10):
        args, kwargs = [read(value) for value in args], untagged_dict(kwargs or {})
        return [write(value) for value in berrymq.ask(identifier, *args, timeout=timeout, **kwargs)]

    def do_talk(self, identifier, callback, args=()):
        berrymq.talk(identifier, callback, *[read(value) for value in args])

    def do_queue(self, identifier, shared=False, past=False):
        self.queues.append(berrymq.Queue(identifier, shared, past=past))
        return len(self.queues)

    def do_get(self, queue, timeout=0):
        try:
            return described(self.queues[queue - 1].get(timeout=timeout))
        except berrymq.Empty:
            return None

    def do_close_queue(self, queue):
        self.queues[queue - 1].close()

    def do_keep(self, identifier, last=1000):
        berrymq.keep(identifier, last=last)

    def do_latest(self, identifier):
        return described(berrymq.latest(identifier))

    def do_past(self, identifier, last=1000):
        """Return what is retained: follow it with its past, until as much has come as the hub lists."""
        kept = [one for one in berrymq.keep().identifiers if berrymq.Identifier(one.id).matches(identifier)]
        wanted = min(last, sum([one.count for one in kept]))
        found, complete = [], threading.Event()

        def collect(message):
            found.append(message)
            if len(found) >= wanted:
                complete.set()

        if wanted:
            with berrymq.follow(identifier, collect, past=last):
                complete.wait(10)
        return [described(message) for message in found]

    def do_take(self, name):
        value = berrymq.take(name)
        if hasattr(value, "dtype") and hasattr(value, "flatten"):
            return {"dtype": value.dtype.str, "shape": list(value.shape), "values": value.flatten().tolist()}
        if hasattr(value, "columns"):
            return {"columns": {name: value[name].tolist() for name in value.columns}}
        return write(value)

    def do_flush(self, timeout=None):
        return berrymq.flush(timeout)

    def do_stats(self):
        stats = self.link.stats()
        return {name: getattr(stats, name) for name in stats.__slots__}

    def do_close(self):
        """End all that was made; a further ``link`` begins again."""
        for identifier in list(self.subscriptions):
            self.do_unfollow(identifier)
        for queue in self.queues:
            queue.close()
        self.queues.clear()
        if self.link is not None:
            self.link.close()
            self.link = None

    def do(self, command):
        """Do what one line says, and answer it."""
        name, number = command.pop("do"), command.pop("n")
        function = getattr(self, f"do_{name}", None)
        if function is None:
            put({"n": number, "error": {"kind": "unsupported", "message": f"no command {name!r}"}})
            return
        try:
            put({"n": number, "ok": function(**command)})
        except Exception as error:  # noqa: BLE001 - whatever it is, the other side is to see it
            put({"n": number, "error": {"kind": kind_of(error), "message": str(error)}})


def kind_of(error):
    """Return the kind of an error, one word for all languages."""
    text = str(error)
    if isinstance(error, berrymq.IdentifierError):
        return "identifier"
    if isinstance(error, TimeoutError):
        return "timeout"
    if "read it" in text or "write it" in text or "chmod" in text or "private" in text:
        return "permissions"
    if isinstance(error, berrymq.LinkError):
        if "access token" in text or " refused: " in text:
            return "refused"
        if "closed" in text or "no link" in text:
            return "closed"
        return "no_hub"
    return "answer" if type(error).__name__ in {"RemoteError", "ValueError", "ExceptionGroup"} else "protocol"


def main():
    """Do what stdin says, until it ends."""
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    driver = Driver()
    for line in sys.stdin:
        if line.strip():
            driver.do(json.loads(line))
    driver.do_close()


if __name__ == "__main__":
    main()
