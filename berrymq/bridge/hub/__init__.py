"""The hub of a machine: the router, and the process that runs it."""
