"""LGN populations for tests, with the fitted kernels of Billeh et al. 2020 for all 14 classes."""

import numpy as np
import pandas as pd

from v1builder.load.network import NodePopulation

# weights, peaks (ms), delays (ms) of the two bumps
FITS = {
    "sON_TF1": ((1.000030934, -0.4461605743), (56.52557576, 137.4409331), (0, 15)),
    "sON_TF2": ((4.282331512, -1.42754511), (31.20843844, 137.0623971), (0, 5)),
    "sON_TF4": ((3.594040596, -1.814583121), (30.75886854, 58.35845979), (0, 25)),
    "sON_TF8": ((3.705259676, -1.753839709), (12.94103321, 28.27807659), (0, 25)),
    "sOFF_TF1": ((2.114240295, -1.221525571), (54.48070428, 127.9211551), (0, 5)),
    "sOFF_TF2": ((3.182579375, -1.140712025), (19.84561655, 92.02360682), (0, 25)),
    "sOFF_TF4": ((3.229814878, -1.658797517), (22.24619766, 56.10036268), (0, 15)),
    "sOFF_TF8": ((3.250647903, -1.68380989), (18.03400572, 51.21537413), (0, 15)),
    "sOFF_TF15": ((10, -3.260571234), (4.736239852, 21.59707569), (0, 5)),
    "tOFF_TF4": ((3.345980767, -2.181989779), (29.15797185, 59.36268031), (0, 15)),
    "tOFF_TF8": ((4.218489792, -2.404989833), (8.524645233, 23.24681671), (0, 0)),
    "tOFF_TF15": ((3.441660357, -2.115599482), (8.269733598, 19.99148791), (0, 0)),
}
# dominant fit, non-dominant fit, separation (deg), size (deg)
COMPOSITES = {
    "sONsOFF_001": ("sOFF_TF4", "sON_TF4", 6.0, 6.0),
    "sONtOFF_001": ("tOFF_TF8", "sON_TF4", 4.0, 9.0),
}
CLASSES = (*FITS, *COMPOSITES)


def lgn_nodes(per_class: int, seed: int, field=(120.0, 80.0), margin=0.0, jitter=0.025):
    """`per_class` units of every class at random places of the field."""
    rng = np.random.default_rng(seed)
    rows = [_node(name, rng, field, margin, jitter) for name in CLASSES for _ in range(per_class)]
    return population(rows)


def population(rows):
    table = pd.DataFrame(rows)
    n = len(table)
    type_id = table.groupby("pop_name", sort=False).ngroup().to_numpy(np.int64)
    types = pd.DataFrame({"pop_name": table["pop_name"].unique()})
    attributes = {name: table[name].to_numpy() for name in table.columns}
    return NodePopulation("lgn", np.arange(n, dtype=np.int64), type_id, attributes, types)


def _node(name, rng, field, margin, jitter):
    def jittered(values):
        return np.asarray(values) * rng.uniform(1 - jitter, 1 + jitter, 2)

    dominant, non_dominant, separation, size = COMPOSITES.get(name, (name, None, np.nan, None))
    node = {
        "model_type": "virtual",
        "model_template": f"lgnmodel:{name}",
        "pop_name": name,
        "x": rng.uniform(margin, field[0] - margin),
        "y": rng.uniform(margin, field[1] - margin),
        "spatial_size": size or rng.triangular(2, 3, 9),
        "tuning_angle": rng.uniform(0, 360),
        "sf_sep": separation,
    }
    for subfield, fit in (("dom", dominant), ("non_dom", non_dominant)):
        parts = [jittered(values) for values in FITS[fit]] if fit else np.full((3, 2), np.nan)
        for key, pair in zip(("weight", "kpeaks", "delay"), parts, strict=True):
            node |= {f"{key}_{subfield}_{i}": pair[i] for i in range(2)}
    return node
