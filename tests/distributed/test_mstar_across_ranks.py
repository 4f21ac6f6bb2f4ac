"""Real processes (gloo): mSTAR's losses and gradients over two ranks equal one process, gaps and all."""

import socket
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from medvlp.objectives.gather import DistributedGather, LocalGather
from medvlp.objectives.mstar import CaseOutputs, MstarObjective

ROWS, SIZE = 12, 5


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, SIZE) for _ in range(3))
        self.decode = nn.Linear(3, 3)

    def forward(self, cases, tiles):
        parts = [normalize(layer(cases[:, place]), dim=1) for place, layer in enumerate(self.layers)]
        return torch.stack(parts, 1), self.decode(tiles)


def data():
    draw = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 4, (ROWS,), generator=draw)
    present = torch.rand(ROWS, 3, generator=draw) < 0.6
    present[:6, 2] = False  # the first rank has no genes at all
    present[0] = present[7] = True
    return SimpleNamespace(
        cases=torch.randn(ROWS, 3, 4, generator=draw, dtype=torch.float64),
        present_BM=present,
        cancer_B=torch.randint(-1, 3, (ROWS,), generator=draw),
        lengths=lengths,
        tiles=torch.randn(int(lengths.sum()), 3, generator=draw, dtype=torch.float64),
    )


def part(whole, rank, world):
    size = ROWS // world
    rows = slice(rank * size, (rank + 1) * size)
    tiles = whole.tiles.split(whole.lengths.tolist())[rows]
    names = ("cases", "present_BM", "cancer_B", "lengths")
    return SimpleNamespace(tiles=torch.cat(tiles), **{name: getattr(whole, name)[rows] for name in names})


def step(model, batch, gather):
    model.zero_grad()
    embedding, decoded = model(batch.cases, batch.tiles)
    out = CaseOutputs(embedding, 10.0, decoded, batch.tiles, batch.lengths)
    losses = MstarObjective()(out, batch, gather)
    losses.total.backward()
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return losses.total.detach(), {name: p.grad.clone() for name, p in inner.named_parameters()}


def build():
    torch.manual_seed(0)
    return Model().double()


def worker(rank, world, port, results):
    store = dist.TCPStore("127.0.0.1", port, world, rank == 0, timeout=timedelta(seconds=60))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    model = DistributedDataParallel(build())
    loss, gradients = step(model, part(data(), rank, world), DistributedGather())
    dist.all_reduce(loss)
    if rank == 0:
        results.put((float(loss / world), {name: value.tolist() for name, value in gradients.items()}))
        results.close()
        results.join_thread()
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, 3])
def test_loss_and_gradients_equal_one_process(world):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=worker, args=(rank, world, port, results)) for rank in range(world)]
    for process in processes:
        process.start()
    loss, gradients = results.get(timeout=120)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    expected, wanted = step(build(), data(), LocalGather())
    assert loss == pytest.approx(float(expected), abs=1e-6)
    for name, value in wanted.items():
        assert torch.allclose(torch.tensor(gradients[name], dtype=torch.float64), value, atol=1e-6), name
    assert all(value.abs().max() > 0 for value in wanted.values())
