"""Finding, trusting and starting the nodes of one user on one machine.

``endpoint`` parses addresses; ``runtime_directory``, ``file_lock``, ``connection_info`` and
``connection_file`` store where nodes listen, and their access tokens, in files that their user alone can
read; ``finding`` yields where a node may be; ``starting`` starts the hub; ``naming`` names this process.
"""
