"""The operating point: background weights from spontaneous rates, then a look at the living animal.

`calibrate` is the command. Modules: `targets` (what is wanted), `spontaneous` (cells on a gray screen
without recurrence), `bisection` (many roots at once), `tuning` (both together, with errors),
`operating_point` (recurrence on), `output` (the new network folder).
"""

from v1builder.calibrate.run import calibrate

__all__ = ["calibrate"]
