"""Run a BMTK simulation configuration on NEST. A program of its own: NEST changes the whole process."""

import sys

from bmtk.simulator import pointnet

configuration = pointnet.Config.from_json(sys.argv[1])
configuration.build_env()
network = pointnet.PointNetwork.from_config(configuration)
simulator = pointnet.PointSimulator.from_config(configuration, network)
simulator.run()
