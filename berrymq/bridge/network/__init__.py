"""What a node is made of: who is where and follows what, its neighbours, and the messages on their way."""
