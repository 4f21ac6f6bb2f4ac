"""mSTAR's two stages on cases whose slides and reports are a stated function of their real gene expression.

Lives here: that function, the cases made by it, the arms that train on them, retrieval between modalities on held-out
cases, the tile encoder before and after stage 2, and their tables. Not here: losses, models, training. Run it with
``python -m benchmarks.mstar``.
"""
