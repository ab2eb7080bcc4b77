"""Moving the bytes: an I/O loop, sockets on it, TLS, and dialling.

``loop`` is the one I/O thread of the process; a ``channel`` moves the bytes of one connection between a
socket and the protocol (``bridge/protocol``), on that thread, on a sender's, or on one that waits for an
answer; ``dialling`` makes connections on a blocking thread; ``budget`` limits the memory of all buffers
together.
"""
