"""Published tables + a recipe -> a SONATA network of mouse V1 with its LGN and background."""

from v1builder.build.network import Progress, Tables, build_network

__all__ = ["Progress", "Tables", "build_network"]
