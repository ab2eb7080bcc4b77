from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from berrymq_jupyter.arguments import (
    evaluate_arguments,
    evaluate_expression,
    namespace_of,
    split_identifier,
)

EXAMPLE = "%twitter test:run 1"
NAMES = {"xs": [1, 2], "options": {"a": 1}, "text": "hello", "f": len}


def evaluated(text):
    return evaluate_arguments(text, dict(NAMES))


def complaint(function, *args):
    with pytest.raises(UsageError) as caught:
        function(*args)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("text", "args", "kwargs"),
    [
        ("", (), {}),
        ("   ", (), {}),
        ("1, x=2", (1,), {"x": 2}),
        ("*xs, 3, *xs", (1, 2, 3, 1, 2), {}),
        ("**options, b=2", (), {"a": 1, "b": 2}),
        ("text, text.upper(), x=[i for i in xs]", ("hello", "HELLO"), {"x": [1, 2]}),
        ("{'a': {1}}, (1,), f(xs)", ({"a": {1}}, (1,), 2), {}),
        ("'a, b', \"x=1\"", ("a, b", "x=1"), {}),
        ("1,", (1,), {}),
        ("1  # a comment", (1,), {}),
        ("'{text} $text'", ("{text} $text",), {}),
        ("f=3", (), {"f": 3}),
        ("sum(x for x in xs), -1, --1", (3, -1, 1), {}),
    ],
)
def test_argument_lists_are_those_of_a_call(text, args, kwargs):
    assert evaluated(text) == (args, kwargs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nobody", "nobody does not evaluate: NameError: name 'nobody' is not defined (text needs quotes)"),
        ("1, 1/0", "1/0 does not evaluate: ZeroDivisionError: division by zero"),
        ("x=text.missing", "text.missing does not evaluate: AttributeError: "),
        ("*1", "*1 does not evaluate: TypeError: "),
        ("**1", "after ** a mapping is expected, not int"),
        ("**{1: 2}", "after ** each key must be a string, not 1"),
        ("a=1, a=2", "the keyword a is given twice"),
        ("a=1, **options", "the keyword a is given twice"),
        ("hello world", "hello world is not a list of Python arguments: invalid syntax"),
        ("1 +", "is not a list of Python arguments: invalid syntax"),
        ("'open", "unterminated string"),
        ("(1", "is not a list of Python arguments"),
        ("1) + (2", "a bracket closes too early"),
        ("1)(2", "a bracket closes too early"),
        ("1)", "unmatched"),
        ("a=1, 2", "positional argument follows keyword argument"),
        ("x = = 1", "invalid syntax at = 1"),
        ("\0", "null bytes"),
    ],
)
def test_mistakes_are_one_line_that_points_at_them(text, said):
    assert said in complaint(evaluated, text)


def test_long_text_is_cut():
    assert len(complaint(evaluated, "x" * 10_000)) < 250


def test_an_error_of_several_lines_becomes_one():
    def explode():
        raise RuntimeError("a\nb\n  c")

    assert complaint(evaluate_arguments, "explode()", {"explode": explode}) == (
        "explode() does not evaluate: RuntimeError: a b c"
    )


def test_an_interrupt_passes():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_arguments("interrupt()", {"interrupt": interrupt})


@given(st.text(max_size=40))
def test_any_text_evaluates_or_is_a_usage_error(text):
    with suppress(UsageError):
        evaluate_arguments(text, {"__builtins__": {}})


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
KEYWORDS = st.dictionaries(st.sampled_from(["a", "bee", "c_3", "message"]), LITERALS)


@given(st.lists(LITERALS), KEYWORDS)
def test_what_is_written_as_literals_comes_back(args, kwargs):
    text = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    assert evaluated(text) == (tuple(args), kwargs)


def test_one_expression():
    assert evaluate_expression("f", NAMES) is len
    assert "one expression" in complaint(evaluate_expression, "f, f", NAMES)
    assert "one expression" in complaint(evaluate_expression, "x=f", NAMES)


class TestIdentifiers:
    @pytest.mark.parametrize(
        ("line", "identifier", "rest"),
        [
            ("test:run 1, x=2", "test:run", "1, x=2"),
            ("  test  ", "test:*", ""),
            ("'two words:run' 1", "two words:run", "1"),
            ('"a:b"', "a:b", ""),
            ("a@room:b\t*xs", "a@room:b", "*xs"),
            ("'a,:b' 1", "a,:b", "1"),
            ("a:b # a comment", "a:b", ""),
            ("a:#b", "a:#b", ""),
            ("'{name}:x' 1", "{name}:x", "1"),
            ("'d:x(1)'", "d:x(1)", ""),
        ],
    )
    def test_the_identifier_comes_first(self, line, identifier, rest):
        found, left = split_identifier(line, EXAMPLE)
        assert (found.text, left) == (identifier, rest)

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("", f"an identifier is missing, as in: {EXAMPLE}"),
            ("a:b:c", "more than one ':'"),
            ("a*:b", "'*' inside its name"),
            ("a:b, 1", "ends with a comma"),
            ("'a:b 1", "is not closed"),
            ("'a:b'1", "put a space between 'a:b' and 1"),
            ("''", "empty name"),
            ("# a comment", f"an identifier is missing, as in: {EXAMPLE}"),
            ("{name}:x 1", 'the function takes what is computed, as in: twitter(f"{name}:x")'),
            ("d:x(1)", "put a space before its arguments, as in: %twitter d:x 1; or quotes around it"),
            ("d:x(1, y=2)", "as in: %twitter d:x 1"),
        ],
    )
    def test_a_bad_one_is_named(self, line, said):
        assert said in complaint(split_identifier, line, EXAMPLE)


class TestNamespace:
    def test_the_namespace_at_the_top_of_a_cell_is_the_users(self, bare_shell):
        assert namespace_of(bare_shell.ip, None) is bare_shell.ip.user_ns
        assert namespace_of(bare_shell.ip, bare_shell.ip.user_ns) is bare_shell.ip.user_ns

    def test_in_a_function_its_names_come_first(self, bare_shell):
        bare_shell.ip.user_ns.update(x=1, y=1)
        names = namespace_of(bare_shell.ip, {"x": 2})
        assert (names["x"], names["y"]) == (2, 1)
