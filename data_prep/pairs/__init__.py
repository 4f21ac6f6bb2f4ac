"""Images, labels and captions from folders into the pairs store that ``medvlp.data.pairs`` reads.

Lives here: sources, splits, semantic groups, template captions, the ``prepare`` job. Not here: the store's reader.
"""
