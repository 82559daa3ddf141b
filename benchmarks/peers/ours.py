"""v1builder's backends, and a loop in plain torch.sparse: forward, and forward with backward."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import numpy as np
import torch
import workload
from protocol import Program, serve

from v1builder.model.backends import get_backend
from v1builder.model.neurons import glif
from v1builder.model.rollout import Projection, Rollout
from v1builder.model.surrogate import Surrogate

LIF_TAU_SYN = 1.0  # ms, of the alpha current that stands for a jump of the voltage


def lif_as_glif(n_cells: int, fan_in: int) -> dict[str, np.ndarray]:
    """The LIF network for kernels of alpha synapses: the current carries the charge of the jump."""
    data = workload.lif(n_cells, fan_in)
    C_m = 100.0
    per_mV = C_m / (np.e * LIF_TAU_SYN)
    ones = np.ones((n_cells, 1))
    cells = {
        "C_m": np.full(n_cells, C_m),
        "g": np.full(n_cells, -C_m * np.log(workload.DECAY) / workload.DT),
        "V_th": np.full(n_cells, workload.V_TH),
        "V_reset": np.zeros(n_cells),
        "t_ref": np.full(n_cells, workload.DT),
        "asc_amps": np.zeros((n_cells, 0)),
        "asc_decay": np.ones((n_cells, 0)),
        "asc_r": np.ones((n_cells, 0)),
        "tau_syn_fast": ones * LIF_TAU_SYN,
        "tau_syn_slow": ones * 2 * LIF_TAU_SYN,
        "amp_slow": ones * 0,
    }
    return {
        **data,
        **cells,
        "weight": data["weight"] * per_mV,
        "drive_weight": data["drive_weight"] * per_mV,
        "receptor": np.zeros(len(data["source"]), int),
        "delay": np.ones(len(data["source"]), int),
    }


def prepare(case: dict) -> Program:
    torch.set_num_threads(case["threads"])
    n, b = case["cells"], case["batch"]
    r = case["receptors"] if case["neuron"] == "glif3" else 1
    make = workload.glif3 if case["neuron"] == "glif3" else lif_as_glif
    data = make(n, case["fan_in"], r) if make is workload.glif3 else make(n, case["fan_in"])
    tensor = {k: torch.from_numpy(v) for k, v in data.items()}
    names = [k for k in glif.GlifParameters.__dataclass_fields__ if k in data]
    propagators = glif.propagators(
        glif.GlifParameters(**{k: tensor[k].float() for k in names}), workload.DT
    )

    def projection(source: str | None, n_source: int, *columns: str | torch.Tensor) -> Projection:
        edges = [tensor[c] if isinstance(c, str) else c for c in columns]
        return Projection(source, n_source, *(x.to(torch.int32) for x in edges))

    n_drive = len(data["drive_source"])
    last, one = torch.full((n_drive,), r - 1), torch.ones(n_drive)
    projections = [
        projection(None, n, "source", "target", "receptor", "delay"),
        projection("bkg", workload.N_BACKGROUND, "drive_source", "drive_target", last, one),
    ]
    backward = case["mode"] == "forward+backward"
    weights = [tensor[k].float().requires_grad_(backward) for k in ("weight", "drive_weight")]
    spikes_in = torch.from_numpy(workload.background(b, case["steps"]))
    n_asc, n_delays = data["asc_amps"].shape[1], int(data["delay"].max())
    of_cells = {k: torch.zeros(b, n) for k in ("U", "current", "th_spike", "th_voltage")}
    of_ports = {f"y{i}_{k}": torch.zeros(b, n, r) for i in (1, 2) for k in ("fast", "slow")}
    state = glif.GlifState(
        **of_cells, **of_ports, asc=torch.zeros(b, n, n_asc),
        refractory=torch.zeros(b, n, dtype=torch.int32), pending=torch.zeros(n_delays, b, n, r),
        u=torch.zeros(b, 0), x=torch.zeros(b, 0),
    )  # fmt: skip
    rollout = get_backend(case["backend"])
    surrogate = Surrogate("triangular", 0.5, case["width"])
    del data

    def run(steps: int, record_voltage: bool = False) -> Rollout:
        return rollout(
            propagators, projections, weights, {"bkg": spikes_in[:, :steps]}, None, state, steps,
            surrogate=surrogate, detach_reset=False, record_voltage=record_voltage,
        )  # fmt: skip

    def once(steps: int) -> tuple[float, float]:
        begin = time.perf_counter()
        out = run(steps)
        if backward:
            loss = (out.spikes.mean(dim=1) - 0.01).square().mean()
            torch.autograd.grad(loss, weights)
        return time.perf_counter() - begin, float(out.spikes.detach().sum())

    if case["mode"] == "activity":
        drive = run(case["steps"], record_voltage=True).drive
        assert drive is not None
        x = drive / propagators.V_th - 1
        near = {str(w): float((x.abs() < w).float().mean()) for w in case["widths"]}
        return Program(once, extra={"active": near})
    return Program(once, any_length=case["backend"] == "reference")


if __name__ == "__main__":
    serve(prepare)
