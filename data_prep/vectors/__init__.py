"""Vectors of a graph's concepts from its triples, and how well they predict triples held out.

Not here: reading such a folder (``medvlp.knowledge.vectors``), learning with the vectors.
"""
