"""Executables as programs that run without graphc."""
