"""What is known of the vectors that other software stores: do they lie in the space shared with text?

Zero-shot answers on vectors from before the projection look like answers and mean nothing, so this is asked of every
file. Sources: ``trident/patch_encoder_models/load.py`` of TRIDENT (which arguments each encoder is called with) and the
papers of the encoders.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderFacts:
    """What is known of one encoder's stored vectors.

    Attributes:
        projected: They lie in the space shared with text.
        normalised: They have unit length; None if unknown.
        width: Their width; None if unknown.
        reason: Why they cannot be compared with texts; empty if they can.
        certain: The encoder has no text side at all, so no other word of the caller counts.
    """

    projected: bool
    normalised: bool | None
    width: int | None
    reason: str = ""
    certain: bool = False


_TRIDENT = {
    "keep": EncoderFacts(True, True, 768),
    "conch_v1": EncoderFacts(
        False, None, 512, "TRIDENT stores CONCH before its projection, unless it was called with with_proj=True"
    ),
    "musk": EncoderFacts(
        False, None, 1024, "TRIDENT stores MUSK before its projection, unless it was called with with_proj=True"
    ),
}
_NO_TEXT = (
    "uni",
    "conch_v15",
    "conch1_5",
    "conchv1_5",
    "ctranspath",
    "gigapath",
    "prov-gigapath",
    "virchow",
    "hoptimus",
    "h-optimus",
    "h0-mini",
    "phikon",
    "hibou",
    "kaiko",
    "lunit",
    "gpfm",
    "dino",
    "resnet",
    "mstar",
)
_WIDTHS = {
    "uni_v1": 1024,
    "uni_v2": 1536,
    "conch_v15": 768,
    "gigapath": 1536,
    "mstar": 1024,
}


def encoder_facts(encoder: str | None, producer: str) -> EncoderFacts | None:
    """Return what is known of an encoder's vectors in files of a producer, or None if nothing is."""
    if encoder is None or producer == "medvlp":
        return None
    name = encoder.strip().casefold()
    if producer == "trident" and name in _TRIDENT:
        return _TRIDENT[name]
    if producer in ("keep", "pathpt") and name == "keep":
        return EncoderFacts(True, None, 768)
    if name.startswith(_NO_TEXT) and not name.startswith("unimed"):
        return EncoderFacts(False, None, _WIDTHS.get(name), f"the encoder {name} was never trained with text", True)
    return None
