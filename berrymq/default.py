"""The default bus, and its methods as functions."""

from __future__ import annotations

from .bus import Bus

default_bus = Bus("default")
"""The bus that the functions of the module `berrymq` act on."""

twitter = default_bus.twitter
follow = default_bus.follow
unfollow = default_bus.unfollow
following_function = default_bus.following_function
regist_function = register_function = default_bus.register_function
regist_method = register_method = default_bus.register_method
auto_twitter = default_bus.auto_twitter
twitter_exception = default_bus.twitter_exception
