"""What is said of a value that can't cross, and of where it stands in a message."""

from __future__ import annotations

__all__ = ["ApartError", "TooDeepError", "UnsendableError", "advice", "place"]

LONGEST_PLACE = 12
"""Steps into an argument that an error names one by one."""
LONGEST_STEP = 80
"""Characters of one of them."""


class UnsendableError(Exception):
    """A value can't cross.

    Attributes:
        reason: what is wrong with it, and what to send instead.
        path: the way to it, from the inside out.
        is_key: it is the key of a dictionary.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []
        self.is_key = False


class TooDeepError(UnsendableError):
    """A value nests deeper than is written, or contains itself."""


class ApartError(UnsendableError):
    """A value has a buffer that is to go beside the message, and there is no place for it."""


def advice(cls: type) -> str:
    """What to do with a value of a type that has no form on the wire."""
    name = cls.__name__
    return (
        f"no JSON form is known of {name}; send its plain values, "
        f"or call register_type({name}, encode, decode)"
    )


def place(path: list[str]) -> str:
    """Where a value stands inside of an argument; the middle of a long way is left out."""
    steps = path if len(path) <= LONGEST_PLACE else [*path[:4], "[…]", *path[-2:]]
    return "".join(step if len(step) <= LONGEST_STEP else f"{step[: LONGEST_STEP - 2]}…]" for step in steps)
