"""The link protocol without any input or output.

Bytes go in; events and bytes come out; the caller passes the time. Servers, clients, hubs and tests share
these modules: ``jsonrpc`` (the envelope), ``frames`` and ``batches`` (the messages of a link), ``connection``
and ``http_server`` (WebSocket and HTTP), ``reliable_stream`` (numbering, acknowledging, retransmitting after
a cut), ``handshake`` and ``limits``. ``fields`` and ``json_checks`` hold the bounds of what peers send;
``events`` are what a connection reports.

``bridge/WIRE.md`` describes the protocol for those who write a client; a change here is a change there. No
object here is thread-safe: the channel or router that owns it holds a lock.
"""
