"""Reading one text on its way into a store.

Lives here: concept linking (``linking/``), sections, assertion and side (joined in ``mentions``), triplets.
Not here: the job over many reports (``data_prep.reports``), de-identification (``data_prep.deid``), text encoders.
"""

from data_prep.text.linking import Link, link

__all__ = ["Link", "link"]
