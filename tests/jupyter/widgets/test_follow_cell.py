"""A query as a `%%follow` cell."""

import pytest

from berrymq import Message
from berrymq_jupyter.widgets.follow_cell import follow_cell
from berrymq_jupyter.widgets.query import AnyQuery, Query, QueryError

MESSAGES = [
    Message.make("train:epoch", (1,), {"loss": 0.5, "name": "a|b"}),
    Message.make("train:epoch", (2,), {"loss": 7, "opts": {"lr": 0.1}}),
    Message.make("note:add", ("Lorem ü x",), source="worker-1"),
    Message.make("note:error", ("5",), {"version": "5"}, source="far"),
]


@pytest.mark.parametrize(
    ("query", "head"),
    [
        ("train:*", "%%follow train:*"),
        ("train:epoch|note:add loss>1", "%%follow *:*"),
        ('train:epoch loss<=0.5 name="a|b" 0!=2', "%%follow train:epoch"),
        ("-train:* -from:far|here", "%%follow *:*"),
        ("/lo.em/", "%%follow *:*"),
        ('"ü x" from:worker*', "%%follow *:*"),
        ('version="5" -loss=5', "%%follow *:*"),
        ("0=2|7 loss<inf", "%%follow *:*"),
        ("loss>1 OR *:error from:far", "%%follow *:*"),
        ("train:* OR note:add", "%%follow *:*"),
    ],
)
def test_the_cell_runs_for_what_passes_the_query(query, head, capsys):
    first, *body = follow_cell("*:*", query).split("\n")
    assert first == head
    own = Query(head.removeprefix("%%follow "))
    for message in MESSAGES:
        if own(message):
            exec("\n".join(body), {"message": message})
    shown = capsys.readouterr().out.splitlines()
    assert shown == [repr(message) for message in MESSAGES if AnyQuery(query)(message)]
    assert shown


def test_a_log_that_follows_less_goes_on_doing_so():
    assert follow_cell("train:*", "*:error") == (
        "%%follow train:*\nfrom fnmatch import fnmatchcase\n"
        "if fnmatchcase(message.id, '*:error'):\n    print(message)"
    )
    assert follow_cell("two words:*", "") == '%%follow "two words:*"\nprint(message)'
    with pytest.raises(QueryError):
        follow_cell("*:*", "loss>")
