"""Jobs over many whole-slide images: tissue, tiles and their vectors for each slide of a list, resumable.

``planted*`` makes slides with tumour of known place. Not here: one slide (``medvlp.slides``), what is done with the
vectors (``medvlp.fusion``, ``medvlp.zeroshot``).
"""
