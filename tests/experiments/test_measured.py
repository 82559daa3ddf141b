"""Rows of what was measured in conditions, and their paired differences."""

import numpy as np
import pytest
from scipy import stats

from v1builder.experiments.measured import measured_rows, summarise_measured

SEEDS = (1, 2, 3, 4)


def row(group, value, reason=""):
    return {
        "measure": "mean_rate", "unit": "Hz", "window": "evoked", "level": "population",
        "group": group, "value": value, "n": 7, "reason": reason,
    }  # fmt: skip


def results():
    rng = np.random.default_rng(0)
    base, change = rng.uniform(1, 5, 4), rng.normal(0.5, 0.2, 4)
    made = []
    for i, seed in enumerate(SEEDS):
        for ablation, value in (("intact", base[i]), ("no_asc", base[i] + change[i])):
            rows = [row("e4", value), row("i4", None, "too few cells")]
            if seed != 2:
                rows.append(row("e5", 10 * value))
            made.append(
                {"protocol": "frozen", "ablation": ablation, "seed": seed, "measures": rows}
            )
    return made, base, change


def test_a_table_of_all_rows_is_taken_out_of_the_results():
    made, base, _ = results()
    rows = measured_rows(made)
    assert len(rows) == 2 * (4 * 2 + 3)
    assert not any("measures" in result for result in made)
    intact = rows[(rows["ablation"] == "intact") & (rows["group"] == "e4")]
    assert intact["value"].tolist() == base.tolist()
    assert rows.loc[rows["group"] == "i4", "value"].isna().all()


def test_differences_are_paired_by_seed():
    made, base, change = results()
    found = {(r["ablation"], r["group"]): r for r in summarise_measured(measured_rows(made))}
    one = found["no_asc", "e4"]
    assert one["mean"] == pytest.approx((base + change).mean())
    assert one["difference_mean"] == pytest.approx(change.mean())
    half = stats.t.ppf(0.975, 3) * change.std(ddof=1) / 2
    assert one["difference_high"] - one["difference_mean"] == pytest.approx(half)
    assert (one["n"], one["difference_n"]) == (4, 4)
    assert "difference_mean" not in found["intact", "e4"]
    assert found["no_asc", "e5"]["difference_n"] == 3


def test_what_has_no_value_says_why():
    made, _, _ = results()
    found = {(r["ablation"], r["group"]): r for r in summarise_measured(measured_rows(made))}
    assert found["no_asc", "i4"]["mean"] is None
    assert found["no_asc", "i4"]["reason"] == "too few cells"
    assert found["no_asc", "i4"]["n"] == 0


def test_nothing_measured_is_an_empty_table():
    rows = measured_rows([{"protocol": "frozen", "ablation": "intact", "seed": 1}])
    assert len(rows) == 0
    assert summarise_measured(rows) == []
