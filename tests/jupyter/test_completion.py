import pytest
from IPython.core.completer import provisionalcompleter

from berrymq import default_bus, twitter
from berrymq_jupyter.completion import MAX_RECENT
from berrymq_jupyter.links import FRESH_SECONDS, nodes_behind


@pytest.fixture
def complete(shell):
    def completions(text):
        with provisionalcompleter():
            found = list(shell.ip.Completer.completions(text, len(text)))
        return [text[: item.start] + item.text for item in found]

    return completions


@pytest.fixture
def alive(shell):
    with default_bus.follow("train:*", print), default_bus.follow("two words:run", print):
        twitter("seen:lately")
        yield


@pytest.mark.parametrize("magic", ["twitter", "follow", "queue", "talk", "ask"])
def test_identifiers(complete, alive, magic):
    assert complete(f"%{magic} tr") == [f"%{magic} train:*"]
    assert complete(f"%{magic} train:") == [f"%{magic} train:*"]
    assert complete(f"%{magic} se") == [f"%{magic} seen:lately"]


def test_all_identifiers_at_once(complete, alive):
    assert complete("%twitter ") == ['%twitter "two words:run"', "%twitter seen:lately", "%twitter train:*"]


def test_identifiers_that_were_only_sent_outlive_changes_of_followers(shell, complete):
    shell.run("%twitter only:sent")
    shell.run("%follow *:* lambda message: None")
    shell.run("%twitter more:sent\n%follow *:* lambda message: None")
    shell.run("%unfollow --all")
    assert complete("%twitter only") == ["%twitter only:sent"]
    assert complete("%twitter more") == ["%twitter more:sent"]


def test_only_so_many_of_them_are_remembered(shell, complete):
    shell.run("%twitter first:sent\n%follow *:* lambda message: None")
    for number in range(MAX_RECENT):
        twitter(f"later:number{number}")
    assert "%twitter first:sent" not in complete("%twitter first:s")
    assert complete("%twitter later:number99") == [
        "%twitter later:number99",
        *[f"%twitter later:number99{digit}" for digit in range(10)],
    ]


def test_the_last_of_many_is_offered(shell, complete):
    for number in range(3 * MAX_RECENT):
        twitter(f"many:number{number}")
    assert complete("%twitter many:number2999") == ["%twitter many:number2999"]
    assert complete("%twitter many:number17") != []
    with default_bus.follow("a:b", print):  # now the bus has forgotten them
        assert complete("%twitter many:number2999") == ["%twitter many:number2999"]


@pytest.mark.parametrize(
    "line",
    [
        "%ask --timeout 3 h:b",
        "%ask --timeout ",
        "%ask --timeout=",
        "%link --room ",
        "%link --room=",
        "%link --room a",
        "%link --zzz",
        "%twitter ",
        "%twitter pri",
        "%talk a:b pri",
        "%%follow pri",
        "q = %queue pri",
        "%unfollow pri",
        "%links pri",
    ],
)
def test_where_python_cannot_stand_its_names_are_not_offered(complete, line):
    assert complete(line) == []


def test_identifiers_with_spaces_are_quoted(complete, alive):
    assert complete("%twitter 'two w") == ["%twitter 'two words:run'"]
    assert complete('%twitter "two w') == ['%twitter "two words:run"']


def test_cell_magics_and_assignments(complete, alive):
    assert complete("%%follow tr") == ["%%follow train:*"]
    assert complete("q = %queue tr") == ["q = %queue train:*"]
    assert complete("x = 1\n%twitter tr") == ["x = 1\n%twitter train:*"]


def test_the_second_identifier_of_talk(complete, alive):
    assert complete("%talk train:* se") == ["%talk train:* seen:lately"]


def test_unfollow_is_offered_what_it_can_stop(shell, complete, alive, monkeypatch):
    monkeypatch.setattr("berrymq.bridge.links", lambda: [Link()])
    shell.run("q = %queue task:*\n%follow mine:* print")
    assert complete("%unfollow ") == [
        '%unfollow "two words:run"',
        "%unfollow mine:*",
        "%unfollow train:*",
    ]
    assert complete("%unfollow --") == ["%unfollow --all"]


def test_options_behind_the_identifier(complete, alive):
    assert complete("%queue x:* --o") == ["%queue x:* --overflow"]
    assert complete("%queue x:* --overflow drop_n") == ["%queue x:* --overflow drop_newest"]
    assert complete("q = %queue x:* --m") == ["q = %queue x:* --maxsize"]
    assert complete("%queue x:* --maxsize 3 --sh") == ["%queue x:* --maxsize 3 --shared"]
    assert complete("%link http://x/ --d") == ["%link http://x/ --deliver"]
    assert complete("%ask price:get --t") == ["%ask price:get --timeout"]


def test_the_value_of_an_option_may_be_joined(complete, alive, monkeypatch):
    assert complete("%queue --overflow=drop_n") == ["%queue --overflow=drop_newest"]
    assert complete("%queue x:* --overflow=") == [
        f"%queue x:* --overflow={value}" for value in ("block", "drop_newest", "drop_oldest", "raise")
    ]
    assert complete("%queue --overflow=raise tr") == ["%queue --overflow=raise train:*"]
    monkeypatch.setattr("berrymq.bridge.links", lambda: [Link()])
    assert complete("%link --room=") == ['%link --room="the red one"', "%link --room=blue"]
    assert complete('%link --room="the red one" --n') == ['%link --room="the red one" --name']


def test_where_nothing_else_may_stand_the_options_are_offered(complete, alive):
    assert complete("%queue x:* ") == [
        f"%queue x:* {option}" for option in ("--durable", "--maxsize", "--overflow", "--past", "--shared")
    ]
    assert complete("%link ") == [
        f"%link {option}" for option in ("--deliver", "--name", "--room", "--strict")
    ]
    assert complete("%link --room a ") == [
        f"%link --room a {option}" for option in ("--deliver", "--name", "--strict")
    ]


def test_an_option_that_is_given_is_not_offered_again(complete, alive):
    assert complete("%queue --shared --") == [
        f"%queue --shared {option}" for option in ("--durable", "--maxsize", "--overflow", "--past")
    ]
    assert "%follow --past 100 train:*" in complete("%follow --past 100 tr")


def test_in_a_list_of_arguments_there_are_no_options(complete, alive):
    for line in ("%ask price:get 1, --t", "%follow train:* --t", "%twitter train:epoch --t"):
        assert [found for found in complete(line) if "--timeout" in found] == []


def test_options(complete, alive):
    assert complete("%queue --m") == ["%queue --maxsize"]
    assert complete("%link --") == ["%link --deliver", "%link --name", "%link --room", "%link --strict"]
    assert complete("%link --deliver m") == ["%link --deliver main"]
    assert complete("%queue --overflow drop") == [
        "%queue --overflow drop_newest",
        "%queue --overflow drop_oldest",
    ]
    assert complete("%queue --shared --maxsize 3 tr") == ["%queue --shared --maxsize 3 train:*"]


def test_arguments_are_completed_as_python(shell, complete, alive):
    shell.ip.user_ns["training_loss"] = 0.5
    assert complete("%twitter train:epoch training_l") == ["%twitter train:epoch training_loss"]
    assert complete("%twitter train:epoch x=training_l") == ["%twitter train:epoch x=training_loss"]
    assert "%twitter train:epoch training_loss.real" in complete("%twitter train:epoch training_loss.re")
    assert complete("%follow train:* training_l") == ["%follow train:* training_loss"]
    assert complete("%talk a:b c:d training_l") == ["%talk a:b c:d training_loss"]
    assert complete("training_l") == ["training_loss"]


def test_where_no_name_has_begun_the_users_own_are_offered(shell, complete, alive):
    shell.run("training_loss = 0.5")
    assert complete("%twitter train:epoch 1, ") == ["%twitter train:epoch 1, training_loss"]
    assert complete("%follow train:* ") == ["%follow train:* training_loss"]


def test_other_magics_are_left_alone(complete, alive):
    assert "%timeit tr" not in [
        found[:11] for found in complete("%timeit train:") if found.endswith("train:*")
    ]


class Node:
    def __init__(self, name, room=None, follows=()):
        self.name, self.room, self.follows = name, room, follows


class Link:
    url = "http://127.0.0.1:1"

    def nodes(self):
        return [Node("first notebook", "blue", ("far:away",)), Node("second", "the red one")]


def test_nodes_rooms_and_addresses_of_links(complete, monkeypatch):
    monkeypatch.setattr("berrymq.bridge.links", lambda: [Link()])
    assert complete("%links se") == ["%links second"]
    assert complete("%links ") == ['%links "first notebook"', "%links second"]
    assert complete("%link --room b") == ["%link --room blue"]
    assert complete("%unlink ") == ["%unlink http://127.0.0.1:1"]
    assert complete("%twitter far") == ["%twitter far:away"]


def test_what_would_give_orders_to_the_terminal_is_not_offered(complete, monkeypatch):
    link = Link()
    link.nodes = lambda: [
        Node("plain"),
        Node("pl\x1b[2Jx", "ro\u202eom", ("pla\u200bin:x", "plain:x")),
        Node("pl\nx", "ro\x07om"),
    ]
    monkeypatch.setattr("berrymq.bridge.links", lambda: [link])
    assert complete("%links pl") == ["%links plain"]
    assert complete("%link --room ro") == []
    assert complete("%twitter pla") == ["%twitter plain:x"]


def test_a_slow_hub_is_not_asked_for_its_nodes_at_each_key(monkeypatch):
    now, asked = 0.0, []
    monkeypatch.setattr("berrymq_jupyter.links.monotonic", lambda: now)

    class Slow(Link):
        def nodes(self):
            nonlocal now
            asked.append(now)
            now += 2.0
            return [Node(f"asked {len(asked)} times")]

    link = Slow()
    while now < 30.0:
        assert nodes_behind(link)[0].name == f"asked {len(asked)} times"
        now += 0.1
    assert len(asked) == 3


def test_a_quick_one_is_asked_again_soon(monkeypatch):
    now = 0.0
    monkeypatch.setattr("berrymq_jupyter.links.monotonic", lambda: now)
    link = Link()
    first = nodes_behind(link)
    assert nodes_behind(link) is first
    now = FRESH_SECONDS
    assert nodes_behind(link) is not first


def test_names_of_shared_values(shell, complete):
    shell.run("%share numbers 1")
    assert complete("%take nu") == ["%take numbers"]
    assert complete("%unshare nu") == ["%unshare numbers"]
    assert complete("%follow nu") == []
    shell.run("%unshare numbers")
