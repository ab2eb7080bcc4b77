import copy
import enum
import pickle
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from berrymq import Identifier, IdentifierError
from berrymq.identifiers import MAX_PART

FORBIDDEN = ":@*"
part_text = (
    st.text(
        st.characters(exclude_characters=FORBIDDEN, exclude_categories=("Cc", "Cs")), min_size=1, max_size=12
    )
    .map(str.strip)
    .filter(bool)
)
part = part_text | st.just("*") | st.sampled_from(["a", "b", "run"])
namespace = st.none() | part_text | st.sampled_from(["n", "m"])
identifiers = st.builds(Identifier, part, part, namespace)


@pytest.mark.parametrize(
    ("text", "name", "namespace", "action", "canonical"),
    [
        ("test:run", "test", None, "run", "test:run"),
        ("test:*", "test", None, "*", "test:*"),
        ("test", "test", None, "*", "test:*"),
        ("*:run", "*", None, "run", "*:run"),
        ("*:*", "*", None, "*", "*:*"),
        ("*", "*", None, "*", "*:*"),
        ("test@lab:run", "test", "lab", "run", "test@lab:run"),
        ("test@lab", "test", "lab", "*", "test@lab:*"),
        ("two words:its action", "two words", None, "its action", "two words:its action"),
        ("naïve 名前:実行 👩‍🔬", "naïve 名前", None, "実行 👩‍🔬", "naïve 名前:実行 👩‍🔬"),
        ("_local:x", "_local", None, "x", "_local:x"),
    ],
)
def test_parts_of_the_text(text, name, namespace, action, canonical):
    parsed = Identifier.parse(text)
    assert (parsed.name, parsed.namespace, parsed.action) == (name, namespace, action)
    assert str(parsed) == parsed.text == canonical
    assert repr(parsed) == f"Identifier({canonical!r})"
    assert Identifier.parse(canonical) == parsed


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'' has an empty name; write '[*]' for any"),
        (":", "has an empty name"),
        ("test:", "has an empty action; write '[*]' for any"),
        (":run", "has an empty name"),
        ("test@:run", "has an empty namespace; write it out, or leave the '@' away"),
        ("test:run:x", "more than one ':'.*write 'test:run.x'"),
        ("test:run@lab", "'@' after the ':'.*write 'test@lab:run'"),
        ("a@b@c:run", "contains ':' or '@'"),
        ("te*t:run", "'\\*' inside its name"),
        ("test:r*", "'\\*' inside its action"),
        ("test@*:run", "'\\*' as its namespace"),
        (" test:run", "space around its name: write 'test:run'"),
        ("test:run ", "space around its action: write 'test:run'"),
        ("test @lab:run", "space around its name"),
        ("test\x00:run", "control character in its name"),
        ("test:run\n", "control character in its action"),
        ("test:\x85", "control character"),
        ("test:\ud800", "control character"),
        ("x" * 256 + ":run", "a name of 256 characters; 255 is the most"),
        ("test:" + "x" * 256, "an action of 256 characters; 255 is the most"),
    ],
)
def test_what_is_no_identifier(text, complaint):
    with pytest.raises(IdentifierError, match=complaint) as caught:
        Identifier.parse(text)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [None, 3, b"test:run", ["test:run"], ("a", "b")])
def test_what_is_no_text(value):
    with pytest.raises(IdentifierError, match=r"an identifier is text such as 'test:run', not an? "):
        Identifier.parse(value)


def test_the_longest_parts():
    long = "x" * MAX_PART
    assert Identifier.parse(f"{long}@{long}:{long}").namespace == long


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        (("a:b", "c"), "the name 'a:b' contains ':' or '@'"),
        (("a", "b@c"), "the action 'b@c' contains"),
        ((3, "c"), "the name of an identifier is text, not an int"),
        (("a", "b", ""), "empty namespace"),
    ],
)
def test_parts_are_checked(parts, complaint):
    with pytest.raises(IdentifierError, match=complaint):
        Identifier(*parts)


def test_parts_have_defaults():
    assert Identifier("test") == Identifier.parse("test")
    assert Identifier("test", namespace="lab") == Identifier.parse("test@lab:*")


@pytest.mark.parametrize("text", ["test", "test:run", "*:run", "test@lab:run"])
def test_one_part_alone_may_be_the_whole_text(text):
    identifier = Identifier(text)
    assert identifier == Identifier.parse(text) == Identifier(identifier) == eval(repr(identifier))
    assert (identifier.name, identifier.action, identifier.namespace) == (
        Identifier.parse(text).name,
        Identifier.parse(text).action,
        Identifier.parse(text).namespace,
    )


def test_the_whole_text_is_checked():
    with pytest.raises(IdentifierError, match="more than one ':'"):
        Identifier("a:b:c")
    with pytest.raises(IdentifierError, match="is text such as 'test:run', not an int"):
        Identifier(3)


def test_identifiers_are_read_only():
    identifier = Identifier.parse("test:run")
    with pytest.raises(AttributeError, match="read-only"):
        identifier.name = "other"
    with pytest.raises(AttributeError, match="read-only"):
        del identifier.name
    with pytest.raises(AttributeError):
        identifier.other = 1


def test_parsing_an_identifier_gives_it_back():
    identifier = Identifier.parse("test:run")
    assert Identifier.parse(identifier) is identifier


def test_text_of_a_subclass():
    class Names(str, enum.Enum):  # noqa: UP042  # not a StrEnum: `str()` of it is something else
        RUN = "test:run"

    assert Identifier.parse(Names.RUN) == Identifier("test", "run")
    assert type(Identifier.parse(Names.RUN).text) is str


def test_identifiers_equal_only_identifiers():
    assert Identifier("a", "b") == Identifier.parse("a:b")
    assert Identifier("a", "b") != "a:b"
    assert hash(Identifier("a", "b")) == hash(Identifier.parse("a:b"))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_are_equal(again):
    identifier = Identifier.parse("test@lab:run")
    assert again(identifier) == identifier


@pytest.mark.parametrize(("text", "wild"), [("a:b", False), ("*:b", True), ("a:*", True), ("*:*", True)])
def test_wild(text, wild):
    assert Identifier.parse(text).is_wild is wild


@pytest.mark.parametrize(("text", "local"), [("_a:b", True), ("a:_b", False), ("*:b", False), ("_a@n", True)])
def test_local(text, local):
    assert Identifier.parse(text).is_local is local


@pytest.mark.parametrize(
    ("one", "other", "match"),
    [
        ("a:b", "a:b", True),
        ("a:b", "a:c", False),
        ("a:b", "c:b", False),
        ("a:*", "a:b", True),
        ("*:b", "a:b", True),
        ("*:*", "a:b", True),
        ("*:c", "a:b", False),
        ("a:*", "*:b", True),
        ("a@n:b", "a@n:b", True),
        ("a@n:b", "a:b", False),
        ("*@n:*", "a@n:b", True),
        ("*:*", "a@n:b", False),
        ("a@n:b", "a@m:b", False),
    ],
)
def test_matching(one, other, match):
    assert Identifier.parse(one).matches(other) is match
    assert Identifier.parse(other).matches(Identifier.parse(one)) is match


def naive_match(one, other):
    def part_matches(left, right):
        return "*" in {left, right} or left == right

    return (
        one.namespace == other.namespace
        and part_matches(one.name, other.name)
        and part_matches(one.action, other.action)
    )


@given(identifiers, identifiers)
def test_matching_as_in_the_model(one, other):
    assert one.matches(other) is other.matches(one) is naive_match(one, other)
    assert one.matches(one)


@given(identifiers)
def test_the_text_identifies_it(identifier):
    assert Identifier.parse(str(identifier)) == identifier


@given(st.text(max_size=300))
def test_any_text_is_an_identifier_or_an_error(text):
    try:
        identifier = Identifier.parse(text)
    except IdentifierError as error:
        assert str(error)  # noqa: PT017  # it is one of the two outcomes
    else:
        assert identifier.text in {text, text + ":*"}
        assert Identifier(identifier.name, identifier.action, identifier.namespace) == identifier


@given(st.text(max_size=40))
def test_both_ways_of_parsing_agree(text):
    # The quick look at plain text and the close one must judge alike.
    name, colon, action = text.partition(":")
    try:
        expected = Identifier(*(part for part in (name, action if colon else "*")))
    except IdentifierError:
        expected = None
    if "@" not in text:
        try:
            assert Identifier.parse(text) == expected
        except IdentifierError:
            assert expected is None


@given(st.text(st.sampled_from("ab:@*, \n_."), max_size=12))
@example("bad::")
@example("a:x, b:y")
@example(" a:b")
def test_the_advice_of_an_error_is_itself_valid(text):
    try:
        Identifier.parse(text)
    except IdentifierError as error:
        complaint = str(error).removeprefix(repr(text))
        advised = re.findall(r"'([^']*)'", complaint.partition("write ")[2]) + re.findall(
            r"cond\('([^']*)'\)", complaint
        )
        for one in advised:
            if one not in {"*", ":", "@"}:  # signs, not identifiers
                Identifier.parse(one)


def test_two_identifiers_in_one_text():
    with pytest.raises(
        IdentifierError, match=r"these are 2; follow each of them, or cond\('a:x'\) & cond\('b:y'\)"
    ):
        Identifier("a:x, b:y")
