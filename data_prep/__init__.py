"""Jobs that turn raw sources into the stores the library reads, each with a ledger and a manifest.

Lives here: ontologies, text, pairs, simulation. Not here: anything needed to use a trained model (``medvlp``).
"""
