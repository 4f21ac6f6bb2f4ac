"""A UMLS Metathesaurus release (a folder of RRF files) made into the graph store, in bounded memory.

Lives here: layouts, the block reader, one file per RRF table, the synthetic release of the tests and benchmarks.
Not here: joining the result with other ontologies (``data_prep.ontologies.build`` reads the store as a source).
"""
