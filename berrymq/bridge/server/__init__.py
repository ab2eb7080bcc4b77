"""The server of a node: connections of other nodes, and of programs that call its methods.

``server`` accepts connections and authenticates nothing itself; a ``conversation`` is one connection, with
its handshake, calls and link; ``methods`` is the table of the wire's methods; ``sessions`` hold the queues of
clients without a link; ``host_and_origin`` checks the headers by which a browser's page is recognised.
"""
