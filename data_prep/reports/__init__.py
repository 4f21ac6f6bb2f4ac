"""The job over many reports: tables, folders and archives in, mentions, triplets and the matrix out.

Lives here: sources, the resumable job, the page about its result. Not here: what is done with one text
(``data_prep.text``), taking identifiers out (``data_prep.deid``).
"""
