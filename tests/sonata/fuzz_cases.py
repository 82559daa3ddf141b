"""Damages copies of a small network and its simulation, and says what becomes of each: one line per case.

Usage: python fuzz_cases.py NETWORK SCRATCH FIRST_SEED N

NETWORK has a simulation_config.json with its input files. A line is JSON: seed, what was damaged, and the
class: "fine" (everything was read), "clean" (an error of ours, with a message), "disagree" (validate found
nothing and load refused), or the name of the exception that got through. A process that dies says nothing.
"""

import json
import os
import random
import shutil
import signal
import sys
import traceback
import warnings
from pathlib import Path

import h5py
import numpy as np

from v1builder.load import load_network
from v1builder.schema.errors import V1BuilderError
from v1builder.simulate.currents import clamps
from v1builder.simulate.inputs import input_spikes
from v1builder.simulate.overrides import with_overrides
from v1builder.simulate.reports import recordings
from v1builder.sonata import read_report, validate
from v1builder.sonata.simulation_config import read_simulation

SIMULATION = "simulation_config.json"
#: Seconds after which a case counts as hanging.
LONGEST = 20

VALUES = (None, True, False, 0, -1, 1, 3.5, 1e308, -1e308, float("nan"), float("inf"), 10**30, "", "x",
          "false", "0", "$BASE_DIR", "..", "a\0b", "x" * 5000, [], [[]], [None], ["a", 1], {}, {"a": {}},
          [1, 2, 3], {"$gt": "a"})  # fmt: skip


def json_places(value, path=()):
    """Every place of a JSON value: (container, key)."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from json_places(value[key], (*path, key))


def damage_json(path, rng):
    values = json.loads(path.read_text())
    container, key = rng.choice(list(json_places(values)))
    kind = rng.choice(["value", "value", "value", "delete", "rename", "twice", "text"])
    if kind == "delete":
        del container[key]
    elif kind == "rename" and isinstance(container, dict):
        container[f"{key}x"] = container.pop(key)
    elif kind == "twice" and isinstance(container, list):
        container.append(container[key])
    elif kind == "text":
        container[key] = json.dumps(container[key])
    else:
        container[key] = rng.choice(VALUES)
    path.write_text(json.dumps(values))
    return f"{kind} {key}"


def damage_text(path, rng):
    text = path.read_text()
    rows = [line.split(" ") for line in text.splitlines()]
    row = rng.randrange(len(rows))
    column = rng.randrange(len(rows[row]))
    kind = rng.choice(["token", "token", "drop", "line", "again", "header", "char"])
    if kind == "token":
        rows[row][column] = rng.choice(
            ["", "NULL", "-1", "1.5", "x", "nan", "inf", "1e400", "9" * 30, "true", '"', "a b"]
        )
    elif kind == "drop":
        del rows[row][column]
    elif kind == "line":
        del rows[row]
    elif kind == "again":
        rows.append(rows[row])
    elif kind == "header":
        rows[0][column % len(rows[0])] += "x"
    text = "\n".join(" ".join(row) for row in rows) + "\n"
    if kind == "char":
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice('",\t\0\r\n é') + text[at + 1 :]
    path.write_text(text)
    return f"{kind} in row {row}"


def damage_hdf5(path, rng):
    with h5py.File(path, "r+") as file:
        names = []
        file.visit(names.append)
        name = rng.choice(names)
        item = file[name]
        kinds = ["delete", "group", "scalar", "null", "link", "loop", "external", "attribute"]
        if isinstance(item, h5py.Dataset):
            kinds += ["values", "values", "values", "type", "length", "matrix", "virtual"] * 2
        kind = rng.choice(kinds)
        values = item[()] if isinstance(item, h5py.Dataset) else np.zeros(3)
        if kind == "attribute":
            for key in list(item.attrs):
                item.attrs[key] = rng.choice(["", "x", 3.0, 7])
            return f"attributes of {name}"
        attributes = dict(item.attrs)
        if kind == "values" and values.dtype.kind in "iuf" and values.size:
            values = values.astype(np.float64)
            flat = values.reshape(-1)
            flat[rng.randrange(len(flat))] = rng.choice(
                [-1, 0.5, 1e9, 1e30, np.nan, np.inf, -np.inf, 2.0**63, 2.0**64]
            )
        elif kind == "type":
            values = rng.choice(
                [values.astype("S20"), np.zeros(len(values), [("a", "i4")]), values > 0,
                 values.astype("c16") if values.dtype.kind in "iuf" else values]
            )  # fmt: skip
        elif kind == "length":
            values = rng.choice([values[:-1], values[:0], np.concatenate([values, values])])
        elif kind == "matrix":
            values = np.stack([values, values], axis=1)
        del file[name]
        if kind == "group":
            file.create_group(name).create_group("x")
        elif kind == "scalar":
            file[name] = rng.choice([0, 1.5, "x"])
        elif kind == "null":
            file[name] = h5py.Empty("f8")
        elif kind == "link":
            file[name] = h5py.SoftLink("/nowhere")
        elif kind == "loop":
            file[name] = h5py.SoftLink(f"/{name}")
        elif kind == "external":
            file[name] = h5py.ExternalLink("nowhere.h5", "/x")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape=values.shape, dtype=values.dtype)
            layout[:] = h5py.VirtualSource(".", name, shape=values.shape)
            file.create_virtual_dataset(name, layout)
        elif kind != "delete":
            file.create_dataset(name, data=values).attrs.update(attributes)
    return f"{kind} {name}"


def damage_bytes(path, rng):
    content = bytearray(path.read_bytes())
    kind = rng.choice(["truncate", "flip", "flip", "zeros", "empty", "folder", "pipe", "gone"])
    at = rng.randrange(len(content))
    if kind == "truncate":
        del content[at:]
    elif kind == "flip":
        for _ in range(rng.choice([1, 8, 64])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    elif kind == "empty":
        content.clear()
    if kind in ("folder", "pipe", "gone"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
        if kind == "pipe":
            os.mkfifo(path)
        return kind
    path.write_bytes(content)
    return kind


def damage(folder, rng):
    """Damage one file; its name and what was done."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    of_kind = {
        ".json": [path for path in files if path.suffix == ".json"],
        ".csv": [path for path in files if path.suffix == ".csv"],
        ".h5": [path for path in files if path.suffix == ".h5"],
    }
    kind = rng.choice([".json", ".json", ".csv", ".h5", ".h5", "bytes"])
    path = rng.choice(files if kind == "bytes" else of_kind[kind])
    how = {".json": damage_json, ".csv": damage_text, ".h5": damage_hdf5, "bytes": damage_bytes}
    return f"{path.relative_to(folder)}: {how[kind](path, rng)}"


def everything(folder):
    """Read all there is; what `validate` finds is refused, if loading does not refuse it."""
    problems = validate(folder)
    try:
        network = load_network(folder)
    except V1BuilderError as error:
        return "clean" if problems or not error.problems else "disagree"
    try:
        simulation = read_simulation(folder / SIMULATION)
        input_spikes(simulation, network, 100)
        clamps(simulation, network)
        with_overrides(network, simulation)
        recordings(simulation, network, 100)
        read_report(folder / "report.h5")
    except V1BuilderError:
        return "clean"
    return "clean" if problems else "fine"


def main():
    network, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    first, n = map(int, sys.argv[3:])
    warnings.simplefilter("error")

    def too_long(*_):
        raise TimeoutError(f"longer than {LONGEST} s")

    signal.signal(signal.SIGALRM, too_long)
    for seed in range(first, first + n):
        folder = scratch / "network"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(network, folder)
        what = damage(folder, random.Random(seed))
        print(json.dumps({"seed": seed, "what": what}), end="\t", flush=True)
        signal.alarm(LONGEST)
        trace = ""
        try:
            found = everything(folder)
        except Exception as error:  # what a user would see as a traceback
            found, trace = type(error).__name__, traceback.format_exc()
        signal.alarm(0)
        print(json.dumps({"class": found, "trace": trace[-1500:]}), flush=True)


if __name__ == "__main__":
    main()
