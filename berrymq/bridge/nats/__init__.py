"""NATS as the transport of links: a node or a hub reaches those on other machines over a NATS server.

- ``address.py``: what a ``nats://`` URL says; secrets stay in it.
- ``asyncio_loop.py``: the event loop of nats-py, run by the I/O thread.
- ``client.py``: one connection to NATS; ``direct_client.py``, ``socket_transport.py``: nats-py's client and
  its transport, with a short way for messages.
- ``wire.py``: what is published, as bytes.
- ``channel.py``: the connection of two nodes over NATS.
- ``mesh.py``: the nodes in a room find each other, and each pair keeps a stream; ``publisher.py``: publishes
  what they send each other.
- ``jetstream.py``: the calls of JetStream; ``records.py``: which messages of a room are stored there;
  ``recorder.py``: stores them; ``blobs.py``: a message as it is stored.
- ``history.py``: reads what is kept; ``jobs.py``, ``job_queue.py``: shared and durable queues;
  ``own_queues.py``: those of a process that has no hub.
- ``connector.py``: the link of a process; ``upstream.py``: the links of a hub.

NATS alone delivers at most once. So every pair of nodes in a room keeps the same reliable stream as the two
ends of a WebSocket (``protocol/``): numbered, acknowledged, and resumed after a cut of any kind. A message
for several nodes is published once.
"""
