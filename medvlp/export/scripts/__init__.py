"""Scripts that travel with an export and embed files and strings without this library.

Lives here: ``embed_FORMAT.py`` (copied as ``embed.py``) and the two files they share; verification runs these very
scripts in a process of their own. Not here: anything that imports ``medvlp``.
"""
