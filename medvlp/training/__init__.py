"""Training: one readable recipe per stage (``knowledge``, ``align``) on one small engine (``loop``).

Lives here: recipes, optimisation, checkpoints, logs, text augmentation, cached features.
Not here: losses (``objectives``), models (``model``, ``encoders``), order of data (``data.plan``).
"""
