"""Radiographs of one real chest CT with planted findings: images with exact triplets, masks, texts and concepts.

Lives here: the anatomy, planting, projection, wording and the ``simulate`` job. Not here: training or scores
(``benchmarks.simulation``).
"""
