"""Jobs over whole slides.

Lives here: slides planted with tumour of known place (``planted*``). Not here: reading one slide (``medvlp.slides``).
"""
