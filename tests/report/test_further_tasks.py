"""The table of further tasks of a report."""

from v1builder.report.further_tasks import further_tasks


def cell(seed, ablation, value):
    score = {"name": "d_prime", "label": "d'", "value": value}
    return {
        "protocol": "retrain",
        "ablation": ablation,
        "seed": seed,
        "also": {"change": {"main_score": score}, "unfinished": {"learning_curve": []}},
    }


def test_a_row_is_a_condition_over_its_seeds():
    cells = [cell(1, "intact", 1.0), cell(2, "intact", 2.0), cell(1, "no_asc", None)]
    intact, ablated = further_tasks({"cells": cells})
    assert (intact["ablation"], intact["mean"], intact["seeds"]) == (
        "intact",
        "1.500",
        "1.000, 2.000",
    )
    assert (ablated["ablation"], ablated["mean"], ablated["seeds"]) == ("no_asc", "-", "-")
    assert intact["label"] == "d'"


def test_networks_of_one_task_have_none():
    assert (
        further_tasks({"cells": [{"protocol": "retrain", "ablation": "intact", "seed": 1}]}) == []
    )
