"""Many vectors become one: attention over packed bags of tiles, slide encoders.

Not here: towers for single images and texts (``medvlp.encoders``), losses, reading of slides.
"""
