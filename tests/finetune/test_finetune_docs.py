"""The fine-tuning page works as written, and stock timm alone fine-tunes our export."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "docs"))


def stock_script():
    from docs_pages import read_blocks

    (block,) = [block for block in read_blocks(ROOT / "docs" / "finetuning.md") if block.path == "finetune_stock.py"]
    return block.text


def test_stock_timm_fine_tunes_our_export(tmp_path):
    from tiny_models import tiny_model, write_bert

    from medvlp.export import export

    model = tiny_model(write_bert(tmp_path / "bert"))
    folder = export(model, "timm", tmp_path / "export")
    rng = np.random.default_rng(0)
    for number, label in enumerate(("blue", "red")):
        (tmp_path / "train" / label).mkdir(parents=True)
        for place in range(6):
            values = rng.integers(0, 60, (64, 64, 3))
            values[..., 2 - 2 * number] += 150
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / "train" / label / f"{place}.png")
    text = stock_script()
    assert len(text.splitlines()) <= 30
    guard = "\nassert not [name for name in sys.modules if name.partition('.')[0] == 'medvlp']\n"
    (tmp_path / "finetune_stock.py").write_text(text + guard, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "finetune_stock.py", str(folder)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert losses[-1] < 0.5 * losses[0]
    tuned = torch.load(tmp_path / "finetuned.pt", weights_only=True)
    ours = model.image.trunk.state_dict()
    assert set(ours) <= set(tuned)
    moved = [name for name in ours if not torch.equal(ours[name], tuned[name])]
    near = max(float((ours[name] - tuned[name]).abs().max()) for name in ours if name.startswith("conv_stem"))
    assert moved
    assert near < 0.01  # it set out from our weights, not from others
