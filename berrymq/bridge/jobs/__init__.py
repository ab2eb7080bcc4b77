"""Shared queues where their jobs are assigned: at a hub for its nodes, and at a node on NATS for itself."""
