"""A process on the network: its links, what is followed over them, and the routing of messages.

A message that is published here goes from the bus to the `Node`, through its ``outbox`` to the stream of each
`Peer` whose ``interests`` match, and over the peer's channel (``berrymq.bridge.transport``). One that arrives
is checked (``validation``), recognised if it came before (``duplicates``, ``inbox``), and passed to the bus,
to be delivered. A ``router`` is what nodes and hubs have in common; ``connector`` keeps a link connected;
``questions``, ``question_router`` and ``answers`` serve `ask`.

One lock for each router guards peers, rooms, interests and questions. "The lock is held" in a docstring means
that the caller holds it.
"""
