import json
from contextlib import nullcontext

import pytest

from berrymq.bridge.errors import LinkError, RemoteError
from berrymq.bridge.node.answers import as_error
from berrymq.bridge.node.questions import MAX_OPEN, MAX_OPEN_OF_ONE, Questions
from berrymq.bridge.transport.budget import Budget


@pytest.fixture
def budget():
    return Budget(1_000)


@pytest.fixture
def questions(budget):
    return Questions(budget, nullcontext(), b"too much")


@pytest.fixture
def done():
    """The answers of each question that has ended."""
    return []


def is_empty(questions):
    return not questions._open and not questions._of


def test_the_answers_come_when_all_have_answered(questions, done):
    question = questions.open("asker", ["ann", "bob"], done.append)
    assert questions.answer(question.number, "bob", [b"1"])
    assert done == []
    assert questions.answer(question.number, "ann", [b"2", b"3"])
    assert done == [[b"1", b"2", b"3"]]
    assert is_empty(questions)


def test_where_nobody_follows_there_are_no_answers(questions, done):
    questions.end_if_complete(questions.open("asker", [], done.append))
    assert done == [[]]
    assert is_empty(questions)


def test_each_of_those_asked_answers_once(questions, done):
    question = questions.open("asker", ["ann", "bob"], done.append)
    assert questions.answer(question.number, "ann", [b"1"])
    assert not questions.answer(question.number, "ann", [b"again"])
    assert questions.answer(question.number, "bob", [])
    assert done == [[b"1"]]


@pytest.mark.parametrize(("number", "who"), [(0, "mallory"), (1, "ann"), (-1, "ann")])
def test_what_was_not_asked_is_not_answered(questions, done, number, who):
    question = questions.open("asker", ["ann"], done.append)
    assert not questions.answer(question.number + number, who, [b"forged"])
    assert done == []
    assert questions.answer(question.number, "ann", [b"1"])
    assert done == [[b"1"]]


def test_who_has_gone_is_answered_for(questions, done):
    for asked in (["ann", "bob"], ["ann"], ["bob"]):
        questions.open("asker", asked, done.append)
    assert questions.fail("ann", b"gone") == 2
    assert done == [[b"gone"]]
    assert questions.fail("ann", b"gone") == 0
    assert questions.fail("bob", b"gone too") == 2
    assert done == [[b"gone"], [b"gone", b"gone too"], [b"gone too"]]
    assert is_empty(questions)


def test_what_comes_after_one_was_answered_for_is_ignored(questions, done):
    question = questions.open("asker", ["ann", "bob"], done.append)
    questions.fail("ann", b"gone")
    assert not questions.answer(question.number, "ann", [b"late"])
    questions.answer(question.number, "bob", [])
    assert done == [[b"gone"]]


def test_the_answers_of_a_question_that_was_given_up_go_nowhere(questions, done):
    question = questions.open("asker", ["ann"], done.append)
    questions.give_up(question)
    assert not questions.answer(question.number, "ann", [b"1"])
    questions.give_up(question)
    assert done == []
    assert is_empty(questions)


def test_the_questions_of_an_asker_end_with_it(questions, done):
    for asker in ("here", "there", "here"):
        questions.open(asker, ["ann"], done.append)
    questions.forget_asker("here")
    assert questions.fail("ann", b"x") == 1
    assert done == [[b"x"]]


def test_an_answer_may_put_the_next_question(questions, done):
    def next_one(answers):
        done.append(answers)
        questions.end_if_complete(questions.open("asker", [], done.append))

    question = questions.open("asker", ["ann"], next_one)
    questions.answer(question.number, "ann", [b"1"])
    assert done == [[b"1"], []]


def test_so_many_may_be_open_and_no_more(questions, done):
    for number in range(MAX_OPEN):
        assert not questions.is_full_for(number)
        questions.open(number, ["ann"], done.append)
    assert questions.is_full_for("another")
    questions.fail("ann", json.dumps("gone").encode())
    assert not questions.is_full_for("another")
    assert len(done) == MAX_OPEN


def test_one_peer_does_not_keep_all_others_from_asking(questions, done):
    asked = [questions.open("asker", ["ann"], done.append) for _ in range(MAX_OPEN_OF_ONE)]
    assert questions.is_full_for("asker")
    assert not questions.is_full_for("another")
    assert not questions.is_full_for(None)
    questions.give_up(asked[0])
    assert not questions.is_full_for("asker")


def test_answers_that_wait_for_others_are_counted(questions, budget, done):
    first, second = [questions.open("asker", ["ann", "bob"], done.append) for _ in range(2)]
    questions.answer(first.number, "ann", [bytes(300)])
    questions.answer(second.number, "ann", [bytes(500)])
    assert 800 < budget.held < 1_100
    questions.answer(first.number, "bob", [])
    assert 500 < budget.held < 800
    questions.forget_asker("asker")
    assert (budget.held, budget.accounts) == (0, {})


def test_when_memory_is_short_the_questions_with_the_largest_answers_fail(questions, budget, done):
    for size, asker in ((400, "asker"), (100, "asker"), (400, "another"), (300, "third")):
        question = questions.open(asker, ["ann", "bob"], done.append)
        questions.answer(question.number, "ann", [bytes(size)])
    budget.relieve(0.0)
    assert budget.held <= budget.limit
    assert done == [[b"too much"], [b"too much"]]
    assert questions.fail("bob", b"gone") == 2
    assert budget.held == 0
    for asker in ("asker", "another", "third"):
        questions.forget_asker(asker)
    assert budget.accounts == {}


def test_an_error_from_elsewhere_gives_no_orders_to_a_terminal():
    error = as_error(RemoteError("LinkError", "\x1b[31mmallory\u202e left"), "mallory")
    assert isinstance(error, LinkError)
    assert str(error).isprintable()
