"""Fine-tuning judged: does an aligned export start better than the encoder it was made from?

Methods x starts x sets on the same images, with seeds, intervals, paired differences and floors.
Run it with ``python -m benchmarks.finetune``.
"""
