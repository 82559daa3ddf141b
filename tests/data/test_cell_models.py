"""The selection rule gives the published cell models; the rest is borrowed, and says so."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from v1builder.curate import SelectionRule, Store, cell_models, read_store, select_cell_models
from v1builder.schema.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def store() -> Store:
    return read_store()


@pytest.fixture(scope="module")
def models(store: Store) -> pd.DataFrame:
    return cell_models(store)


def of(frame: pd.DataFrame, population: str) -> set[int]:
    return set(frame.loc[frame["population"] == population, "specimen_id"])


def with_cell(store: Store, table: str, row: int, **values: Any) -> Store:
    frame = getattr(store, table).copy()
    for name, value in values.items():
        frame.loc[frame.index[row], name] = value
    return dataclasses.replace(store, **{table: frame})


def test_selection_gives_the_published_models_population_by_population(store: Store) -> None:
    selected = select_cell_models(store)
    published = store.population_cell_models[store.population_cell_models["in_glif_models"]]
    for population in store.populations["population"]:
        assert of(selected, population) == of(published, population), population
    assert len(selected) == len(published) == 165


def test_published_numbers_per_population(store: Store) -> None:
    assert Counter(select_cell_models(store)["population"]) == {
        "i1Htr3a": 3,
        "e23Cux2": 7,
        "i23Vip": 7,
        "i23Pvalb": 10,
        "i23Sst": 6,
        "e4Nr5a1": 13,
        "e4Rorb": 21,
        "e4Scnn1a": 5,
        "i4Vip": 4,
        "i4Pvalb": 7,
        "i4Sst": 5,
        "e5IT": 4,
        "e5ET": 3,
        "e5NP": 8,
        "i5Pvalb": 12,
        "i5Sst": 20,
        "e6Ntsr1": 23,
        "i6Pvalb": 2,
        "i6Sst": 5,
    }


def test_in_glif_models_says_whether_a_glif3_model_is_there(store: Store) -> None:
    level3 = store.glif_models[store.glif_models["glif_level"] == 3]
    published = store.population_cell_models
    there = published["specimen_id"].isin(level3["specimen_id"])
    assert (there == published["in_glif_models"]).all()


def test_layer_6_is_6a(store: Store) -> None:
    """Why the rule leaves 6b out: no published model is from there, and one specimen would qualify."""
    published = store.population_cell_models.merge(store.specimens, on="specimen_id")
    deep = published[published["population"].isin(["e6Ntsr1", "i6Vip", "i6Pvalb", "i6Sst"])]
    assert (len(deep), set(deep["layer"])) == (37, {"6a"})
    layers = SelectionRule().layers | {"VisL6": ("6a", "6b")}
    wider = select_cell_models(store, SelectionRule(layers=layers))
    assert set(wider["specimen_id"]) - set(select_cell_models(store)["specimen_id"]) == {522147522}


def test_thresholds_are_arguments(store: Store) -> None:
    strict = select_cell_models(store, SelectionRule(explained_variance_min=0.9))
    kept = set(strict["specimen_id"])
    level3 = store.glif_models[store.glif_models["glif_level"] == 3].set_index("specimen_id")
    explained = level3.loc[select_cell_models(store)["specimen_id"], "explained_variance_noise2"]
    assert kept == set(explained.index[explained > 0.9])
    assert 0 < len(kept) < 165
    assert select_cell_models(store, SelectionRule(area="VISl"))["population"].nunique() < 22


def test_excluded_specimens_are_left_out(store: Store) -> None:
    everyone = dataclasses.replace(store, specimens=store.specimens.assign(excluded_because=None))
    more = set(select_cell_models(everyone)["specimen_id"])
    excluded = set(store.specimens.dropna(subset=["excluded_because"])["specimen_id"])
    assert more & excluded
    assert not set(select_cell_models(store)["specimen_id"]) & excluded


def test_one_row_per_population_and_model_in_the_order_of_the_populations(
    store: Store, models: pd.DataFrame
) -> None:
    assert len(models) == 165 + 39 + 11 + 11
    assert not models.duplicated(["population", "specimen_id"]).any()
    assert list(dict.fromkeys(models["population"])) == list(store.populations["population"])


@pytest.mark.parametrize(
    ("population", "lenders", "number"),
    [
        ("e4other", ["e4Nr5a1", "e4Rorb", "e4Scnn1a"], 39),
        ("i5Vip", ["i23Vip", "i4Vip"], 11),
        ("i6Vip", ["i23Vip", "i4Vip"], 11),
    ],
)
def test_empty_populations_borrow(
    models: pd.DataFrame, population: str, lenders: list[str], number: int
) -> None:
    rows = models[models["population"] == population]
    assert len(rows) == number
    for lender in lenders:
        lent = rows[rows["borrowed_from"] == lender].set_index("specimen_id")
        own = models[models["population"] == lender].set_index("specimen_id")
        assert set(lent.index) == set(own.index)
        same = lent.drop(columns=["population", "borrowed_from", "bkg_weight_source"])
        pd.testing.assert_frame_equal(same, own.loc[lent.index, same.columns])
        assert set(lent["bkg_weight_source"]) == {f"borrowed from {lender}"}


def test_only_empty_populations_borrow(models: pd.DataFrame) -> None:
    borrowing = models[models["borrowed_from"] != ""]
    assert set(borrowing["population"]) == {"e4other", "i5Vip", "i6Vip"}
    own = models[models["borrowed_from"] == ""]
    assert set(own["bkg_weight_source"]) == {"published"}


def test_background_weight_is_the_published_one(store: Store, models: pd.DataFrame) -> None:
    published = store.population_cell_models.set_index("specimen_id")["bkg_syn_weight_pA"]
    assert (models["bkg_weight"].to_numpy() == published[models["specimen_id"]].to_numpy()).all()


def test_unpublished_model_takes_the_median_weight_of_its_population(store: Store) -> None:
    layers = SelectionRule().layers | {"VisL6": ("6a", "6b")}
    models = cell_models(store, SelectionRule(layers=layers)).set_index("specimen_id")
    published = store.population_cell_models
    weights = published.loc[published["population"] == "e6Ntsr1", "bkg_syn_weight_pA"]
    assert models.loc[522147522, "bkg_weight"] == np.median(weights)
    assert models.loc[522147522, "bkg_weight_source"] == "median of e6Ntsr1"


def test_parameters_equal_a_raw_model_file_converted_here(models: pd.DataFrame) -> None:
    """Specimen 485058595 from the raw file of its GLIF3 model, number 485904755, in SI units.

    The raw values are those that the Allen Cell Types Database publishes as neuron_config.json.
    """
    El_reference, El, C, R_input = (
        -0.06757196807861325,
        0.0,
        6.284547467674679e-11,
        397794211.8275731,
    )
    th_inf, coeff_th_inf = 0.023176394165710303, 1.2032700095813706
    (row,) = models[models["specimen_id"] == 485058595].to_dict("records")
    expected = {
        "C_m": C * 1e12,
        "g": 1e9 / R_input,
        "E_L": (El_reference + El) * 1e3,
        "V_th": (El_reference + coeff_th_inf * th_inf) * 1e3,
        "V_reset": El_reference * 1e3,
        "t_ref": 43 * 0.05,
        "asc_amps_0": -1.3749503110227912e-10 * 1e12,
        "asc_amps_1": 4.725552702973892e-10 * 1e12,
        "asc_decay_0": 1e-3 / 0.01,
        "asc_decay_1": 1e-3 / 0.0033333333333333335,
        "asc_r_0": 1.0,
        "asc_r_1": 1.0,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-9), name  # the table has 10 digits
    assert row["population"] == "i5Sst"


def test_decay_is_a_rate_of_the_five_fitted_ones(models: pd.DataFrame) -> None:
    """Teeter et al. 2018: after-spike currents decay at two of 3, 10, 30, 100, 300 per second."""
    rates = models[["asc_decay_0", "asc_decay_1"]].to_numpy()
    nearest = np.array([0.003, 0.01, 0.03, 0.1, 0.3])
    assert np.abs(rates[..., None] / nearest - 1).min(axis=-1).max() < 1e-9


def test_models_agree_with_what_was_measured_in_the_cell(
    store: Store, models: pd.DataFrame
) -> None:
    """Resting potential of fit and recording of the same cell: a unit or row mixed up would show."""
    own = models[models["borrowed_from"] == ""].merge(store.specimens, on="specimen_id")
    assert np.abs(own["E_L"] - own["v_rest_mV"]).median() < 1
    ratio = (own["C_m"] / own["g"]) / own["tau_ms"]
    assert 0.8 < ratio.median() < 1.25
    assert ((own["V_th"] > own["E_L"]) & (own["V_th"] < 0)).all()


def test_missing_parameter_names_the_model(store: Store) -> None:
    glif = store.glif_models
    row = int(np.flatnonzero((glif["specimen_id"] == 485058595) & (glif["glif_level"] == 3))[0])
    with pytest.raises(DataError) as caught:
        cell_models(with_cell(store, "glif_models", row, asc_tau_1_ms=np.nan))
    assert "specimen 485058595" in str(caught.value)
    assert "asc_decay_1" in str(caught.value)


@pytest.mark.parametrize("level", [1, 4, 5])
def test_models_of_other_levels(store: Store, level: int) -> None:
    """Each with the mechanisms of its level and no other, rates per ms, the reset from E_L."""
    models = cell_models(store, SelectionRule(glif_level=level))
    assert models["population"].nunique() == 22
    has_currents, has_reset, follows = level > 1, level > 1, level == 5
    assert (models[["asc_amps_0", "asc_amps_1"]].any(axis=None)) == has_currents
    assert (models["th_spike_add"] > 0).all() == has_reset
    assert (models["th_voltage_decay"] > 0).all() == follows
    assert models["voltage_reset_fraction"].between(0, 1).all()
    model = models.iloc[0]
    glif = store.glif_models
    row = glif[(glif["specimen_id"] == model["specimen_id"]) & (glif["glif_level"] == level)]
    fact = row.iloc[0]
    if has_reset:
        assert model["V_reset"] == fact["E_L_mV"] + fact["v_reset_add_mV"]
        assert model["th_spike_decay"] == fact["th_spike_decay_per_s"] / 1000
    else:
        assert model["V_reset"] == fact["V_reset_mV"]
    assert model["th_voltage_index"] == (fact["th_voltage_index_per_s"] / 1000 if follows else 0)


def test_a_level_with_too_few_models_says_which_populations(store: Store) -> None:
    with pytest.raises(DataError) as caught:
        cell_models(store, SelectionRule(glif_level=2))
    (problem,) = caught.value.problems
    assert "populations have no cell model" in problem.what
    assert "GLIF level 2" in problem.where
    assert "i23Vip" in problem.got


def test_population_without_models(store: Store) -> None:
    with pytest.raises(DataError) as caught:
        cell_models(store, SelectionRule(borrow={"e4other": ("e4Rorb",)}))
    (problem,) = caught.value.problems
    assert (problem.what, problem.got) == ("2 populations have no cell model", "i5Vip, i6Vip")


def test_layer_4_alone(store: Store) -> None:
    """Other populations need no layers, and still lend: i6Vip has the models it has in a whole column."""
    rule = SelectionRule(populations=("?4*",), layers={"VisL4": ("4",)})
    models = cell_models(store, rule)
    whole = cell_models(store)
    of_layer = whole[whole["population"].str[1] == "4"]
    assert of_layer["population"].nunique() == 7
    pd.testing.assert_frame_equal(models, of_layer.reset_index(drop=True))
    lent = cell_models(store, SelectionRule(populations=("i6Vip",)))
    assert set(lent["borrowed_from"]) == {"i23Vip", "i4Vip"}
    assert len(lent) == 11


def test_another_area_with_the_first_as_fallback(store: Store) -> None:
    """A population with VISl models has these alone; the others say where theirs are from."""
    rule = SelectionRule(area="VISl", fallback_areas=("VISp",))
    models = cell_models(store, rule)
    area = store.specimens.set_index("specimen_id")["area"]
    assert models["population"].nunique() == 22
    own = models[models["borrowed_from"] == ""]
    assert set(own["population"]) == {
        "i23Vip", "e4Scnn1a", "i4Pvalb", "i4Sst", "e5ET", "i5Pvalb", "i5Sst",
    }  # fmt: skip
    assert set(area[own["specimen_id"]]) == {"VISl"}
    assert set(own["bkg_weight_source"].str.split().str[:2].str.join(" ")) == {"median of"}
    elsewhere = models[models["borrowed_from"] == "VISp"]
    assert set(area[elsewhere["specimen_id"]]) == {"VISp"}
    assert set(elsewhere["bkg_weight_source"]) == {"published"}
    assert not set(own["population"]) & set(elsewhere["population"])


@pytest.mark.parametrize(
    ("rule", "nearest"),
    [
        (SelectionRule(area="visl"), "did you mean 'VISl'"),
        (SelectionRule(fallback_areas=("Visp",)), "did you mean 'VISp'"),
        (SelectionRule(populations=("e4rorb",)), "did you mean 'e4Rorb'"),
        (SelectionRule(populations=("L4*",)), "choose one of: i1Htr3a"),
    ],
)
def test_a_name_that_does_not_exist_is_one_error(
    store: Store, rule: SelectionRule, nearest: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        cell_models(store, rule)
    (problem,) = caught.value.problems
    assert nearest in problem.fix


def test_borrowing_from_an_unknown_population(store: Store) -> None:
    with pytest.raises(ConfigError) as caught:
        cell_models(store, SelectionRule(borrow={"e4other": ("e4Rorbb",)}))
    assert "did you mean 'e4Rorb'?" in str(caught.value)


def test_location_without_layers(store: Store) -> None:
    with pytest.raises(DataError) as caught:
        select_cell_models(store, SelectionRule(layers={"VisL4": ("4",)}))
    assert "no layer for 'VisL1'" in str(caught.value)


def test_specimen_that_fits_two_populations(store: Store) -> None:
    row = list(store.populations["population"]).index("e4Nr5a1")
    both = with_cell(store, "populations", row, select_cre_lines="Nr5a1,Scnn1a")
    with pytest.raises(DataError, match="fits more than one population") as caught:
        select_cell_models(both)
    assert len(caught.value.problems) == 5
    assert "e4Nr5a1, e4Scnn1a" in str(caught.value)
