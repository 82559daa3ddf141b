"""Protocols run on the device of the model: whatever they make lies there, and the numbers are the same.

No GPU is needed: `elsewhere` plays another device and fails where tensors of two devices meet.
"""

from dataclasses import fields

import pytest
import torch
from elsewhere import DEVICE, OtherDevice
from preparations import foreign, prepared
from test_every_protocol import QUICK

from v1builder.protocols import PROTOCOLS, cell_transfer

#: Every operation is some twenty times as slow as on the CPU itself.
SHORT = QUICK | {"segment_ms": 40.0, "duration_ms": 40.0, "part_ms": 20.0, "warm_up_ms": 5.0}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_numbers_of_another_device_are_those_of_the_cpu(kind, monkeypatch):
    monkeypatch.setattr(cell_transfer, "_SEGMENT_MS", 40.0)
    protocol = kind(**{f.name: SHORT[f.name] for f in fields(kind) if f.name in SHORT})
    here = prepared(foreign(plasticity=True), backend="reference")
    expected = [row.record() for row in protocol.run(here)]
    there = prepared(foreign(plasticity=True), backend="reference")
    with OtherDevice():
        there.model.to(DEVICE)
        assert there.device == DEVICE
        assert [row.record() for row in protocol.run(there)] == expected


def test_what_a_gpu_refuses_is_refused():
    with OtherDevice():
        there = torch.arange(3.0).to(DEVICE)
        assert torch.equal((there * there).cpu(), torch.tensor([0.0, 1.0, 4.0]))
        with pytest.raises(RuntimeError, match="tensors on two devices"):
            there + torch.arange(3.0)
        with pytest.raises(RuntimeError, match="a generator on the CPU"):
            torch.rand(3, device=DEVICE, generator=torch.Generator())
        with pytest.raises((RuntimeError, TypeError, NotImplementedError)):
            there.numpy()
