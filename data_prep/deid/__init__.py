"""Removing what identifies a person from report text and from DICOM files, before anything is stored.

Lives here: rules for text, the profile of the DICOM standard, pseudonyms, the job behind ``medvlp deid``.
Not here: which texts and files a pairs store is made of (``data_prep.pairs``, which calls this by default).
"""
