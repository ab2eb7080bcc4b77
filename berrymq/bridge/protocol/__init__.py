"""The link protocol without any input or output.

Bytes go in; events and bytes come out; time comes from a clock that is handed in. Servers, clients, hubs
and tests share these modules: ``jsonrpc`` (the envelope), ``frames`` (what travels on a link), ``connection``
(HTTP and WebSocket), ``stream`` (numbering, acknowledging, resuming), ``handshake`` and ``limits``.
"""
