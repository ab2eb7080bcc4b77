"""How nodes of one user find each other: connection files, the environment, Jupyter's variables."""
