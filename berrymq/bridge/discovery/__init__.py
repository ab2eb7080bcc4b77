"""Where nodes are, and how those of one user find each other and start the hub."""
