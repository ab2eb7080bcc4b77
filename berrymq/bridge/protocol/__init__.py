"""The link protocol without any input or output.

Bytes go in; events and bytes come out; the caller passes the time. Servers, clients, hubs and tests share
these modules: ``jsonrpc`` (the envelope), ``frames`` and ``batches`` (the messages of a link), ``connection``
and ``http_server`` (WebSocket and HTTP), ``stream`` (numbering, acknowledging, resuming), ``handshake`` and
``limits``.
"""
