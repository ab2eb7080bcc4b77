"""What moves the bytes: an I/O loop, sockets on it, TLS, and listening."""
