import json
import re

import numpy as np
import pytest

from v1builder.report import write_report
from v1builder.report.page import headline
from v1builder.schema.errors import NetworkError

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


def estimate(mean, low, high):
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "n": 3,
        "t_interval": [low, high],
        "method": "BCa bootstrap",
        "note": "",
    }


@pytest.fixture
def comparison():
    cells, summary, differences = [], [], []
    for ablation, accuracy in (("intact", 0.9), ("no_asc", 0.7)):
        for seed in (1, 2, 3):
            cells.append(
                {
                    "protocol": "retrain",
                    "ablation": ablation,
                    "seed": seed,
                    "accuracy": accuracy + 0.01 * seed,
                    "learning_curve": [[0, 0.5], [10, accuracy]],
                    "steps_to_criterion": 10 if accuracy > 0.8 else None,
                    "matching": None,
                }
            )
        for metric in ("accuracy", "area_under_curve", "spikes_per_trial"):
            row = {"protocol": "retrain", "ablation": ablation, "metric": metric}
            summary.append(row | estimate(accuracy, accuracy - 0.05, accuracy + 0.05))
    test = {"d_z": -2.0, "p_holm": 0.03, "equivalent": False, "per_seed": [-0.2, -0.1, -0.3]}
    row = {"protocol": "retrain", "ablation": "no_asc", "metric": "accuracy"}
    differences.append(row | estimate(-0.2, -0.25, -0.1) | test)
    return {
        "experiment": {"name": "A <test>", "compare": {"margin": 0.05}},
        "seeds": [1, 2, 3],
        "chance": 0.5,
        "network": {"n_cells": 10, "n_cell_models": 2, "n_edges": 1234},
        "cells": cells,
        "summary": summary,
        "differences": differences,
        "interval_method": "95 % intervals over seeds: BCa bootstrap.",
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


def test_the_page_says_what_came_out(tmp_path, comparison):
    page = write_report(write(tmp_path / "run", comparison)).read_text()
    assert "A &lt;test&gt;" in page
    assert "no_asc, trained after the ablation: lower accuracy than intact (-20.0%" in page
    assert "90.0% of held-out trials" in page
    assert "Teeter et al. 2018" in page
    assert "(live service, taken 2026-01-02; terms)" in page
    assert "taken 2026-01-02" in (tmp_path / "run" / "report" / "CITATIONS.md").read_text()
    assert "@misc{teeter," in (tmp_path / "run" / "report" / "CITATIONS.bib").read_text()
    assert page.count("data:image/png") == 4
    table = (tmp_path / "run" / "report" / "comparison.csv").read_text().splitlines()
    assert len(table) == 1 + 6


def test_a_source_without_a_day(tmp_path, comparison):
    """The tables shipped with the package have none."""
    comparison["sources"] = [{key: SOURCE[key] for key in SOURCE if key != "retrieved"}]
    page = write_report(write(tmp_path / "run", comparison)).read_text()
    assert "(live service; terms)" in page


def test_the_page_needs_nothing_from_outside(tmp_path, comparison):
    page = write_report(write(tmp_path / "run", comparison)).read_text()
    assert not re.findall(r'(?:src|href)=(?!"data:)', page)


def test_a_negative_result_is_said_plainly(comparison):
    comparison["differences"][0].update(estimate(0.01, -0.04, 0.05), p_holm=0.4)
    comparison["summary"][0].update(estimate(0.52, 0.48, 0.56))
    first, second, caveat = headline(comparison)
    assert "not distinguishable from chance" in first
    assert "no clear difference" in second
    assert "at least 10" in caveat


def test_same_comparison_same_bytes(tmp_path, comparison):
    first = write_report(write(tmp_path / "a", comparison)).read_bytes()
    assert first == write_report(write(tmp_path / "b", comparison)).read_bytes()


def test_a_folder_without_a_comparison(tmp_path):
    with pytest.raises(NetworkError, match="v1builder compare"):
        write_report(tmp_path)
