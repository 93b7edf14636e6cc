"""Executables: programs with their kernels, and every way to call them."""
