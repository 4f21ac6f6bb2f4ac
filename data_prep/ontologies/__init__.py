"""Ontology files made into the graph store that the library reads.

Lives here: one reader per file format, the merge by cross-reference, the build job and its configuration.
Not here: the graph in memory (``medvlp.knowledge``).
"""
