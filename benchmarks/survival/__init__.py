"""Survival judged: do genes, or vectors of slides and genes, tell more than age and stage on published folds?

Cohorts x endpoints x models on the same cases, with floors, controls, intervals and paired differences.
Run it with ``python -m benchmarks.survival``.
"""
