"""Alignment judged where the truth is exact: simulated radiographs, against a model that sees organ masks and shuffled texts.

Lives here: the two controls, the three trainings, scores on held-out scenes, combinations, sides, findings and
names, and their page. Not here: rendering (``data_prep.simulation``). Run it with ``python -m benchmarks.simulation``.
"""
