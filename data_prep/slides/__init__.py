"""Jobs over many whole-slide images: tissue, tiles and their vectors for each slide of a list, resumable.

Not here: one slide (``medvlp.slides``), what is done with the vectors (``medvlp.fusion``, ``medvlp.zeroshot``), slides
with planted tumour (``data_prep.planted``).
"""
