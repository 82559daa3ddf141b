"""Numbers of a network's activity: self-registered measures, one file each, computed while a network runs.

    measurement = Measurement(["mean_rate", "cv_isi"], Design(network.cells, model.dt, task.n_steps),
                              windows={"evoked": task.evoked})
    observe(model, inputs, [measurement.observer(trials.condition)])
    for row in measurement.rows():
        ...  # row.measure, row.window, row.level, row.group, row.value, row.n, row.reason

A value that cannot be had from so few trials or cells is NaN, with the reason in its row. A measure is a
subclass of `Measure` with a name, in a file of this package or of another (`schema.members`).
"""

from v1builder.measures.activity import Activity, Design, Window
from v1builder.measures.measure import Axis, ByGroup, Measure
from v1builder.measures.measurement import CurveRow, Measurement, MeasureRow
from v1builder.measures.names import MEASURES, measure_named

__all__ = [
    "MEASURES",
    "Activity",
    "Axis",
    "ByGroup",
    "CurveRow",
    "Design",
    "Measure",
    "MeasureRow",
    "Measurement",
    "Window",
    "measure_named",
]
