"""Every objective under the same conditions: methods × {real, permuted, none} × seeds, one table with floors.

Run it with ``python -m benchmarks.objectives``. Not here: losses, recipes, metrics, maps, swapped captions, all
``medvlp``'s own, and the rendering of scenes (``data_prep.simulation``).
"""
