from types import SimpleNamespace

import pytest

from berrymq import Bus, Queue, cond
from berrymq.introspection import Report
from berrymq.targets import where_of


def handler(message):
    pass


WHERE = where_of(handler)


def node(name, *follows, hub=False, here=False):
    return SimpleNamespace(name=name, id=f"id of {name}", follows=follows, hub=hub, here=here)


NODES = [
    node("nb1", "a:b", here=True),
    node("nb 2", "a:*", "c:d"),
    node('"hub"', hub=True),
]


@pytest.fixture
def followed(bus):
    bus.follow("a:b", handler)
    bus.follow(cond("x:y") & "longer:identifier", print)
    return bus


def test_a_report_shows_as_it_is():
    report = Report("one\ntwo")
    assert repr(report) == "one\ntwo"
    assert report.splitlines() == ["one", "two"]


def test_stats(followed):
    queue = Queue("a:b", bus=followed)
    followed.gateway.attach(lambda identifier: True, print)
    followed.twitter("other:x")
    assert followed.stats() == (2, 1, 3, 1, 1, 0, 0)
    assert followed.stats().identifiers == 3
    queue.close()


def test_followers(followed):
    assert followed.show_followers() == (
        f"a:b                      handler  {WHERE}\nx:y & longer:identifier  print"
    )
    assert Bus().show_followers() == "no followers"


def test_text(followed):
    assert followed.show_network() == (
        f"test (here)\n  a:b -> handler ({WHERE})\n  x:y & longer:identifier -> print"
    )
    assert followed.show_network(nodes=NODES).splitlines() == [
        "nb1 (here)",
        f"  a:b -> handler ({WHERE})",
        "  x:y & longer:identifier -> print",
        "nb 2",
        "  a:*",
        "  c:d",
        '"hub" (hub)',
    ]
    assert Bus().show_network() == "this process (here)"


def test_mermaid(followed):
    assert followed.show_network("mermaid", NODES).splitlines() == [
        "flowchart LR",
        '  node0(["nb1"])',
        '  id1{{"a:b"}}',
        '  id1 --> follower2["handler"]',
        '  id3{{"x:y #38; longer:identifier"}}',
        '  id3 --> follower4["print"]',
        '  node5(["nb 2"])',
        "  node0 <-.-> node5",
        '  id6{{"a:*"}} --> node5',
        '  id7{{"c:d"}} --> node5',
        '  node8[("#34;hub#34;")]',
        "  node0 <-.-> node8",
    ]


def test_graphviz(followed):
    assert followed.show_network("graphviz", NODES).splitlines() == [
        "digraph berrymq {",
        "  rankdir=LR;",
        '  node0 [shape=ellipse, label="nb1"];',
        '  id1 [shape=hexagon, label="a:b"];',
        f'  follower2 [shape=box, label="handler", tooltip="{WHERE}"];',
        "  id1 -> follower2;",
        '  id3 [shape=hexagon, label="x:y & longer:identifier"];',
        '  follower4 [shape=box, label="print", tooltip=""];',
        "  id3 -> follower4;",
        '  node5 [shape=ellipse, label="nb 2"];',
        "  node0 -> node5 [dir=both, style=dashed];",
        '  id6 [shape=hexagon, label="a:*"];',
        "  id6 -> node5;",
        '  id7 [shape=hexagon, label="c:d"];',
        "  id7 -> node5;",
        '  node8 [shape=cylinder, label="\\"hub\\""];',
        "  node0 -> node8 [dir=both, style=dashed];",
        "}",
    ]


def test_one_follower_of_several_identifiers_is_one_box(bus):
    bus.follow("a:b", handler)
    bus.follow("c:d", handler)
    drawn = bus.show_network("mermaid")
    assert drawn.count('["handler"]') == 2
    assert drawn.count("follower2") == 2


def test_links_are_opened_and_nodes_count_once(bus):
    links = [SimpleNamespace(nodes=lambda: NODES), SimpleNamespace(nodes=lambda: NODES[:2])]
    assert bus.show_network(nodes=links) == bus.show_network(nodes=NODES)


def test_the_links_of_this_process(bus, monkeypatch):
    import sys

    bridge = SimpleNamespace(links=lambda: [SimpleNamespace(nodes=lambda: NODES)])
    monkeypatch.setitem(sys.modules, "berrymq.bridge", bridge)
    assert "nb 2" in bus.show_network()
    monkeypatch.delitem(sys.modules, "berrymq.bridge")
    assert bus.show_network() == "test (here)"


def test_other_formats(bus):
    with pytest.raises(ValueError, match="format is 'text', 'mermaid' or 'graphviz', not 'svg'"):
        bus.show_network("svg")
