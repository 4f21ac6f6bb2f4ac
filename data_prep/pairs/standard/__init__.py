"""Adapters of the field's standard sets: the true layout, the published counts, and what a copy lacks."""
