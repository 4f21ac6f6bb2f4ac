"""Real processes under gloo, and what has to be equal there: terms and gradients of all parts together in one."""

import os
import socket
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_in_processes(check, world):
    """Run ``check(rank)``, a function of a module, in each of so many processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_worker, args=(port, world, check), nprocs=world)


def _worker(rank, port, world, check):
    torch.set_num_threads(1)
    address, patience = f"tcp://127.0.0.1:{port}", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world, timeout=patience)
    try:
        check(rank)
        dist.barrier()
    finally:
        dist.destroy_process_group()
    # gloo's threads can outlive the group for a moment; a full interpreter shutdown then aborts a finished process.
    os._exit(0)


def expect_mean_equals(name, here, whole):
    """The mean over ranks of this rank's (terms, gradients) is that of one process holding all rows."""
    (terms, gradients), (expected_terms, expected) = here, whole
    assert terms.keys() == expected_terms.keys()
    assert all(term > 0 for term in expected_terms.values())
    for tensor in (*terms.values(), *gradients.values()):
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()
    for term, value in terms.items():
        torch.testing.assert_close(value, expected_terms[term], msg=lambda text, t=term: f"{name} {t}: {text}")
    assert gradients.keys() == expected.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[key], msg=lambda text, k=key: f"{name} {k}: {text}")
