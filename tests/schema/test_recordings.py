"""Rates of populations from quantiles of recordings, and what stands in for too few of them."""

import numpy as np
import pandas as pd
import pytest

from v1builder import curate
from v1builder.schema.errors import DataError, NetworkError
from v1builder.schema.recordings import MIN_UNITS, QUANTILES, recorded

RATE = "spontaneous_rate_Hz"


def table(**units):
    """Rows whose distribution is uniform on [0, 1] above the row's number, in Hz."""
    rows = [
        {"cell_type": name, "metric": RATE, "n_units": n}
        | {key: index + at for key, at in QUANTILES.items()}
        for index, (name, n) in enumerate(units.items())
    ]
    return pd.DataFrame(rows)


def test_enough_units_stand_for_themselves():
    found = recorded(table(**{"L2/3 PV": 20, "L4 PV": 30}), "i4Pvalb", RATE)
    assert (found.cell_types, found.n_units) == (("L4 PV",), 30)
    # 1 + quantile between 5 and 95 %, held beyond
    np.testing.assert_allclose(found.sample(4), [1.125, 1.375, 1.625, 1.875])
    np.testing.assert_allclose(found.sample(20)[[0, -1]], [1.05, 1.95])


@pytest.mark.parametrize("missing", [False, True])
def test_too_few_or_no_units_are_pooled_over_layers_by_their_number(missing):
    rows = {"L2/3 VIP": 30, "L5 VIP": 10} | ({} if missing else {"L4 VIP": MIN_UNITS - 1})
    found = recorded(table(**rows, **{"L4 PV": 99}), "i4Vip", RATE)
    assert found.cell_types == tuple(rows)
    assert found.n_units == sum(rows.values())
    if missing:  # 30 of 40 units lie in [0, 1], the others in [1, 2]
        sample = found.sample(4000)
        assert np.mean(sample < 1) == pytest.approx(0.75, abs=0.005)
        assert np.median(sample) == pytest.approx(2 / 3, abs=0.03)
        assert sample.mean() == pytest.approx(0.75, abs=0.01)


def test_no_recordings_of_the_class_or_no_class():
    with pytest.raises(DataError, match="class of population i4Vip"):
        recorded(table(**{"L4 PV": 20}), "i4Vip", RATE)
    with pytest.raises(NetworkError, match="CA1"):
        recorded(table(**{"L4 PV": 20}), "CA1", RATE)


def test_the_published_table_pools_vip_cells_and_sst_cells_of_layer_4():
    reference = curate.read_store().neuropixels_reference
    names = curate.read_store().populations["population"]
    pooled = {name for name in names if len(recorded(reference, name, RATE).cell_types) > 1}
    assert pooled == {"i23Vip", "i4Vip", "i5Vip", "i6Vip", "i4Sst"}
