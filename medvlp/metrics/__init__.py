"""Pure numpy metrics, each usable on one sample or on thousands of bootstrap draws at once.

Lives here: classification, score curves, retrieval ranks, hierarchy-aware scores, answers at an ancestor, calibration,
selective prediction, conformal sets, localisation, survival; subgroups, prompt sensitivity, paired tests and the
bootstrap by case.
Not here: anything that knows a model, a file or a rank; prompts, floors, reports, and what is fitted on development
data are in ``medvlp.zeroshot``.
"""
