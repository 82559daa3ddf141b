"""`python -m v1builder` is `v1builder`."""

from v1builder.cli import main

main()
