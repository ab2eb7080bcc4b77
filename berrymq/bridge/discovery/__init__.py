"""Discovery: how the nodes of one user find each other, and how the hub is started."""
