"""The hub of a machine: starting it in a process of its own, and being it."""
