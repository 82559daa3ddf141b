"""Published tables + a recipe -> a SONATA network of mouse V1 with its LGN and background."""

from v1builder.build.network import build_network
from v1builder.build.plan import Tables
from v1builder.build.write_edges import Progress

__all__ = ["Progress", "Tables", "build_network"]
