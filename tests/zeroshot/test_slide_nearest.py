"""The nearest prompts of each tile: ranks, short lists, and files that belong to something else."""

import numpy as np
import pytest
import torch

from medvlp.errors import DataError
from medvlp.zeroshot.classifier import unit_vectors
from medvlp.zeroshot.slide_nearest import nearest_prompts, read_nearest, write_nearest


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    tile_ND = unit_vectors(rng.normal(size=(5000, 6)), "tiles")
    prompts_K = [unit_vectors(rng.normal(size=(count, 6)), "prompts") for count in (5, 2)]
    return tile_ND, prompts_K, nearest_prompts(torch.tensor(tile_ND), prompts_K)


def test_every_rank_is_the_next_best(found) -> None:
    tile_ND, prompts_K, nearest = found
    for row in (0, 4095, 4096, 4999):  # on both sides of a block's end
        for k, prompt_PD in enumerate(prompts_K):
            cosines = [float(tile_ND[row] @ vector) for vector in prompt_PD]
            order = sorted(range(len(cosines)), key=lambda number: -cosines[number])[:3]
            assert nearest.prompt_NKR[row, k, : len(order)].tolist() == order
            assert nearest.cosine_NKR[row, k, : len(order)] == pytest.approx([cosines[n] for n in order], abs=1e-6)


def test_a_class_of_two_prompts_leaves_the_third_place_empty(found) -> None:
    _, _, nearest = found
    assert (nearest.prompt_NKR[:, 1, 2] == -1).all()
    assert (nearest.cosine_NKR[:, 1, 2] == 0).all()
    assert (nearest.prompt_NKR[:, 0] >= 0).all()


def test_what_is_written_is_read_and_fits_only_its_own_tiles(found, tmp_path) -> None:
    _, _, nearest = found
    path = tmp_path / "nearest_prompts.safetensors"
    write_nearest(path, nearest)
    again = read_nearest(path, 5000, [5, 2])
    np.testing.assert_array_equal(again.prompt_NKR, nearest.prompt_NKR)
    np.testing.assert_array_equal(again.cosine_NKR, nearest.cosine_NKR)
    for num_tiles, prompts in ((4999, [5, 2]), (5000, [5, 1]), (5000, [5, 2, 2]), (5000, [4, 2])):
        with pytest.raises(DataError, match="belongs to other tiles, classes or prompts"):
            read_nearest(path, num_tiles, prompts)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        read_nearest(path, 5000, [5, 2])
