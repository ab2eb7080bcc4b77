"""Sources and sinks: timers, files, log records, progress bars and widgets as messages.

Each works from its creation on, until ``stop()`` or the end of its ``with`` block. Import what you need::

    from berrymq.adapters.timer import Timer          # timer:tick
    from berrymq.adapters.files import FileWatcher    # file:created, :modified, :removed; by watchfiles
    from berrymq.adapters.logs import LogSender       # log:info, log:warning, ...
    from berrymq.adapters.logs import LogReceiver     # the other way round
    from berrymq.adapters.progress import Progress    # progress:progress; by tqdm
    from berrymq.adapters.traits import TraitSender   # NAME:value, NAME:click; by traitlets, ipywidgets

A module whose library is not installed raises `ImportError`, with what to install. All take ``name``, the
first part of the identifier, and ``bus``, the default bus unless given.
"""
