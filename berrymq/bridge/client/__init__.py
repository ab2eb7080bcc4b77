"""The side that dials: connections, links that come back by themselves, queues at other nodes."""
