"""C libraries: object code for a chosen processor, a header, and an example that trains."""
