"""Dense inputs are listed spike by spike, in whatever part of memory they lie."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from v1builder.model.backends.cpu.edges import list_spikes

#: Parts of an array [3, 11, unit]: of steps, samples, units, by strides, in another order, repeated.
PARTS = {
    "whole": lambda of: of,
    "steps": lambda of: of[:, 2:9],
    "samples": lambda of: of[1:, 3:],
    "units": lambda of: of[:, :, 1:-1],
    "every second unit": lambda of: of[:, :, ::2],
    "transposed": lambda of: of.transpose(0, 1)[:3, :3],
    "repeated": lambda of: of[:, 5:6].expand(3, 6, of.shape[2]),
}


def by_nonzero(inputs, first_source, n_rows):
    """Start of each row, sources and values, row by row as torch finds them."""
    found, counts = [], []
    for row in range(n_rows):
        counts.append(0)
        for name, first in first_source.items():
            dense = inputs[name].flatten(0, 1)[row]
            at = dense.nonzero()[:, 0]
            found.append((first + at.int(), dense[at].float()))
            counts[-1] += len(at)
    sources, values = (torch.cat(one) for one in zip(*found, strict=True))
    return torch.tensor(np.cumsum([0, *counts])), sources, values


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32, torch.int64])
@pytest.mark.parametrize("part", PARTS)
def test_all_spikes_in_order_with_their_counts(part, dtype):
    generator = torch.Generator().manual_seed(0)
    for n_units in (3, 5, 9, 102, 259):
        shape = 3, 11, n_units
        there = torch.rand(shape, generator=generator) < 0.1
        counts = there * torch.randint(1, 250, shape, generator=generator)
        inputs = {"lgn": PARTS[part](counts.to(dtype))}
        inputs["bkg"] = inputs["lgn"].flip(0)
        n_samples, n_steps, n = inputs["lgn"].shape
        plan = SimpleNamespace(first_source={"lgn": 0, "bkg": n})
        listed = list_spikes(inputs, plan, torch.zeros(n_samples, 4), n_steps)
        expected = by_nonzero(inputs, plan.first_source, n_samples * n_steps)
        for found, wanted in zip(listed, expected, strict=True):
            assert torch.equal(found, wanted.to(found.dtype))
