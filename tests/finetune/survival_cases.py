"""Made-up cases with a known hazard: it doubles (e to the 0.7) with each step of the first column, others are idle."""

import numpy as np

from medvlp.data.survival_table import Fold, SurvivalTable
from medvlp.finetune.survival_features import Block


def made_up(num=200, width=3, seed=0, effect=0.7):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((num, width))
    time = rng.exponential(20, num) * np.exp(-effect * values[:, 0]) + 0.1
    end = rng.uniform(5, 60, num)
    cases = [f"case-{place:03d}" for place in range(num)]
    block = Block("vectors", cases, values, [f"x{column}" for column in range(width)])
    return block, SurvivalTable(cases, np.minimum(time, end), time <= end)


def halves(cases):
    return [Fold("0", cases[::2], cases[1::2]), Fold("1", cases[1::2], cases[::2])]
