"""Stage 1 judged: do names never seen in training find their concept, and does the hierarchy help?

Floors (character 3-grams, the start encoder), one training arm per kind of knowledge, and the rewired control.
Run it with ``python -m benchmarks.names``.
"""
