"""Plot a finished simulation with BMTK's own analyzer and say what is in the figures; a script.

Usage: python bmtk_plots.py CONFIG.json POPULATION FOLDER

Prints one JSON line: points of the raster, spikes counted, number of voltage curves and of their
points, and the mean of the curve BMTK adds as their average. The pictures go to FOLDER.
"""

import json
import sys

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from bmtk.analyzer import compartment, spike_trains


def scattered(figure):
    """Points in all scatter plots of a figure."""
    return sum(len(c.get_offsets()) for axes in figure.axes for c in axes.collections)


def main(config, population, folder):
    """Plot and print."""
    options = {"config_file": config, "population": population, "show": False}
    raster = spike_trains.plot_raster(
        **options, with_histogram=False, save_as=f"{folder}/raster.png", group_by="pop_name"
    )
    spike_trains.plot_rates(**options, save_as=f"{folder}/rates.png", group_by="pop_name")
    traces = compartment.plot_traces(
        **options, report_name="voltage", save_as=f"{folder}/traces.png"
    )
    statistics = spike_trains.spike_statistics(
        spikes_file=_spikes_file(config), population=population
    )
    curves = [line.get_ydata() for axes in traces.axes for line in axes.lines]
    found = {
        "raster_points": scattered(raster),
        "counted_spikes": int(statistics["count"].to_numpy().sum()),
        "curves": len(curves),
        "curve_points": int(sum(np.size(curve) for curve in curves)),
        "mean_voltage": float(np.mean(curves[-1])),
    }
    print("RESULT" + json.dumps(found))


def _spikes_file(config):
    with open(config) as file:  # noqa: PTH123
        output = json.load(file)["output"]
    return f"{output['output_dir']}/{output['spikes_file']}"


main(*sys.argv[1:4])
