"""Moving the bytes: an I/O loop, sockets on it, TLS, and dialling."""
