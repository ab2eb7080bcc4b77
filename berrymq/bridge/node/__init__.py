"""A process on the network: who is linked to it, who follows what there, and what passes."""
