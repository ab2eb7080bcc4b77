"""The side that listens: who is let in, what can be called, and WebSockets that become links."""
