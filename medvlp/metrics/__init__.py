"""Pure numpy metrics, each usable on one sample or on thousands of bootstrap draws at once.

Lives here: classification, score curves, retrieval ranks, hierarchy-aware scores, the bootstrap by case.
Not here: anything that knows a model, a file or a rank; prompts, floors and reports are in ``medvlp.zeroshot``.
"""
