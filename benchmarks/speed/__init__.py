"""Performance against named alternatives, each doing the same job in the same run. Not here: scores of models."""
