"""Changes of traits, such as the values of widgets, and clicks, as messages; with ``traitlets``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Adapter

if TYPE_CHECKING:
    from berrymq.bus import Bus

__all__ = ["TraitSender"]


class TraitSender(Adapter):
    """Sends ``NAME:TRAIT`` when a trait of `subject` changes, and ``NAME:click`` when a button is clicked.

    ``message.args[0]`` is the new value, ``message.old`` the former. The followers run in the thread that
    changes the trait, in a notebook the main thread::

        TraitSender(slider, name="speed")       # speed:value(7, old=6)

    Args:
        subject: a widget or any other `traitlets.HasTraits`.
        traits: the names of traits; without any it is ``value``, if there is one.
        name: the name of the messages.
        bus: where they are sent; None for the default bus.

    Raises:
        ValueError: `subject` has no such trait, or neither a value nor clicks.

    Attributes:
        subject: what is observed.
        traits: the names of the observed traits.
    """

    def __init__(self, subject: Any, *traits: str, name: str, bus: Bus | None = None) -> None:
        self._clicks = hasattr(subject, "on_click")
        if not traits and subject.has_trait("value"):
            traits = ("value",)
        unknown = [trait for trait in traits if not subject.has_trait(trait)]
        if unknown:
            raise ValueError(f"{type(subject).__name__} has no trait {', '.join(unknown)}")
        if not traits and not self._clicks:
            raise ValueError(f"{type(subject).__name__} has no value; name the traits that are to be sent")
        super().__init__(name, bus)
        self.subject = subject
        self.traits = traits
        if traits:
            subject.observe(self._changed, names=list(traits))
        if self._clicks:
            subject.on_click(self._clicked)
        self._active = True

    def _changed(self, change: Any) -> None:
        """Send a change of a trait."""
        self.send(change["name"], change["new"], old=change["old"])

    def _clicked(self, _: Any) -> None:
        """Send a click."""
        self.send("click")

    def stop(self) -> None:
        """Send no more changes and clicks."""
        if self._active:
            self._active = False
            if self.traits:
                self.subject.unobserve(self._changed, names=list(self.traits))
            if self._clicks:
                self.subject.on_click(self._clicked, remove=True)
