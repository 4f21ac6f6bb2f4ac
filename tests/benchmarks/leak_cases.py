"""Made-up textures, their copies and folders of them, for the tests of the leak guards."""

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def texture(seed, side=96):
    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.standard_normal((side, side, 3)), (s, s, 0)) * s for s in (2, 5, 12)]
    values = sum(layers)
    return Image.fromarray(np.uint8(np.clip(130 + 40 * values / values.std(), 0, 255)))


def jpeg(image, quality):
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def cropped(image, share=0.05, x=1.0, y=0.4):
    width, height = (round(side * (1 - share)) for side in image.size)
    left, top = round(x * (image.width - width)), round(y * (image.height - height))
    return image.crop((left, top, left + width, top + height))


def write_images(folder, seeds):
    folder.mkdir()
    for seed in seeds:
        texture(seed, 48).save(folder / f"{seed}.png")
    return folder
