"""Graph files: executables of one graph, with their state, in one archive."""
