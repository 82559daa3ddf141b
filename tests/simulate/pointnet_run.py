"""Run a SONATA simulation config with BMTK's PointNet on NEST; a script, as NEST needs its own process.

Usage: python pointnet_run.py CONFIG.json

The weight functions are those of AllenInstitute/biorealistic-v1-model, which its edge types name.
"""

import sys

from bmtk.simulator import pointnet
from bmtk.simulator.pointnet.pyfunction_cache import add_weight_function


def as_it_is(edges, source_nodes, target_nodes):
    return edges["syn_weight"].values


for name in ("recurrent", "lgn", "bkg"):
    add_weight_function(as_it_is, f"weight_function_{name}")
configuration = pointnet.Config.from_json(sys.argv[1])
configuration.build_env()
network = pointnet.PointNetwork.from_config(configuration)
pointnet.PointSimulator.from_config(configuration, network).run()
