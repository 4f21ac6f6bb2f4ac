"""Tasks, peers, controls and comparisons: what needs more than one model or a whole data set.

Runs from a checkout. Not here: what works on one item or batch (``medvlp``), and jobs over raw
sources (``data_prep``).
"""
