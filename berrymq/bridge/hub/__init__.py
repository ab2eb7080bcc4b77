"""The hub of a machine: the router, and the process that runs it.

``router`` passes messages and questions on between the nodes of each room; ``takeover`` and ``roster`` let a
hub take the place of a killed one without loss; ``groups`` holds the shared queues, and ``job_assignment``
decides which member takes a job; ``history`` retains messages; ``process`` runs it all until the hub is idle
or a signal comes.
"""
