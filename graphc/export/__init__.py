"""Other forms of executables, which run without graphc."""
