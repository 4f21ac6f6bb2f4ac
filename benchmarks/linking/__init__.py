"""How well a linker finds and links mentions: NCBI-disease (spans with MeSH/OMIM ids) and ROCO captions (UMLS CUIs).

Everything is fitted on the training part. Beside the scores: the ceiling of the graph, floors, scispaCy's candidate
generator on the same graph and spans, speed and peak memory. Not here: linking itself (``data_prep.text.linking``).
"""
