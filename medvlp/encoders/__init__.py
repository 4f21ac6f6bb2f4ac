"""Image and text towers, projection heads, tokenisation and published weights.

Lives here: what turns one batch of pixels or token ids into one vector each.
Not here: the pairing of two towers (``medvlp.model``), losses, and anything that trains.
"""
