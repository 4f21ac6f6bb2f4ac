"""How a task is put to a system, one file per protocol: zero-shot, retrieval, probes, slides, texts, grounding."""
