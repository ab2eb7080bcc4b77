from abc import ABC, abstractmethod

import pytest

import berrymq
from berrymq import Bus, Follower, IdentifierError, RegistrationError, following, scopes


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


def test_it_mixes_with_abstract_classes(bus, got):
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


def test_a_marked_function_stays_what_it_is():
    @following("a:b")
    def function(message):
        return message

    assert function(3) == 3
