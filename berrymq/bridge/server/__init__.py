"""The listening side: authentication, the wire methods, and WebSockets that become links."""
