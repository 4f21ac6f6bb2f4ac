"""Text on its way into stores.

Lives here: concept linking (``link``). Not here: tokenisation and text encoders (``medvlp.encoders``).
"""

from data_prep.text.linking import Link, link

__all__ = ["Link", "link"]
