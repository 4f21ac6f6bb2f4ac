"""One image, one pair, one batch in memory: reading, preprocessing, augmenting, ordering.

Lives here: ``image``/``dicom`` readers, ``transform``, ``augment``, the ``pairs`` store, batches and plans.
Not here: jobs that turn raw folders into stores (``data_prep``).
"""
