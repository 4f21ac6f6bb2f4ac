"""Looking at a diagnosed slide in a browser: a DeepZoom pyramid, the heat map over it, the scores of a tile.

Not here: how tiles are scored (``medvlp.zeroshot``), how slides are read (``medvlp.slides``).
"""
