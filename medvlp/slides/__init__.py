"""One whole-slide image: reading, micrometres per pixel, tissue, tile grid, feature files, heat maps.

Not here: jobs over many slides (``data_prep.slides``), slide encoders (``medvlp.fusion``), answers
(``medvlp.zeroshot``).
"""
