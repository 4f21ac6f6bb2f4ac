"""Leak guards: what a training set and a test set share, and which encoders are known to have seen a data set.

Lives here: near-duplicate images, shared cases and captions, the table of stated training sources, one report line.
Not here: making splits (``data_prep.pairs``), scores, shifted images (``medvlp.data.shifts``).
"""
