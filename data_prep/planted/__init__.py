"""Whole slides composed of small real images, with tumour planted at known places: the job, its parts, the reader.

Not here: reading slides (``medvlp.slides``), embedding them (``data_prep.slides``), scores (``benchmarks.slides``).
"""
