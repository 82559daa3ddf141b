"""Published experiments on temporal tasks, run again with `v1builder.layers`: see `__main__`.

One module for every experiment; what they share is in `experiment` (what an experiment says of itself),
`training` (one loop), `records` (one file for every run), `statistics` and `page` (docs/reproduction.md).
"""
