"""A query as a cell: ``%%follow`` with a condition in Python, to be edited in a notebook.

    >>> print(follow_cell('*:*', 'train:epoch loss>1'))
    %%follow train:epoch
    if ('loss' in message.kwargs and message.kwargs['loss'] > 1):
        print(message)

The cell is meant to be read and changed, so it calls nothing of berryMQ's own; text and regular expressions
are searched for in the ``repr`` of the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .query import NUMBER, parse, split_any

if TYPE_CHECKING:
    from .query import Term

__all__ = ["follow_cell"]


def follow_cell(follows: str, query: str) -> str:
    """Return a cell that runs its body for each message that passes a query; raise `QueryError`.

    Args:
        follows: the pattern of the log.
        query: "" for all messages; also several of which one suffices, see `AnyQuery`.
    """
    several = [parse(part) for part in split_any(query)]
    patterns = [term for terms in several for term in terms if term.kind == "id" and not term.negated]
    # A single pattern is followed itself, unless the log follows less than all.
    is_single = len(several) == len(patterns) == 1 and len(patterns[0].any) == 1
    own = patterns[0] if follows == "*:*" and is_single else None
    conditions = [condition(term) for term in several[0] if term is not own]
    if len(several) > 1:
        conditions = [" or ".join(" and ".join(map(condition, terms)) for terms in several)]
    pattern = follows if own is None else own.any[0]
    lines = [f'%%follow "{pattern}"' if " " in pattern else f"%%follow {pattern}"]
    if any("fnmatchcase(" in text for text in conditions):
        lines.append("from fnmatch import fnmatchcase")
    if any("search(" in text for text in conditions):
        lines.append("from re import IGNORECASE, search")
    if conditions:
        return "\n".join([*lines, f"if {' and '.join(conditions)}:", "    print(message)"])
    return "\n".join([*lines, "print(message)"])


def condition(term: Term) -> str:
    """Return a term in Python; ``not`` binds less than what an alternative consists of."""
    some = [alternative(term, index) for index in range(len(term.any))]
    whole = f"({' or '.join(some)})" if len(some) > 1 else some[0]
    return f"not {whole}" if term.negated else whole


def alternative(term: Term, index: int) -> str:
    """Return one of the alternatives of a term in Python."""
    one = term.any[index]
    if term.kind == "id":
        return f"fnmatchcase(message.id, {one!r})"
    if term.kind == "from":
        return (
            "message.source is None" if one == "here" else f"fnmatchcase(message.source or 'here', {one!r})"
        )
    if term.kind == "regex":
        return f"search({one!r}, repr(message), IGNORECASE)"
    if term.kind == "text":
        return f"{one.lower()!r} in repr(message).lower()"
    first, *rest = term.path
    if first.isdecimal():
        there, value = f"len(message.args) > {int(first)}", f"message.args[{int(first)}]"
    else:
        there, value = f"{first!r} in message.kwargs", f"message.kwargs[{first!r}]"
    value += "".join(f"[{int(label) if label.isdecimal() else repr(label)}]" for label in rest)
    is_text = index < len(term.texts) and term.texts[index]
    if is_text or not NUMBER.fullmatch(one):
        written = repr(one)
    elif "inf" in one.lower():
        written = f"float({one!r})"
    else:
        written = repr(float(one)).removesuffix(".0")
    return f"({there} and {value} {'==' if term.op == '=' else term.op} {written})"
