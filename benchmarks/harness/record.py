"""The record of one cell of the grid: what the leaderboard is made of.

``NAME.json`` beside ``NAME.npz``; the second holds ``draws.<metric>`` (S,) of each metric and the predictions. ::

    format      "medvlp-benchmark-record-1"
    digest      of everything the record was made from
    task        name, title, protocol, split, mode, num, num_cases, digest, citation, licence, homepage, defects
    system      name, kind (model | floor), of (the floor's model, or null), title, source, weights_sha256
    variant     name of the prompt variant
    seed        of shots, heads, examples
    prompts     digest, source, num; or null
    metrics     [{name, title, value, low, high, n, num_cases, higher_is_better, unit, chance, reason}]
    details     sections of JSON: per class, curves, subgroups, trust, sensitivity
    limits      sentences a reader has to know
    leaks       the leak guard's finding, or null
    skipped     why there is no score, or null
    command     the command line that makes this very record
    seconds, peak_mb, created, versions
"""

from __future__ import annotations

FORMAT = "medvlp-benchmark-record-1"
