"""How to open an export without this library, format by format; a test runs every block of Python.

``THIS_FOLDER`` stands for the export, ``images`` for a list of RGB PIL images, ``texts`` for a list of strings.
"""

from __future__ import annotations

_GUARD = """\
import sys

sys.path.insert(0, "THIS_FOLDER")
import torchvision_guard

torchvision_guard.install()  # only matters beside a CPU build of torch whose torchvision does not load
"""

_SCRIPT = """

`python embed.py REQUEST.json OUT.npz` does it for files and strings, with nothing of medvlp: the request is
`{"images": ["a.png"], "texts": ["..."]}`, and OUT gets `image`, `text` (unit vectors) and `scale`. Texts that are not
plain ASCII are cleaned with `ftfy` first, as in training."""

_OPEN_CLIP = f"""## Loading

With stock open_clip (3.x), in a process that needs nothing else:

```python
{_GUARD}
import open_clip
import torch

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:THIS_FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:THIS_FOLDER")
model.eval()
with torch.no_grad():
    image_BD = model.encode_image(torch.stack([preprocess(image) for image in images]), normalize=True)
    text_MD = model.encode_text(tokenizer(texts), normalize=True)
```
{_SCRIPT}

**After moving or copying the folder** run `medvlp export repoint FOLDER`. open_clip finds a Hugging Face text tower's
configuration through an absolute path in `open_clip_config.json`; that command writes the new one (without medvlp:
set `hf_model_name` and `hf_tokenizer_name` under `text_cfg` to the folder's absolute path)."""

_HF = f"""## Loading

With stock transformers (5.x; timm for timm's networks and for the image processor), no remote code:

```python
{_GUARD}
import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

image_tower = AutoModel.from_pretrained("THIS_FOLDER/image").eval()
text_tower = AutoModel.from_pretrained("THIS_FOLDER/text").eval()
processor = AutoImageProcessor.from_pretrained("THIS_FOLDER/image")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER/text")
heads = load_file("THIS_FOLDER/heads.safetensors")

import embed_towers  # heads.json says the same in words

with torch.no_grad():
    pixels = processor(images, return_tensors="pt")
    image_BI = embed_towers.pooled(image_tower(**pixels), None, "IMAGE_POOLING")
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    text_MI = embed_towers.pooled(text_tower(**tokens), tokens["attention_mask"], "TEXT_POOLING")
    image_BD = embed_towers.project(image_BI, heads, "image")
    text_MD = embed_towers.project(text_MI, heads, "text")
```

A message that `pooler` weights are newly initialized is harmless unless the pooling above is `pooler`.
{_SCRIPT}"""

_TIMM = f"""## Loading

The image tower with stock timm; transformers' `AutoModel` and `AutoImageProcessor` read the same folder:

```python
{_GUARD}
import timm
import torch
from safetensors.torch import load_file

model = timm.create_model("local-dir:THIS_FOLDER", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)

import embed_towers  # the projection behind the tower, in heads.safetensors; heads.json says it in words

with torch.no_grad():
    image_BI = model(torch.stack([transform(image) for image in images]))
    image_BD = embed_towers.project(image_BI, load_file("THIS_FOLDER/heads.safetensors"), "image")
```
{_SCRIPT}"""

_ONNX = f"""## Loading

With onnxruntime, tokenizers, numpy and Pillow; no torch. Batch size and text length are dynamic (of an open_clip text
tower the batch size only):

```python
import json
import sys
from pathlib import Path

sys.path.insert(0, "THIS_FOLDER")
import embed
import embed_parts
import numpy as np
import onnxruntime

folder = Path("THIS_FOLDER")
settings = json.loads((folder / "preprocess.json").read_text())
pixels_BCHW = np.stack([embed_parts.preprocess(image, settings["image"]) for image in images])
image_graph = onnxruntime.InferenceSession(folder / "image.onnx")
image_BD = image_graph.run(None, {{"image_BCHW": pixels_BCHW}})[0]
text_graph = onnxruntime.InferenceSession(folder / "text.onnx")
names = [entry.name for entry in text_graph.get_inputs()]
text_MD = text_graph.run(None, dict(zip(names, embed.tokenise(folder, texts, settings["text"]))))[0]
```
{_SCRIPT}"""

_SAFETENSORS = f"""## Loading

```python
import medvlp

model = medvlp.load("THIS_FOLDER")
image_BD = model.encode_image(images)
text_MD = model.encode_text(texts)
```

`model.safetensors` holds the weights, `model.json` the architecture, `preprocess.json` the image settings, and
`manifest.json` the sha256 of every file, which is checked on loading.
{_SCRIPT}"""

LOADING = {"open_clip": _OPEN_CLIP, "hf": _HF, "timm": _TIMM, "onnx": _ONNX, "safetensors": _SAFETENSORS}
"""The card's section for each format."""
