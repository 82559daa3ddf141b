"""What every protocol must do, whoever wrote it: this file tests a new one the moment its file exists."""

import dataclasses
from dataclasses import fields

import numpy as np
import pytest
from preparations import alone, foreign, prepared

from v1builder.measures import MEASURES
from v1builder.protocols import PROTOCOLS, protocol_named
from v1builder.schema.errors import ConfigError

#: Settings with which a protocol takes no time.
QUICK = {
    "n_pairs": 2, "warm_up_ms": 20.0, "transient_ms": 10.0, "duration_ms": 100.0, "part_ms": 50.0,
    "n_sequences": 2, "n_values": 220, "hold_ms": 2.0, "max_delay": 5, "n_inputs": 4, "n_rows": 2,
    "n_seconds": 1, "n_segments": 1, "segment_ms": 200.0,
}  # fmt: skip
#: A network of each kind of cells; the smooth ones differentiate every step.
KINDS = {
    "glif": (lambda: foreign(plasticity=True), {}),
    "glifr": (lambda: foreign(plasticity=True), {"neuron": "glifr", "sigma_V": 5.0}),
    "without edges": (lambda: alone(12, bias=250.0), {}),
}


@pytest.fixture(params=list(PROTOCOLS.values()), ids=list(PROTOCOLS))
def kind(request):
    return request.param


@pytest.fixture
def protocol(kind):
    return kind(**{f.name: QUICK[f.name] for f in fields(kind) if f.name in QUICK})


def test_it_says_what_it_is(kind):
    assert kind.name.isidentifier()
    assert (kind.__doc__ or "").strip()
    assert kind.gives
    assert all(name.isidentifier() and unit.strip() for name, unit in kind.gives.items())
    assert not set(kind.gives) & set(MEASURES)
    others = [one for one in PROTOCOLS.values() if one is not kind]
    assert not any(set(kind.gives) & set(one.gives) for one in others)
    assert all(f.default is not dataclasses.MISSING for f in fields(kind))


@pytest.mark.parametrize("cells", KINDS)
def test_one_value_or_one_reason_for_every_row(protocol, cells):
    network, options = KINDS[cells]
    preparation = prepared(network(), **options)
    rows = list(protocol.run(preparation))
    assert {row.measure for row in rows} == set(protocol.gives)
    for row in rows:
        assert row.unit == protocol.gives[row.measure]
        assert np.isfinite(row.value) == (row.reason == "")
        assert (row.n > 0) == (row.reason == "")
        assert row.window
    keys = [(r.measure, r.window, r.level, r.group) for r in rows]
    assert len(set(keys)) == len(keys)


def test_the_same_again_and_nothing_is_learned_or_left(protocol):
    preparation = prepared(foreign())
    before = {name: value.clone() for name, value in preparation.model.state_dict().items()}
    one, two = ([r.record() for r in protocol.run(preparation)] for _ in range(2))
    assert one == two
    assert all(
        (preparation.model.state_dict()[name] == value).all() for name, value in before.items()
    )


def test_an_unknown_protocol_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'memory_capacity'"):
        protocol_named("memory_capcity")
