"""Published weights in: the layouts other projects ship their models in, and embeddings made elsewhere.

Lives here: recognising a layout, naming every tensor of it, saying what was checked; stored embeddings, requests.
Not here: towers (``medvlp.encoders``), this library's checkpoints (``medvlp.model``), writing (``medvlp.export``).
"""

from medvlp.published.embeddings import StoredEmbeddings, save_embeddings
from medvlp.published.opening import import_weights, inspect_weights, open_published
from medvlp.published.report import LoadReport

__all__ = [
    "LoadReport",
    "StoredEmbeddings",
    "import_weights",
    "inspect_weights",
    "open_published",
    "save_embeddings",
]
