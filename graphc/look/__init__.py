"""Looking inside: one example seen through a graph, and its drawing."""
