"""Make the LGN cells of a BMTK configuration and print how many of which kind, as JSON."""

import json
import sys
from collections import Counter

from bmtk.simulator import filternet

configuration = filternet.Config.from_json(sys.argv[1])
configuration.build_env()
network = filternet.FilterNetwork.from_config(configuration)
network.build()
print(json.dumps(Counter(type(cell.lgn_cell_obj).__name__ for cell in network.cells())))
