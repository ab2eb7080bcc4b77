import ipywidgets
import pytest
import traitlets

from berrymq import testing
from berrymq.adapters.traits import TraitSender


class Model(traitlets.HasTraits):
    value = traitlets.Int(0)
    name = traitlets.Unicode("")


@pytest.fixture
def sent(bus):
    with testing.record(bus=bus) as recorder:
        yield recorder


def test_changes_of_the_value(bus, sent):
    model = Model()
    with TraitSender(model, name="model", bus=bus) as sender:
        model.value = 3
        model.value = 3
        model.name = "x"
    model.value = 4
    sender.stop()
    assert sent.ids == ["model:value"]
    sent.assert_sent("model:value", 3, old=0)


def test_traits_by_name(bus, sent):
    model = Model()
    with TraitSender(model, "value", "name", name="model", bus=bus):
        model.name = "x"
        model.value = 1
    assert sent.ids == ["model:name", "model:value"]


def test_widgets(bus, sent):
    slider, button = ipywidgets.IntSlider(), ipywidgets.Button()
    with TraitSender(slider, name="speed", bus=bus), TraitSender(button, "disabled", name="go", bus=bus):
        slider.value = 5
        button.click()
        button.disabled = True
    button.click()
    assert sent.ids == ["speed:value", "go:click", "go:disabled"]


def test_a_button_alone(bus, sent):
    button = ipywidgets.Button()
    with TraitSender(button, name="go", bus=bus):
        button.click()
    assert sent.ids == ["go:click"]


def test_what_there_is_not(bus):
    class Bare(traitlets.HasTraits):
        other = traitlets.Int()

    with pytest.raises(ValueError, match="Model has no trait size, colour"):
        TraitSender(Model(), "size", "value", "colour", name="model", bus=bus)
    with pytest.raises(ValueError, match="Bare has no value; name the traits that are to be sent"):
        TraitSender(Bare(), name="bare", bus=bus)
