"""The small world of ``grid_cases``, made once."""

import pytest
from grid_cases import PROTOCOLS, make_world, written


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def write_grid(world, tmp_path):
    return lambda more=PROTOCOLS: written(world, tmp_path, more)
