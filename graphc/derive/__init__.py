"""Derivatives and other transforms: graph in, more graph out."""
