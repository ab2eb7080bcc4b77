"""Log records as messages, and messages as log records.

The two may be used together: a record that `LogReceiver` has written is not sent again by `LogSender`, which
knows it by its attribute ``berrymq_message``.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from berrymq.errors import IdentifierError
from berrymq.identifiers import Identifier

from .base import Adapter

if TYPE_CHECKING:
    from berrymq.bus import Bus
    from berrymq.conditions import Condition
    from berrymq.messages import Message

__all__ = ["LogReceiver", "LogSender"]

OWN = "berrymq"
"""The logger of followers' failures. These are not sent: a failing follower of the log would never end."""


class LogSender(Adapter, logging.Handler):
    """A `logging.Handler` that sends each record as ``NAME:level``: ``log:info``, ``log:warning``, ...

    ``message.args[0]`` is the text; ``logger``, ``level`` (the number), ``where`` (``file:line``) and, for an
    exception, ``traceback`` are keywords. It puts itself on `logger`. What followers log while they get a
    record is not sent again. The followers run in the thread that logs.

    Args:
        logger: a logger or its name; None for the root logger.
        name: the name of the messages.
        level: the lowest level that is sent, as a number or name.
        bus: where they are sent; None for the default bus.
    """

    def __init__(
        self,
        logger: logging.Logger | str | None = None,
        name: str = "log",
        *,
        level: int | str = logging.NOTSET,
        bus: Bus | None = None,
    ) -> None:
        logging.Handler.__init__(self, level)
        Adapter.__init__(self, name, bus)
        self._logger = logger if isinstance(logger, logging.Logger) else logging.getLogger(logger)
        self._sending = threading.local()
        self._logger.addHandler(self)

    def handle(self, record: logging.LogRecord) -> bool:
        """Send one record, without the lock that other handlers hold: followers run here.

        With the lock, a follower that waits for another thread that logs would never return.

        Returns:
            Whether the filters have let the record pass.
        """
        found: Any = self.filter(record)  # since Python 3.12 it may be another record
        if isinstance(found, logging.LogRecord):
            record = found
        if found:
            self.emit(record)
        return bool(found)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record.

        Not sent are records of the logger ``berrymq``, those of a `LogReceiver`, and what followers of this
        handler log in the same thread. An error is handled as `logging` does: printed, not raised.
        """
        if record.name == OWN or hasattr(record, "berrymq_message") or getattr(self._sending, "now", False):
            return
        self._sending.now = True
        try:
            details = {
                "logger": record.name,
                "level": record.levelno,
                "where": f"{record.pathname}:{record.lineno}",
            }
            if record.exc_info:
                details["traceback"] = logging.Formatter().formatException(record.exc_info)
            self.send(action_of(record.levelname), record.getMessage(), **details)
        except Exception:  # noqa: BLE001  # as every handler does: a record that can't be formatted, for one
            self.handleError(record)
        finally:
            self._sending.now = False

    def stop(self) -> None:
        """Send no more records."""
        self._logger.removeHandler(self)

    def close(self) -> None:
        """Stop; `logging` calls this at exit."""
        self.stop()
        logging.Handler.close(self)


class LogReceiver(Adapter):
    """Logs each message that `identifier` matches, as ``test:run(1, x=2)``, and where it came from.

    Args:
        identifier: what is logged, or a joint condition.
        logger: a logger or its name.
        level: that of the records.
        bus: where it follows; None for the default bus.

    Attributes:
        level: that of the records; may be changed.
    """

    def __init__(
        self,
        identifier: str | Identifier | Condition = "*:*",
        logger: logging.Logger | str = "berrymq.messages",
        *,
        level: int = logging.INFO,
        bus: Bus | None = None,
    ) -> None:
        super().__init__("log", bus)
        self.level = level
        self._logger = logger if isinstance(logger, logging.Logger) else logging.getLogger(logger)
        self._handle = self.bus.follow(identifier, self.receive)

    def receive(self, message: Message) -> None:
        """Log one message. The record has it as ``record.berrymq_message``."""
        if self._logger.isEnabledFor(self.level):
            payload = [repr(one) for one in message.args]
            payload += [f"{key}={value!r}" for key, value in message.kwargs.items()]
            source = "" if message.source is None else f" from {message.source}"
            extra = {"berrymq_message": message}
            self._logger.log(self.level, "%s(%s)%s", message.id, ", ".join(payload), source, extra=extra)

    def stop(self) -> None:
        """Log no more messages."""
        self._handle.cancel()


def action_of(level: str) -> str:
    """Return the action for the name of a level; ``other`` when the name can't be one."""
    try:
        return Identifier("log", level.strip().lower()).action
    except IdentifierError:
        return "other"
