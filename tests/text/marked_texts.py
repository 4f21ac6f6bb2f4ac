"""Sentences with their mentions in square brackets."""

import re


def marked(sentence):
    """Return ``"No [effusion]."`` as its text and the spans of what stood in brackets."""
    text, spans = "", []
    for part in re.split(r"(\[[^\]]*\])", sentence):
        if part.startswith("["):
            spans.append((len(text), len(text) + len(part) - 2))
            part = part[1:-1]
        text += part
    return text, spans
