"""Numbers about networks and their activity, in numpy.

Import from the modules: `groups` (which cells belong together), `rates`, `tuning` (orientation and
direction selectivity), `invivo` (agreement with recordings), `detection` (d' and confusions), `graph`
(networkx).
"""
