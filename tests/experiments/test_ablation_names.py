import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v1builder.experiments.ablations import ABLATIONS, Composition, parse_ablation, usage
from v1builder.experiments.ablations.coalition import PARTS
from v1builder.load.coordinates import ASPECTS
from v1builder.load.groups import LEVELS
from v1builder.schema.errors import ConfigError, NetworkError

ARGUMENTS = {
    "level": st.sampled_from(LEVELS),
    "aspect": st.sampled_from(tuple(ASPECTS)),
    "alpha": st.floats(0, 2),
    "space": st.sampled_from(("log", "linear")),
    "size": st.floats(0.01, 1),
    "pooling": st.sampled_from(("global", "class_pair")),
    "parts": st.sets(st.sampled_from(PARTS)).map(lambda parts: " + ".join(sorted(parts)) or "none"),
}


@st.composite
def single(draw):
    kind = ABLATIONS[draw(st.sampled_from(tuple(ABLATIONS)))]
    names = usage(kind).removeprefix(kind.word).strip("()").split(", ")
    return kind(*[draw(ARGUMENTS[name]) for name in names if name])


@settings(deadline=None)
@given(st.lists(single(), min_size=1, max_size=4))
def test_a_name_is_read_back_as_the_same_ablation(steps):
    ablation = steps[0]
    for step in steps[1:]:
        ablation = ablation | step
    assert parse_ablation(ablation.name) == ablation
    assert parse_ablation(ablation.name).name == ablation.name


def test_canonical_names():
    assert parse_ablation(" dose( 0.50 ,population ) ").name == "dose(0.5, population)"
    assert parse_ablation("dose(1, ei)").name == "dose(1, ei)"
    both = parse_ablation("no_asc|mean(ei)")
    assert both.name == str(both) == "no_asc | mean(ei)"
    assert isinstance(both, Composition)
    assert usage(ABLATIONS["only"]) == "only(aspect, level)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("maen(population)", "did you mean 'mean'"),
        ("mean(populatoin)", "did you mean 'population'"),
        ("only(tau_n, ei)", "did you mean 'tau_m'"),
        ("mean", "write mean(level)"),
        ("no_asc(1)", "takes 0 arguments"),
        ("dose(ei, 0.5)", "alpha must be a number"),
        ("dose(2.5, ei)", "choose alpha from 0 to 2"),
        ("dose(nan, ei)", "choose alpha from 0 to 2"),
        ("no_asc |", "cannot read"),
        ("mean((ei))", "cannot read"),
        ("", "cannot read"),
    ],
)
def test_a_wrong_text_is_explained(text, said):
    with pytest.raises(ConfigError) as error:
        parse_ablation(text)
    assert said in str(error.value)


def test_random_ablations_need_a_seed_and_others_do_not(network):
    for word in (
        "shuffle_within",
        "shuffle_across",
        "shuffle_independent",
        "gaussian_matched(log)",
        "weights_shuffle",
    ):
        ablation = parse_ablation(word)
        assert ablation.is_random
        with pytest.raises(ConfigError, match="needs a seed"):
            ablation(network)
    composed = parse_ablation("mean(ei) | weights_shuffle")
    assert composed.is_random
    with pytest.raises(ConfigError, match="needs a seed"):
        composed(network)
    assert not parse_ablation("mean(ei) | no_asc").is_random


def test_activity_is_needed_by_a_composition_too(network):
    assert parse_ablation("mean(ei) | asc_mean_current").needs_activity
    assert not parse_ablation("mean(ei) | no_asc").needs_activity
    with pytest.raises(ConfigError, match="needs the network's activity"):
        parse_ablation("mean(ei) | asc_mean_current")(network)


def test_class_needs_known_populations(network):
    network.cells.attributes["pop_name"] = np.full(24, "CA1")
    with pytest.raises(NetworkError, match="CA1"):
        parse_ablation("mean(class)")(network)
    del network.cells.attributes["ei"]
    with pytest.raises(NetworkError, match="no attribute 'ei'"):
        parse_ablation("mean(ei)")(network)
