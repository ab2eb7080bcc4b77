from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache, partialmethod

import pytest

import berrymq
from berrymq import Bus, Follower, IdentifierError, RegistrationError, following, scopes
from berrymq.targets import AttributeTarget


@pytest.fixture
def got():
    return []


def test_methods_follow_for_each_instance(bus, got, collect):
    class Logger(metaclass=Follower, bus=bus):
        def __init__(self, name):
            self.name = name

        @following("*:log")
        def receive(self, message):
            got.append((self.name, message.id))

        def other(self, message):
            pytest.fail("is not marked")

    one, other = Logger("one"), Logger("other")
    bus.twitter("a:log")
    assert got == [("one", "a:log"), ("other", "a:log")]
    del one
    collect()
    bus.twitter("b:log")
    assert got[2:] == [("other", "b:log")]
    assert len(bus.subscriptions()) == 1
    assert other.receive.__name__ == "receive"


def test_arguments_of_the_constructor_pass_through(bus):
    class Logger(metaclass=Follower, bus=bus):
        def __init__(self, first, /, *rest, level, **more):
            self.given = (first, rest, level, more)

    assert Logger(1, 2, level=3, bus=4).given == (1, (2,), 3, {"bus": 4})


def test_nothing_follows_when_the_constructor_fails(bus):
    class Logger(metaclass=Follower, bus=bus):
        def __init__(self):
            raise ValueError("no")

        @following("*:log")
        def receive(self, message):
            pass

    with pytest.raises(ValueError, match="no"):
        Logger()
    assert bus.subscriptions() == []


def test_guards_and_several_identifiers(bus, got):
    class Logger(metaclass=Follower, bus=bus):
        @following("a:x", lambda message: message.args)
        @following("b:y", concurrent=True)
        def receive(self, message):
            got.append(message.id)

    logger = Logger()
    bus.twitter("a:x")
    bus.twitter("a:x", 1)
    bus.twitter("b:y")
    assert got == ["a:x", "b:y"]
    assert [(one.follows, one.concurrent) for one in bus.subscriptions()] == [("b:y", True), ("a:x", False)]
    del logger


def test_class_and_static_methods_follow_once_for_their_class(bus, got):
    class Logger(metaclass=Follower, bus=bus):
        @classmethod
        @following("c:under")
        def class_under(cls, message):
            got.append(("class", cls.__name__, message.action))

        @following("c:over")
        @classmethod
        def class_over(cls, message):
            got.append(("class", cls.__name__, message.action))

        @staticmethod
        @following("s:under")
        def static_under(message):
            got.append(("static", message.action))

        @following("s:over")
        @staticmethod
        def static_over(message):
            got.append(("static", message.action))

    class Sub(Logger):
        pass

    instances = Logger(), Logger(), Sub()
    for text in ("c:under", "c:over", "s:under", "s:over"):
        bus.twitter(text)
    assert got == [
        ("class", "Logger", "under"),
        ("class", "Logger", "over"),
        ("static", "under"),
        ("static", "over"),
    ]
    assert len(bus.subscriptions()) == 4
    del instances


def test_what_belongs_to_a_class_ends_with_it(bus, collect):
    def make():
        class Logger(metaclass=Follower, bus=bus):
            @following("a:x")
            @classmethod
            def of_class(cls, message):
                pass

            @following("a:y")
            @following("a:z")
            @staticmethod
            def static(message):
                pass

        return Logger

    made = make()
    assert len(bus.subscriptions()) == 3
    del made
    collect()
    assert bus.subscriptions() == []


def test_subclasses_inherit_add_and_take_back(bus, got):
    class Base(metaclass=Follower, bus=bus):
        @following("a:kept")
        def kept(self, message):
            got.append("kept")

        @following("a:changed")
        def changed(self, message):
            got.append("base")

        @following("a:silenced")
        def silenced(self, message):
            pytest.fail("overridden without a mark")

        @following("a:static")
        def turned_static(self, message):
            pytest.fail("overridden")

    class Sub(Base):
        @following("a:changed")
        def changed(self, message):
            got.append("sub")

        def silenced(self, message):
            pytest.fail("overridden without a mark")

        @staticmethod
        def turned_static(message):
            pytest.fail("not marked")

        @following("a:added")
        def added(self, message):
            got.append("added")

    sub = Sub()
    for action in ("kept", "changed", "silenced", "static", "added"):
        bus.twitter(f"a:{action}")
    assert got == ["kept", "sub", "added"]
    del sub


def test_the_metaclass_mixes_with_abstract_classes(bus, got):
    class Source(ABC):
        @abstractmethod
        def receive(self, message): ...

    class Logger(Source, metaclass=Follower, bus=bus):
        @following("a:b")
        @abstractmethod
        def receive(self, message): ...

    class Good(Logger):
        @following("a:b")
        def receive(self, message):
            got.append(message.id)

    with pytest.raises(TypeError, match="abstract"):
        Logger()
    good = Good()
    bus.twitter("a:b")
    assert got == ["a:b"]
    del good


def test_keywords_of_the_class_reach_its_bases(bus):
    class Base(metaclass=Follower):
        def __init_subclass__(cls, *, flavour, **kwargs):
            super().__init_subclass__(**kwargs)
            cls.flavour = flavour

    class Sub(Base, flavour="sweet", bus=bus):
        pass

    assert Sub.flavour == "sweet"
    assert Sub.bus_of() is bus


def test_the_bus_is_inherited_and_the_default_bus_the_default(bus, got):
    class Plain(metaclass=Follower):
        @following("decorators:test")
        def receive(self, message):
            got.append(message.id)

    class Own(metaclass=Follower, bus=bus):
        pass

    class Sub(Own):
        pass

    other = Bus()

    class Other(Own, bus=other):
        pass

    assert Plain.bus_of() is berrymq.default_bus
    assert Sub.bus_of() is bus
    assert Other.bus_of() is other
    scope = scopes.Scope()
    with scope.collecting():
        plain = Plain()
        berrymq.twitter("decorators:test")
    assert got == ["decorators:test"]
    scope.close()
    berrymq.twitter("decorators:test")
    assert got == ["decorators:test"]
    del plain


def test_instances_that_cannot_be_held_weakly_fail_at_the_class():
    with pytest.raises(
        RegistrationError, match=r"Slotted.receive cannot follow: .* add '__weakref__' to its __slots__"
    ):

        class Slotted(metaclass=Follower):
            __slots__ = ()

            @following("a:b")
            def receive(self, message):
                pass


def test_with_slots_that_can(bus):
    class Slotted(metaclass=Follower, bus=bus):
        __slots__ = ("__weakref__",)

        @following("a:b")
        def receive(self, message):
            pass

    slotted = Slotted()
    assert len(bus.subscriptions()) == 1
    del slotted


def test_a_method_that_takes_no_message(bus):
    class Wrong(metaclass=Follower, bus=bus):
        @following("a:b")
        def receive(self):
            pass

    with pytest.raises(RegistrationError, match=r"write it as  def receive\(self, message\)"):
        Wrong()


def test_what_cannot_be_marked():
    with pytest.raises(RegistrationError, match="following marks methods, not the class Thing"):

        @following("a:b")
        class Thing:
            pass

    with pytest.raises(RegistrationError, match="cannot be marked"):
        following("a:b")(3)
    with pytest.raises(IdentifierError):
        following("a:b:c")
    with pytest.raises(RegistrationError, match="a guard is called"):
        following("a:b", 3)


def test_functions_and_methods_are_distinguished():
    with pytest.raises(RegistrationError, match="function is a function: write @following_function"):

        @following("a:b")
        def function(message):
            pass


def refusal(caught):
    """The error of a class body: before Python 3.12 it is the cause of another."""
    return caught.value if isinstance(caught.value, RegistrationError) else caught.value.__cause__


@pytest.mark.parametrize(
    "above", [lambda method: method, classmethod, staticmethod, lru_cache, partialmethod]
)
def test_a_class_without_the_metaclass_is_refused_where_it_is_made(above):
    with pytest.raises((RegistrationError, RuntimeError)) as caught:

        class Logger:
            @above
            @following("a:b")
            def receive(self, message):
                pass

    assert str(refusal(caught)).startswith("Logger has methods marked with @following")
    assert "class Logger(metaclass=Follower); mixins have it too" in str(refusal(caught))


def test_a_mixin_has_the_metaclass(bus, got):
    class Mixin(metaclass=Follower, bus=bus):
        @following("a:method")
        def method(self, message):
            got.append("method")

        @following("a:class")
        @classmethod
        def of_class(cls, message):
            got.append("class")

        @following("a:static")
        @staticmethod
        def static(message):
            got.append("static")

    class Base:
        pass

    class Logger(Mixin, Base):
        pass

    logger = Logger()
    for action in ("method", "class", "static"):
        bus.twitter(f"a:{action}")
    assert got == ["method", "class", "static"]
    del logger


def test_a_helper_may_stand_between(bus, got):
    def logs(function):
        return following("*:log")(function)

    class Logger(metaclass=Follower, bus=bus):
        @logs
        def receive(self, message):
            got.append(message.id)

    logger = Logger()
    bus.twitter("a:log")
    assert got == ["a:log"]
    assert "__berrymq_sentinel__" not in vars(Logger)
    del logger


def test_attributes_that_are_no_functions(bus, got, collect):
    class Decorated:
        """What a decorator gives: it is bound when it is looked up, and does more than its function."""

        def __init__(self, function):
            self.function = function
            self.__dict__.update(vars(function))

        def __get__(self, instance, owner=None):
            return lambda message: got.append("decorated") or self.function(instance, message)

    class Logger(metaclass=Follower, bus=bus):
        def note(self, prefix, message):
            got.append((prefix, message.id))

        part = following("a:part")(partialmethod(note, "prefix"))

        @Decorated
        @following("a:object")
        def receive(self, message):
            got.append(message.id)

    logger = Logger()
    bus.twitter("a:part")
    bus.twitter("a:object")
    assert got == [("prefix", "a:part"), "decorated", "a:object"]
    assert {one.name.rpartition(".")[2] for one in bus.subscriptions()} == {"part", "receive"}
    assert callable(bus.subscriptions()[0].function)
    del logger
    collect()
    assert bus.subscriptions() == []


def test_an_attribute_without_an_object_to_hold_weakly():
    with pytest.raises(RegistrationError, match="add '__weakref__' to its __slots__"):
        AttributeTarget((), "count")


def test_an_attribute_of_a_collected_object(collect):
    class Owner:
        part = partialmethod(lambda self, prefix, message: (prefix, message), 1)

    owner = Owner()
    target = AttributeTarget(owner, "part")
    assert target.call(2) == (1, 2)
    gone = []
    target.on_death(lambda: gone.append(1))
    del owner
    collect()
    assert gone == [1]
    assert target.function() is target.call(2) is None
    target.on_death(lambda: pytest.fail("it is gone already"))


def test_a_constructor_that_gives_the_same_instance_registers_it_once(bus, got):
    class Single(metaclass=Follower, bus=bus):
        made = None

        def __new__(cls):
            if cls.made is None:
                cls.made = super().__new__(cls)
            return cls.made

        @following("a:b")
        def receive(self, message):
            got.append(message.id)

    for _ in range(3):
        single = Single()
    bus.twitter("a:b")
    assert got == ["a:b"]
    bus.unfollow("a:b")
    Single()
    bus.twitter("a:b")
    assert got == ["a:b"] * 2
    del single


def test_a_constructor_that_gives_an_object_of_another_class(bus):
    class Odd(metaclass=Follower, bus=bus):
        def __new__(cls):
            return "odd"

        @following("a:b")
        def receive(self, message):
            pytest.fail("is not its method")

    assert Odd() == "odd"
    assert bus.subscriptions() == []


def test_a_class_that_a_decorator_builds_twice_follows_once(bus, got):
    @dataclass(slots=True, weakref_slot=True)
    class Logger(metaclass=Follower, bus=bus):
        name: str

        @following("a:method")
        def receive(self, message):
            got.append(self.name)

        @following("a:class")
        @classmethod
        def of_class(cls, message):
            got.append(cls)

        @following("a:static")
        @staticmethod
        def static(message):
            got.append("static")

    logger = Logger("one")
    for action in ("method", "class", "static"):
        bus.twitter(f"a:{action}")
    assert got == ["one", Logger, "static"]
    del logger


def test_one_function_in_two_classes_follows_for_both(bus, got):
    @staticmethod
    def shared(message):
        got.append(message.id)

    shared = following("a:b")(shared)

    class One(metaclass=Follower, bus=bus):
        follow = shared

    class Other(metaclass=Follower, bus=bus):
        follow = shared

    bus.twitter("a:b")
    assert got == ["a:b"] * 2
    del One, Other
