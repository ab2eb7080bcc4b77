"""The link protocol without any input or output.

Bytes go in; events and bytes come out; time comes from a clock that is handed in. Servers, clients, hubs
and tests share these modules: ``jsonrpc`` (the envelope), ``frames`` (what travels on a link), ``session``
(one end of a link that outlives its connections) and ``seen`` (which messages were here before).
"""
