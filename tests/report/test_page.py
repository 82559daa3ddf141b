import json
import re

import numpy as np
import pytest
from comparison_files import EFFECTS, SOURCE, made_of, results, write

from v1builder.report import comparison_tables as tables
from v1builder.report import write_report
from v1builder.report.page import headline
from v1builder.schema.errors import NetworkError


@pytest.fixture
def comparison():
    return made_of(results(EFFECTS))


def text_of(page):
    text = re.sub(r"<(style|script)[^>]*>.*?</\1>|<[^>]*>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", text)


def data_of(page):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page).group(1)
    )


def figures_of(page):
    """Ids of what is drawn; each has its place on the page."""
    places = re.findall(r'<div class="canvas" id="([^"]+)"', page)
    assert sorted(places) == sorted(data_of(page)["figures"])
    return places


def test_the_page_says_what_came_out(tmp_path, comparison):
    page = write_report(write(tmp_path / "run", comparison)).read_text()
    assert "A &lt;test&gt;" in page
    text = text_of(page)
    answer = text.index("Accuracy over 20 paired seeds: lower when ablated: no_asc (retrain) -")
    valid = text.index(
        "Valid: the operating points of all 6 ablated conditions are inside the bars."
    )
    assert (
        answer
        < valid
        < text.index("of held-out trials correctly")
        < text.index("difference to intact")
    )
    assert "above chance" in text
    assert "helps when the intact network does better" in text
    assert "Teeter et al. 2018" in page
    assert "(live service, taken 2026-01-02; terms)" in page
    assert "taken 2026-01-02" in (tmp_path / "run" / "report" / "CITATIONS.md").read_text()
    assert "@misc{teeter," in (tmp_path / "run" / "report" / "CITATIONS.bib").read_text()
    assert set(figures_of(page)) == {
        "operating-retrain", "operating-frozen", "trial", "rates", "learning-retrain",
        "difference-retrain", "difference-frozen", "outcome-retrain", "outcome-frozen",
    }  # fmt: skip
    table = (tmp_path / "run" / "report" / "comparison.csv").read_text().splitlines()
    assert len(table) == 1 + 2 * 4 * 20


def test_the_tables_give_verdict_and_learning(comparison):
    rows = {(row["ablation"], row["protocol"]): row for row in tables.results(comparison)}
    row = rows["no_asc", "trained after the ablation"]
    assert (row["verdict"], row["same_side"]) == ("helps", "20/20")
    assert row["difference"] == "-0.200"
    assert rows["mean(ei)", "ablated after training"]["verdict"] == "equivalent"
    assert rows["intact", "ablated after training"]["difference"] == tables.DASH
    learned = {row["ablation"]: row for row in tables.learning(comparison)}
    assert (learned["no_asc"]["reached"], learned["no_asc"]["verdict"]) == ("10/20", "helps")
    assert learned["no_asc"]["median"] == "not reached"  # half of the runs: their median is beyond
    assert learned["intact"]["median"] == "10"


def test_the_operating_point_of_every_condition(comparison):
    rows = tables.operating_points(comparison)
    intact = [row for row in rows if row["ablation"] == "intact"]  # once for both protocols
    assert [row["moment"] for row in intact] == ["untrained", "trained"]
    ablated = [row for row in rows if row["ablation"] == "no_asc"][:3]
    assert [row["moment"] for row in ablated] == ["ablated", "matched", "trained"]
    before = ablated[0]
    assert (before["rates"], before["ratio"]) == ("4.50 / 9.00", "3.60 to 4.50")
    assert (before["silent"], before["cv"], before["top10"]) == ("10.0%", "1.03", "53%")
    assert (before["bias"], before["charge"]) == ("-1.2% to +3.1%", "-40 to -12")
    assert before["efficacy"] == tables.DASH


def test_an_invalid_condition_is_seen(tmp_path):
    comparison = made_of(results(EFFECTS, invalid=["no_asc"]))
    page = write_report(write(tmp_path / "run", comparison)).read_text()
    text = text_of(page)
    assert "Invalid: 2 of 6 ablated conditions are outside the bars" in text
    assert "Nothing is concluded from no_asc (retrain), no_asc (frozen)" in text
    assert "is outside the bars (all seeds)" in text
    assert "&lt;60 %&gt; of the cells are silent" in page
    assert 'class="verdict invalid">outside' in page
    rows = [row for row in tables.results(comparison) if row["ablation"] == "no_asc"]
    assert {row["verdict"] for row in rows} == {"invalid"}


def test_doses_are_drawn(tmp_path):
    doses = {"mean(ei)": 0.0, "dose(0.5, ei)": 0.5, "intact": 1.0, "dose(1.5, ei)": 1.5}
    effects = {"intact": 0.0} | {name: -0.2 * (dose - 1) ** 2 for name, dose in doses.items()}
    page = write_report(write(tmp_path / "run", made_of(results(effects)))).read_text()
    assert {"dose-0", "dose-1"} < set(figures_of(page))
    assert "near optimal" in text_of(page)
    invalid = made_of(results(effects, invalid=["mean(ei)", "dose(0.5, ei)"]))
    assert "invalid doses left out: 0, 0.5" in tables.dose(invalid["dose"][0])
    page = write_report(write(tmp_path / "invalid", invalid)).read_text()
    assert not [name for name in figures_of(page) if name.startswith("dose")]


def test_d_prime_leads_where_it_is_primary(tmp_path):
    cells = [{**cell, "d_prime": 10 * cell["accuracy"] - 5} for cell in results(EFFECTS)]
    comparison = made_of(cells, primary="d_prime", margin=0.1)
    page = write_report(write(tmp_path / "run", comparison)).read_text()
    assert "D&#39; over 20 paired seeds: lower when ablated: no_asc (retrain) -2.0" in page


def test_shapley_values_are_listed(tmp_path, comparison):
    ends = {"low": 0.01, "high": 0.03, "t_low": 0.005, "t_high": None}
    value = {"protocol": "retrain", "part": "tau_m within", "mean": 0.02, **ends}
    comparison["shapley"] = [value | {"n_invalid_coalitions": 3}]
    text = text_of(write_report(write(tmp_path / "run", comparison)).read_text())
    assert "tau_m within trained after the ablation +0.020" in text
    assert "3 of the networks" in text


def test_networks_crossed_with_seeds_have_a_table(tmp_path):
    rng = np.random.default_rng(1)
    cells = [
        {**cell, "network": network, "accuracy": cell["accuracy"] + shift + rng.normal(0, 0.005)}
        for network, shift in (("a", 0.0), ("b", 0.03), ("c", -0.02))
        for cell in results({"intact": 0.0, "no_asc": -0.2}, seeds=4)
    ]
    page = write_report(write(tmp_path / "run", made_of(cells))).read_text()
    assert "standard deviation between networks 0.0" in text_of(page)


def test_a_comparison_of_an_earlier_version_is_read(tmp_path, comparison):
    """Without verdicts, tests of speed, operating points, and without the quartiles in vivo."""
    for name in (
        "verdicts",
        "co_primary",
        "family",
        "dose",
        "mixed",
        "power",
        "invalid",
        "sentence",
        "notes",
    ):
        del comparison[name]
    kept = (
        "protocol",
        "ablation",
        "metric",
        "mean",
        "low",
        "high",
        "n",
        "t_interval",
        "d_z",
        "per_seed",
    )
    comparison["differences"] = [
        {name: row[name] for name in kept} | {"p_holm": 0.03} for row in comparison["differences"]
    ]
    for cell in comparison["cells"]:
        for name in ("operating_point", "valid", "invalid_because"):
            del cell[name]
    comparison["rates"] = [{"population": "e4", "untrained": 1.0, "trained": 2.0}]
    text = text_of(write_report(write(tmp_path / "run", comparison)).read_text())
    assert "earlier version, without verdicts" in text
    assert "not known" in text
    assert "-0.2" in text


def test_a_source_without_a_day(tmp_path, comparison):
    """The tables shipped with the package have none."""
    comparison["sources"] = [{key: SOURCE[key] for key in SOURCE if key != "retrieved"}]
    page = write_report(write(tmp_path / "run", comparison)).read_text()
    assert "(live service; terms)" in page


def test_the_page_needs_nothing_from_outside(tmp_path, comparison):
    page = write_report(write(tmp_path / "run", comparison)).read_text()
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)=(?!"(?:data:|#))', markup)
    assert "default-src 'none'" in page  # and the browser refuses what would ask for it
    assert len(page) < 8e6


def test_a_negative_result_is_said_plainly():
    cells = results({"intact": -0.3, "noisy": -0.3}, seeds=3, n_trials=256)
    answer, validity, learned = headline(made_of(cells))
    assert answer.startswith("Accuracy over 3 paired seeds: nothing was decided in 2 comparisons")
    assert "at least 20 seeds" in answer
    assert validity.startswith("Valid")
    assert "not distinguishable from chance" in learned


def test_same_comparison_same_bytes(tmp_path, comparison):
    first = write_report(write(tmp_path / "a", comparison)).read_bytes()
    assert first == write_report(write(tmp_path / "b", comparison)).read_bytes()


def test_a_folder_without_a_comparison(tmp_path):
    with pytest.raises(NetworkError, match="v1builder compare"):
        write_report(tmp_path)


HOSTILE = '</script><script>window.hacked=1</script><a href="https://example.org">x</a>'


def test_names_out_of_files_stay_names(tmp_path):
    """In the page, in its data, and in texts of figures, where plotly reads tags."""
    comparison = made_of(results({"intact": 0.0, HOSTILE: -0.2}))
    comparison["experiment"]["name"] = HOSTILE
    for row in comparison["rates"]:
        row["population"] = HOSTILE
    page = write_report(write(tmp_path / "run", comparison)).read_text()
    assert "<script>window.hacked" not in page
    assert page.count("<script") == page.count("</script>") == 3  # data, plotly, and the page's own
    assert "example.org" in page
    assert not re.findall(r"<a [^>]*example", page)
    texts = json.dumps(data_of(page)["figures"])
    assert "&lt;/script&gt;" in texts
    assert "<a href" not in texts
