"""Models of any writer, read node by node as graphc's operations."""
