"""What refers to the default bus pickles and copies as a reference; messages pickle as what they are."""

import copy
import json
import pickle
import subprocess
import sys
import textwrap

import pytest

import berrymq
from berrymq import Follower, Message, Queue, cond, default_bus, following

FUNCTIONS = [
    "twitter",
    "talk",
    "ask",
    "aask",
    "follow",
    "unfollow",
    "once",
    "expect",
    "mute",
    "observe",
    "following_function",
    "register_function",
    "regist_method",
    "auto_twitter",
    "twitter_exception",
    "set_multiplicity",
    "drain",
    "show_followers",
    "show_network",
]


class Logger(metaclass=Follower):
    @following("references:class")
    def receive(self, message):
        pass


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_functions_pickle_as_references(name, protocol):
    function = getattr(berrymq, name)
    assert pickle.loads(pickle.dumps(function, protocol)) == function


@pytest.mark.parametrize("what", [default_bus, Logger, Queue, Message])
def test_the_default_bus_and_classes_do(what):
    assert pickle.loads(pickle.dumps(what)) is what
    assert copy.copy(what) is what
    assert copy.deepcopy(what) is what


def test_another_bus_can_not_be_pickled(bus):
    with pytest.raises(TypeError, match="only the default bus can be pickled"):
        pickle.dumps(bus.twitter)
    assert copy.deepcopy(bus) is copy.copy(bus) is bus


def test_deepcopy_of_what_holds_handles(bus):
    holder = {
        "handle": bus.follow("a:b", print),
        "queue": Queue("a:b", bus=bus),
        "mute": bus.mute("a:c"),
        "observation": bus.observe(),
        "send": bus.twitter,
    }
    copied = copy.deepcopy(holder)
    assert copied is not holder
    assert all(copied[key] == holder[key] for key in holder)
    assert copied["handle"] is copy.copy(holder["handle"]) is holder["handle"]
    holder["observation"].cancel()


def test_handles_and_queues_do_not_pickle_and_say_so(bus):
    with pytest.raises(TypeError, match="a Subscription belongs to its process"):
        pickle.dumps(bus.follow("a:b", print))
    with pytest.raises(TypeError, match="a Queue belongs to its process"):
        pickle.dumps(Queue("a:b", bus=bus))


def test_keywords_behave_as_a_dictionary(bus):
    message = Message("a:b", x=1, y=[2])
    kwargs = message.kwargs
    assert json.dumps(kwargs) == '{"x": 1, "y": [2]}'
    assert kwargs == {"x": 1, "y": [2]}
    assert isinstance(kwargs, dict)
    for copied in (
        pickle.loads(pickle.dumps(kwargs)),
        copy.copy(kwargs),
        copy.deepcopy(kwargs),
        kwargs.copy(),
    ):
        assert copied == kwargs
        assert type(copied) is dict
    assert {**kwargs, "z": 3} == kwargs | {"z": 3} == {"x": 1, "y": [2], "z": 3}
    got = []
    bus.follow("c:d", got.append)
    bus.twitter("c:d", **kwargs)
    bus.twitter("c:d", kwargs)
    assert got[0].x == 1
    assert got[1].args[0] == kwargs


@pytest.mark.parametrize(
    "change",
    [
        lambda kwargs: kwargs.update(x=2),
        lambda kwargs: kwargs.__setitem__("x", 2),
        lambda kwargs: kwargs.__delitem__("x"),
        lambda kwargs: kwargs.pop("x"),
        lambda kwargs: kwargs.popitem(),
        lambda kwargs: kwargs.clear(),
        lambda kwargs: kwargs.setdefault("x", 2),
        lambda kwargs: kwargs.__ior__({"x": 2}),
    ],
)
def test_and_cannot_be_changed(change):
    message = Message("a:b", x=1)
    with pytest.raises(TypeError, match="read-only"):
        change(message.kwargs)
    assert message.x == 1


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_messages_are_copied_whole_joint_ones_too(bus, duplicate):
    got = []
    bus.follow(cond("a:x") & cond("b:y"), got.append)
    bus.twitter("a:x", 1)
    bus.publish(Message.make("b:y", (2,), {"key": 3}, source="other"))
    copied = duplicate(got[0])
    assert type(copied) is type(got[0])
    assert (copied.id, copied.args, copied.kwargs) == ("b:y", (2,), {"key": 3})
    assert copied.source == "other"
    assert copied.sent_at == got[0].sent_at
    assert [one.args for one in copied.messages] == [(1,), (2,)]
    bus.twitter("c:d", copied)


PROGRAM = """
import multiprocessing, sys
import berrymq
from berrymq import twitter

def task(number):
    berrymq.follow("other:*", lambda message: print(message.args[0], flush=True))
    twitter("other:process", number)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    for target, args in ((task, (1,)), (twitter, ("unfollowed:here", 2))):
        process = context.Process(target=target, args=args)
        process.start()
        process.join()
        print("exit code", process.exitcode, flush=True)
"""


def test_spawned_processes_have_a_default_bus_of_their_own(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout.splitlines() == ["1", "exit code 0", "exit code 0"]


def test_a_notebook_function_goes_through_cloudpickle():
    program = """
        import cloudpickle, pickle
        from berrymq import Follower, following, twitter, default_bus
        class Logger(metaclass=Follower):
            @following("a:b")
            def receive(self, message): seen.append(message.id)
        def work():
            twitter("a:b")
            return default_bus, Logger
        again = pickle.loads(cloudpickle.dumps(work))
        assert again is not work
        bus, cls = again()
        assert bus is default_bus
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=50)
