"""The register of cases: what it reports, and that a comparison notices what it should."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from v1builder.schema.errors import ConfigError
from v1builder.verify import agreement, all_cases, chosen_cases, verify
from v1builder.verify.agreement import CASES, Case, Measured
from v1builder.verify.comparison import run_ours, same_spikes
from v1builder.verify.networks import input_spikes, mixed_network


def made_case(measure, needs=()):
    return Case("made", "topic", "reference", "compared", needs, False, measure)


def test_missing_software_is_not_run_and_does_not_pass(tmp_path, monkeypatch):
    monkeypatch.setitem(agreement.SOFTWARE, "no_such_module", "no-such-package")
    found = made_case(lambda _: Measured("fine", 1, 1), ("no_such_module",))(tmp_path)
    assert found.passed is None
    assert found.result == "not run: needs no-such-package"


@pytest.mark.parametrize(
    ("measured", "passed"),
    [
        (Measured("", 1.0, 1.0, at_least=True), True),
        (Measured("", 0.999, 1.0, at_least=True), False),
        (Measured("", 1.0, 0.5), False),
        (Measured("", float("nan"), 0.5), False),
        (Measured("", float("nan"), 0.5, at_least=True), False),
    ],
)
def test_limits(measured, passed, tmp_path):
    assert made_case(lambda _: measured)(tmp_path).passed is passed


def test_one_missing_or_too_few_spikes_do_not_pass():
    spikes = np.eye(50, dtype=bool)
    fewer = spikes.copy()
    fewer[3, 3] = False
    assert same_spikes(spikes, spikes, 10).passed
    assert not same_spikes(spikes, fewer, 10).passed
    assert not same_spikes(spikes, spikes, 100).passed
    assert not same_spikes(spikes, spikes, 10, voltage_difference=1e-3).passed


def test_a_case_that_raises_costs_the_others_nothing(tmp_path, monkeypatch):
    def broken(_):
        raise RuntimeError("no such cell")

    made = {"broken": replace(made_case(broken), name="broken")}
    made["fine"] = replace(made_case(lambda _: Measured("fine", 0, 0)), name="fine")
    monkeypatch.setattr("v1builder.verify.all_cases", lambda: list(made.values()))
    rows = verify(tmp_path / "out")
    assert [row.passed for row in rows] == [False, True]
    written = json.loads((tmp_path / "out/agreement.json").read_text())
    assert [row["case"] for row in written["agreement"]] == ["broken", "fine"]
    assert "no such cell" in (tmp_path / "out/agreement.md").read_text()


def test_selection():
    names = [one.name for one in chosen_cases(["glif3 cells, glif_psc"], slow=False)]
    assert names == ["GLIF3 cells, glif_psc", "GLIF3 cells, glif_psc_double_alpha"]
    with pytest.raises(ConfigError, match="unknown case 'gliff'"):
        chosen_cases(["gliff"])
    with pytest.raises(ConfigError, match="a case of this name exists"):
        agreement.case(all_cases()[0].name, reference="", compared="")(partial(print))
    assert len(CASES) == len(all_cases())


def test_the_recurrent_edges_of_the_mixed_network_matter():
    net, _, _ = mixed_network("glif_psc")
    stimulus = input_spikes(1.0)
    silent = replace(net.edges["v1_to_v1"], weight=np.zeros(len(net.edges["v1_to_v1"])))
    uncoupled = replace(net, edges={**net.edges, "v1_to_v1": silent})
    assert (run_ours(net, stimulus).spikes != run_ours(uncoupled, stimulus).spikes).any()
