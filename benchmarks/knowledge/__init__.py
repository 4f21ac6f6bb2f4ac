"""Does medical knowledge help zero-shot diagnosis? One table: image sets × arms × seeds, intervals, floors, controls.

Run it with ``python -m benchmarks.knowledge``. Not here: losses, training, metrics, prompts and floors, which are
``medvlp``'s own.
"""
