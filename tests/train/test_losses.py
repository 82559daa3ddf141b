import numpy as np
import pandas as pd
import pytest
import torch

from v1builder.schema.errors import DataError
from v1builder.train.losses import RateTargets, rate_loss, rate_targets, voltage_loss


def targets(population, rates):
    return RateTargets(torch.tensor(population), torch.tensor(rates, dtype=torch.float64))


def test_rate_loss_is_zero_for_the_in_vivo_distribution_in_any_order():
    # 1 s at 1 ms; rates of the two cells of population 0 are 3 and 1 Hz, of population 1 7 Hz.
    spikes = torch.zeros(1, 1000, 3, dtype=torch.float64)
    spikes[0, :3, 0] = 1
    spikes[0, :7, 1] = 1
    spikes[0, :1, 2] = 1
    assert (
        rate_loss(spikes.mean(dim=(0, 1)), targets([0, 1, 0], [1.0, 3.0, 7.0]), dt=1.0).item() == 0
    )


def test_rate_loss_is_the_mean_huber_distance_of_sorted_rates():
    spikes = torch.zeros(2, 500, 2, dtype=torch.float64)
    spikes[:, :4, 0] = 1  # 8 Hz
    loss = rate_loss(spikes.mean(dim=(0, 1)), targets([0, 0], [0.5, 5.0]), dt=1.0)
    assert loss.item() == pytest.approx((0.5 * 0.5**2 + (3.0 - 0.5)) / 2)


def test_rate_loss_pushes_a_silent_cell_up_and_a_fast_one_down():
    spikes = torch.zeros(1, 1000, 2, dtype=torch.float64)
    spikes[0, :50, 1] = 1
    spikes.requires_grad_()
    rate_loss(spikes.mean(dim=(0, 1)), targets([0, 0], [1.0, 10.0]), dt=1.0).backward()
    assert (spikes.grad[..., 0] < 0).all()
    assert (spikes.grad[..., 1] > 0).all()


def test_voltage_loss_counts_only_what_leaves_the_range():
    threshold = torch.tensor([10.0, 20.0])
    drive = torch.tensor([[[5.0, 30.0], [-15.0, -10.0]]])
    assert voltage_loss(drive, threshold).item() == pytest.approx((0.5**2 + 0.5**2) / 4)


def reference(**quantiles):
    row = {"cell_type": "L2/3 Exc", "metric": "mean_rate_Hz", "n_units": 20}
    return pd.DataFrame([row | quantiles])


QUANTILES = {"q05": 1.0, "q25": 2.0, "median": 4.0, "q75": 8.0, "q95": 20.0}


class Cells:
    def __init__(self, names):
        self.cells = self
        self.attributes = {"pop_name": np.array(names)}


def test_rate_targets_follow_the_published_quantiles():
    found = rate_targets(Cells(["e23Cux2"] * 2), reference(**QUANTILES))
    # Two cells stand at the quantiles .25 and .75.
    assert found.sorted_rate.tolist() == [2.0, 8.0]
    found = rate_targets(Cells(["e23Cux2"]), reference(**QUANTILES))
    assert found.sorted_rate.tolist() == [4.0]


def test_a_population_without_in_vivo_rates_is_named():
    with pytest.raises(DataError, match="i5Pvalb"):
        rate_targets(Cells(["e23Cux2", "i5Pvalb"]), reference(**QUANTILES))
