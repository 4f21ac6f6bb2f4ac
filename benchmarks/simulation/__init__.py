"""Alignment judged on simulated radiographs, where the truth is exact, beside organ masks alone and shuffled texts.

Lives here: the two controls, the three trainings, scores on held-out scenes, combinations, sides, findings and
names, and their page. Not here: rendering (``data_prep.simulation``). Run it with ``python -m benchmarks.simulation``.
"""
