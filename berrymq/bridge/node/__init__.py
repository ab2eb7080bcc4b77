"""A process on the network: its links, what is followed over them, and the routing of messages."""
