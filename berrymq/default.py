"""The default bus, and its methods as functions.

`berrymq` exports these functions, so ``berrymq.twitter`` is ``default_bus.twitter``. They are documented at
the methods of `Bus`. `process.default_bus` refers to the same bus for modules that must not import this one.
"""

from __future__ import annotations

from .bus import Bus
from .process import process

process.default_bus = default_bus = Bus("default")
"""The bus that the functions of the module `berrymq` act on."""

# Bound methods, not functions that call them, which would make sending slower.
twitter = default_bus.twitter
talk = default_bus.talk
ask = default_bus.ask
aask = default_bus.aask
follow = default_bus.follow
unfollow = default_bus.unfollow
once = default_bus.once
expect = default_bus.expect
mute = default_bus.mute
observe = default_bus.observe
following_function = default_bus.following_function
regist_function = register_function = default_bus.register_function
regist_method = register_method = default_bus.register_method
auto_twitter = default_bus.auto_twitter
twitter_exception = default_bus.twitter_exception
set_multiplicity = default_bus.set_multiplicity
drain = default_bus.drain
show_followers = default_bus.show_followers
show_network = default_bus.show_network
