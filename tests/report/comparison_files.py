"""Comparisons as files, made up: what pages are tested with."""

import dataclasses
import json

import numpy as np
from scipy import stats

from v1builder.experiments.summary import summarise
from v1builder.tasks import Classes

SOURCE = {
    "citation": "Teeter et al. 2018",
    "title": "Cells",
    "url": "https://example.org",
    "version": "live service",
    "retrieved": "2026-01-02",
    "licence": "terms",
    "terms": "https://example.org/terms",
    "references": [{"key": "teeter", "authors": "Teeter, C.", "title": "GLIF", "year": 2018}],
    "tables": {"glif_models": {"references": ["teeter"]}},
}


def point(rate, silent=0.1):
    return {
        "spontaneous_Hz": rate,
        "evoked_Hz": 2 * rate,
        "silent_share": silent,
        "rate_cv": 1.03,
        "top10_share": 0.53,
        "population_Hz": {"e4": rate, "i4Sst": 2 * rate},
        "rate_ratio": {"e4": rate, "i4Sst": 0.8 * rate, "i1Htr3a": None},
        "bias_over_rheobase": {"e4": -0.012, "i4Sst": 0.031},
        "asc_charge": {"e4": -12.0, "i4Sst": -40.0},
    }


def results(effects, seeds=20, invalid=(), **more):
    """Of runs whose differences have a standard deviation of one point; half of no_asc never learn."""
    rng = np.random.default_rng(0)
    quality, made = rng.normal(0.8, 0.03, seeds), []
    for protocol in ("retrain", "frozen"):
        for name, effect in effects.items():
            noise = stats.zscore(rng.normal(size=seeds)) * (0 if name == "intact" else 0.01)
            for seed, accuracy in enumerate(quality + effect + noise, start=1):
                valid = name not in invalid
                run = {
                    "protocol": protocol,
                    "ablation": name,
                    "seed": seed,
                    "accuracy": float(accuracy),
                    "n_trials": 2048,
                    "spikes_per_trial": 100.0,
                    "matching": None,
                    "operating_point": {
                        "before": point(4.5),
                        "after": point(1.0),
                        "trained": point(1.1),
                    },
                    "valid": valid,
                    "invalid_because": [] if valid else ["<60 %> of the cells are silent"],
                    **more,
                }
                if protocol == "retrain" or name == "intact":
                    run |= {
                        "learning_curve": [[0, 0.5], [10, float(accuracy)]],
                        "area_under_curve": float(accuracy) - 0.1,
                        "steps_to_criterion": None if name == "no_asc" and seed % 2 else 10,
                    }
                made.append(run)
    return made


def made_of(cells, **declared):
    return {
        "experiment": {"name": "A <test>", "compare": {"margin": 0.015}},
        "seeds": sorted({cell["seed"] for cell in cells}),
        "scores": [dataclasses.asdict(score) for score in Classes(2).scores],
        "network": {"n_cells": 10, "n_cell_models": 2, "n_edges": 1234},
        "cells": cells,
        **summarise(cells, **declared),
        "sources": [SOURCE],
        "provenance": {"versions": {"python": "3.11"}},
        "rates": [
            {
                "population": p,
                "untrained": 1.0,
                "trained": 2.0,
                "q25": 1.0,
                "median": 2.0,
                "q75": 4.0,
            }
            for p in ("e23Cux2", "i23Pvalb")
        ],
    }


EFFECTS = {"intact": 0.0, "no_asc": -0.2, "mean(ei)": 0.0, "shuffle_within": 0.0}


def write(folder, comparison):
    folder.mkdir()
    (folder / "comparison.json").write_text(json.dumps(comparison))
    np.savez(
        folder / "example_trial.npz",
        spike_time=np.array([1.0, 2.0]),
        spike_cell=np.array([0, 1]),
        stimulus=np.array([1.0, 2.0]),
        x=np.zeros(3),
        y=np.array([-200.0, -400.0, -600.0]),
        ei=np.array(["e", "i", "e"]),
        pop_name=np.array(["e23Cux2", "i4Pvalb", "e5IT"]),
    )
    return folder
