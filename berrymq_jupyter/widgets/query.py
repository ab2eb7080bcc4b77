r"""The query line of a log: ``train:epoch|run:*  from:worker*  loss<0.3  -daq:*  /regex/  "some text"``.

All terms of a query must hold. `query.ts` reads the same language in the page; ``tests/pages/queries.json``
says what both must make of a query.

The grammar, in which blanks separate terms and ``-`` before a term negates it:

    name:action        identifiers, with ``*`` as in `follow`; ``id:`` before it says so explicitly
    from:NAME          sources, with ``*`` for any text; messages of this process have the source ``here``
    field<0.3          a keyword argument, or ``a.b`` inside of one; also <= > >= = !=
    /regex/            searched in the payload as rows show it, in any case
    text               in identifier, source or payload, in any case
    a|b                alternatives, after each of these but a regular expression
    "…"                takes blanks and the characters above literally; ``\`` before a quote inside of it

A query is tested on each message that arrives, so a test looks at little and in the order of cost; it never
raises, whatever the payload does when it is looked at.

An example:

    >>> [(term.kind, term.negated, term.any) for term in parse('train:*|run:* -from:worker* loss<0.3')]
    [('id', False, ['train:*', 'run:*']), ('from', True, ['worker*']), ('compare', False, ['0.3'])]
"""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from berrymq import Identifier
from berrymq.errors import IdentifierError

from .render import HOSTILE, arguments, cut, shown, summary
from .search import contains
from .series import value_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq import Message

__all__ = ["AnyQuery", "Query", "QueryError", "Term", "parse", "split_any"]

Kind = Literal["id", "from", "compare", "regex", "text"]

WORD: Final = re.compile(r"true|false|none|nan", re.IGNORECASE)
"""What is no text unless it stands in quotation marks, as numbers."""
NUMBER: Final = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf)", re.IGNORECASE)
"""A number as both languages read it: no underscores, no hexadecimal digits."""
COMPARISON: Final = re.compile(r"([^<>=!|:]+)(<=|>=|!=|<|>|=)(.*)", re.DOTALL)
"""A field, an operator and a value; the field holds none of the characters that mean something else."""
QUOTED: Final = "q"
"""The placeholder in the shape of a term for each quoted character."""
SEARCHED: Final = 20_000
"""Characters of a payload's one-line form to which a regular expression is applied."""
CACHED: Final = 10_000
"""The limit of identifiers for which a result is remembered by each test."""
OR: Final = "OR"
"""Stands between queries of which one suffices."""
ORDER: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""The operators that need a number."""


class QueryError(ValueError):
    """A query that cannot be read; `span` says where the mistake is.

    Args:
        text: is shown to the user, with what would confuse the page escaped.
        span: from where to where in the query, in characters.
    """

    def __init__(self, text: str, span: tuple[int, int]) -> None:
        super().__init__(shown(cut(text, 300)))
        self.span = span


class Term(NamedTuple):
    """One term of a query."""

    kind: Kind
    """Which test it needs; see `TESTS`."""
    negated: bool
    any: list[str]
    """Alternatives: patterns, sources, values or texts; of a regular expression its source."""
    span: tuple[int, int]
    """From where to where it stands in the query."""
    path: tuple[str, ...] = ()
    """Of a comparison: the field, and the keys inside of its value."""
    op: str = ""
    """Of a comparison: one of ``< <= > >= = !=``."""
    texts: tuple[bool, ...] = ()
    """Of a comparison, for each value: whether it is text, being a number or a word in quotation marks."""


class Raw(NamedTuple):
    """A term without its quotation marks: its text, and its shape, in which quoted text means nothing."""

    text: str
    shape: str
    quoted: bool
    end: int
    """The place behind it in the query."""


def parse(query: str) -> list[Term]:
    """Return the terms of a query; raise `QueryError`.

    Raises:
        QueryError: it can't be read.
    """
    terms: list[Term] = []
    at = 0
    while at < len(query):
        if query[at].isspace():
            at += 1
            continue
        term = read_term(query, at)
        terms.append(term)
        at = term.span[1]
    return terms


def read_term(query: str, start: int) -> Term:
    """Read the term that begins at `start`.

    A term is what its beginning says (``/``, ``id:``, ``from:``); else a comparison, if it looks like one;
    else an identifier if it has a colon; else text.
    """
    negated = query[start] == "-" and query[start + 1 : start + 2].strip() != ""
    begin = start + negated
    if query[begin] == "/":
        source, end = read_regex(query, begin)
        return Term("regex", negated, [source], (start, end))
    raw = read_raw(query, begin)
    span = (start, raw.end)
    kinds: tuple[tuple[Kind, str, str], ...] = (
        ("id", "id:", "an identifier"),
        ("from", "from:", "a source"),
    )
    for kind, prefix, what in kinds:
        if raw.shape.startswith(prefix):
            if raw.shape == prefix:
                raise QueryError(f"{what} is missing after {prefix}", span)
            return Term(kind, negated, alternatives(raw, len(prefix), span), span)
    compared = COMPARISON.fullmatch(raw.shape)
    if compared is not None:
        return comparison(raw, compared, negated, span)
    is_identifier = ":" in raw.shape or raw.text == "*"
    return Term("id" if is_identifier else "text", negated, alternatives(raw, 0, span), span)


def read_regex(query: str, begin: int) -> tuple[str, int]:
    """Return the regular expression that begins at `begin`, and where it ends.

    A slash ends it only before a blank or at the end, so a path in it needs no escapes.
    """
    at = begin + 1
    while at < len(query):
        if query[at] == "\\":
            at += 1
        elif query[at] == "/" and not query[at + 1 : at + 2].strip():
            if at == begin + 1:
                raise QueryError("there is nothing between the slashes", (begin, at + 1))
            return query[begin + 1 : at].replace("\\/", "/"), at + 1
        at += 1
    raise QueryError(
        f"a regular expression ends with /: {query[begin:]}; text that begins with / goes in quotation marks",
        (begin, len(query)),
    )


def read_raw(query: str, begin: int) -> Raw:
    """Read up to the next white space that is not in quotation marks.

    Inside quotation marks a backslash makes the next character literal.
    """
    text: list[str] = []
    shape: list[str] = []
    inside = quoted = False
    at = opened = begin
    while at < len(query):
        character = query[at]
        if character == '"':
            inside = not inside
            opened, quoted = at, True
            at += 1
            continue
        if not inside and character.isspace():
            break
        if inside and character == "\\" and at + 1 < len(query):
            at += 1
            character = query[at]
        text.append(character)
        shape.append(QUOTED if inside else character)
        at += 1
    if inside:
        raise QueryError(f"a quotation mark is not closed: {query[opened:]}", (opened, len(query)))
    return Raw("".join(text), "".join(shape), quoted, at)


def alternatives(raw: Raw, start: int, span: tuple[int, int]) -> list[str]:
    """Return what stands between bars that are not quoted.

    Args:
        raw: the term.
        start: where the alternatives begin in it.
        span: for the error.
    """
    parts = pieces(raw, start, len(raw.text), "|")
    if len(parts) > 1 and "" in parts:
        raise QueryError(f"something is missing beside | in {raw.text}", span)
    return parts


def pieces(raw: Raw, start: int, end: int, separator: str, of: str | None = None) -> list[str]:
    """Return the parts of a term from `start` on, before `end`, between separators that are not quoted.

    They are parts of its text, or of `of`, which is as long.
    """
    text = raw.text if of is None else of
    parts: list[str] = []
    for at in range(start, end + 1):
        if at == end or raw.shape[at] == separator:
            parts.append(text[start:at])
            start = at + 1
    return parts


def comparison(raw: Raw, compared: re.Match[str], negated: bool, span: tuple[int, int]) -> Term:
    """Read a comparison of a field with values.

    Args:
        raw: the term.
        compared: the match of `COMPARISON` with its shape.
        negated: whether it begins with ``-``.
        span: where it stands in the query.
    """
    length, op = len(compared[1]), compared[2]
    path = pieces(raw, 0, length, ".")
    field = raw.text[:length]
    if "" in path:
        raise QueryError(f"a name is missing in {field}", span)
    start = length + len(op)
    if start == len(raw.text) and not raw.quoted:
        raise QueryError(f"a value is missing after {field}{op}", span)
    values = alternatives(raw, start, span)
    if op in ORDER:
        if len(values) > 1:
            raise QueryError(f"after {op} stands one number", span)
        if not NUMBER.fullmatch(values[0]):
            raise QueryError(f"after {op} stands a number, not {values[0]}", span)
    shapes = pieces(raw, start, len(raw.text), "|", raw.shape)
    texts = tuple(
        shape != value and (NUMBER.fullmatch(value) or WORD.fullmatch(value)) is not None
        for value, shape in zip(values, shapes, strict=True)
    )
    return Term("compare", negated, values, span, tuple(path), op, texts)


class Query:
    """A query that messages pass or not: call it with one.

    An empty one is false, and all messages pass it.

    Raises:
        QueryError: `text` is no query.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.terms = parse(text)
        self.partly = 0
        """Payloads that were too large to be searched as a whole."""
        self.tests = [
            (test_of(term), term.negated) for term in sorted(self.terms, key=lambda term: COST[term.kind])
        ]
        """With whether each is negated, the cheapest first."""

    def __bool__(self) -> bool:
        return bool(self.tests)

    def __call__(self, message: Message) -> bool:
        """Return whether all terms hold.

        A large payload in whose first part nothing was found counts as one without it, and is counted in
        `partly`.
        """
        for test, negated in self.tests:
            found = test(message)
            if found is None:
                self.partly += 1
            if bool(found) is negated:
                return False
        return True


class AnyQuery:
    """Queries of which one suffices, as alerts have them: ``loss>1 OR *:error``. Else as `Query`.

    Raises:
        QueryError: one of them can't be read, or is empty.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.queries = list(map(Query, split_any(text)))

    @property
    def partly(self) -> int:
        """Payloads that were too large to be searched as a whole."""
        return sum([query.partly for query in self.queries])

    def __bool__(self) -> bool:
        return any(self.queries)

    def __call__(self, message: Message) -> bool:
        """Return whether one of them holds."""
        return any(query(message) for query in self.queries)


def split_any(text: str) -> list[str]:
    """Return the queries between the words ``OR`` of a text; in quotation marks it is none.

    Raises:
        QueryError: the text can't be read, or there is nothing beside an ``OR``.
    """
    parts, start = [], 0
    for term in parse(text):
        if text[slice(*term.span)] == OR:
            parts.append(text[start : term.span[0]])
            start = term.span[1]
    parts.append(text[start:])
    if len(parts) > 1 and not all(map(str.strip, parts)):
        raise QueryError(f"a query is missing beside {OR}", (0, len(text)))
    return parts


def test_of(term: Term) -> Callable[[Message], bool | None]:
    """Return the test of one term, negated or not: None from it says that not all was looked at."""
    return TESTS[term.kind](term)


def id_test(term: Term) -> Callable[[Message], bool]:
    """Return whether the identifier matches one of the patterns, worked out once for each identifier.

    Raises:
        QueryError: a pattern is no identifier.
    """
    try:
        patterns = [Identifier.parse(pattern) for pattern in term.any]
    except IdentifierError as error:
        raise QueryError(str(error), term.span) from None
    if "*" in term.any:
        return lambda _: True
    known: dict[str, bool] = {}

    def test(message: Message) -> bool:
        name = message.id
        matches = known.get(name)
        if matches is None:
            if len(known) > CACHED:
                known.clear()
            identifier = message.identifier
            matches = known[name] = any(pattern.matches(identifier) for pattern in patterns)
        return matches

    return test


def from_test(term: Term) -> Callable[[Message], bool]:
    """Return whether the source is one of these, in which ``*`` stands for any text."""
    matcher = re.compile("|".join(glob(pattern) for pattern in term.any), re.IGNORECASE | re.DOTALL)
    return lambda message: matcher.fullmatch(message.source or "here") is not None


def glob(pattern: str) -> str:
    """Return the regular expression of a text in which ``*`` stands for any text."""
    return ".*".join(map(re.escape, pattern.split("*")))


def compare_test(term: Term) -> Callable[[Message], bool]:
    """Return whether there is such a field, and its value compares so.

    Numbers of numpy and tensors of one item compare as numbers. A field that is missing passes with no
    operator; one of another type passes with ``!=`` alone.
    """
    path, op, values = term.path, term.op, term.any
    if op in ORDER:
        order, limit = ORDER[op], float(values[0])

        def ordered(message: Message) -> bool:
            try:
                value = plain(value_at(message, path))
                return isinstance(value, (int, float)) and not isinstance(value, bool) and order(value, limit)
            except HOSTILE:
                return False

        return ordered
    equals = [equal_to(value, text) for value, text in zip(values, term.texts, strict=True)]
    wanted = op == "="

    def equal(message: Message) -> bool:
        try:
            value = plain(value_at(message, path))
            return any(same(value) for same in equals) is wanted
        except HOSTILE:
            return False

    return equal


def plain(value: Any) -> Any:
    """Return the number in an array of one; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def equal_to(text: str, only_text: bool) -> Callable[[Any], bool]:
    """Return a test whether a value is what `text` says, or that very text.

    A number equals numbers; a text equals texts in any case; anything else is compared by its one-line form.
    """
    number = float(text) if NUMBER.fullmatch(text) else None
    folded = text.casefold()

    def same(value: Any) -> bool:
        if isinstance(value, str):
            return value.casefold() == folded
        if only_text:
            return False
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value == number if number is not None else str(value).casefold() == folded
        return summary(value).casefold() == folded

    return same


def regex_test(term: Term) -> Callable[[Message], bool | None]:
    """Return whether a regular expression is found in the payload as rows show it, or in one of its texts.

    Raises:
        QueryError: it is no regular expression.
    """
    try:
        expression = re.compile(term.any[0], re.IGNORECASE)
    except re.error as error:
        raise QueryError(f"/{term.any[0]}/ is no regular expression: {error}", term.span) from None

    def test(message: Message) -> bool | None:
        texts = [value for value in [*message.args, *message.kwargs.values()] if type(value) is str]
        if any(expression.search(text[:SEARCHED]) for text in texts):
            return True
        line = arguments(message.args, message.kwargs, SEARCHED)
        if expression.search(line):
            return True
        return None if "…" in line or any(len(text) > SEARCHED for text in texts) else False

    return test


def text_test(term: Term) -> Callable[[Message], bool | None]:
    """Return whether identifier, source or payload contain one of the texts, in any case."""
    needles = [text.casefold() for text in term.any]

    heads: dict[tuple[str, str | None], bool] = {}

    def test(message: Message) -> bool | None:
        key = (message.id, message.source)
        in_head = heads.get(key)
        if in_head is None:
            if len(heads) > CACHED:
                heads.clear()
            head = f"{message.id}\n{message.source or 'here'}".casefold()
            in_head = heads[key] = any(needle in head for needle in needles)
        if in_head:
            return True
        found: bool | None = False
        for needle in needles:
            inside = contains(message, needle)
            if inside:
                return True
            found = None if inside is None else found
        return found

    return test


COST: Final[dict[str, int]] = {"id": 0, "from": 1, "compare": 2, "text": 3, "regex": 4}
"""The relative cost of each test; cheap ones run first."""
TESTS: Final[dict[str, Callable[[Term], Callable[[Message], bool | None]]]] = {
    "id": id_test,
    "from": from_test,
    "compare": compare_test,
    "regex": regex_test,
    "text": text_test,
}
