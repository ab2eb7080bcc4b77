"""The answer to a question that takes time.

Imported by the first question that has to wait: `concurrent.futures` loads much.
"""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

__all__ = ["Answer"]


class Answer(Future[Any]):
    """The answer of one follower. It is called with the result and the error, as a message's callback is."""

    def __call__(self, result: Any, error: BaseException | None) -> None:
        """Be answered. When the asker has given up, this does nothing."""
        with suppress(InvalidStateError):
            if error is None:
                self.set_result(result)
            else:
                self.set_exception(error)
