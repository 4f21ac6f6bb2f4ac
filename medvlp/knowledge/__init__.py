"""What the library knows about diseases, held in memory.

Lives here: the graph of concepts (names, definitions, hierarchy), its splits and its KEEP-format file.
Not here: reading ontologies and merging them into a store (``data_prep.ontologies``).
"""
