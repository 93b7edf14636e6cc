"""Passes: graph in, graph out."""
from graphc.ir.graph import rebuild
def run(graph, on_stage=None, without=frozenset()):
    return rebuild(graph)
