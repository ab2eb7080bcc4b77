"""The hub of a machine: the router, and the process that runs it.

``router`` passes messages and questions on between the nodes of each room; ``gathering`` and ``roster`` let a
hub take the place of a killed one without loss; ``process`` runs it until it is idle or a signal comes.
"""
