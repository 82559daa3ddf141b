"""Run a SONATA simulation config with BMTK's PointNet on NEST; a script, as NEST needs its own process.

Usage: python pointnet_simulation.py CONFIG.json
"""

import sys

from bmtk.simulator import pointnet

configuration = pointnet.Config.from_json(sys.argv[1])
configuration.build_env()
network = pointnet.PointNetwork.from_config(configuration)
pointnet.PointSimulator.from_config(configuration, network).run()
