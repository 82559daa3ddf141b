"""BrainPy's event-driven operators (brainevent) in a JAX scan: LIF, forward and forward+backward."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import brainevent
import braintools
import jax
import jax.numpy as jnp
import numpy as np
import workload
from protocol import Program, serve


def by_source(data: dict, prefix: str, n_sources: int):
    """CSR with sources as rows."""
    source = data[prefix + "source"]
    order = np.argsort(source, kind="stable")
    start = np.zeros(n_sources + 1, np.int32)
    np.cumsum(np.bincount(source, minlength=n_sources), out=start[1:])
    target = data[prefix + "target"][order].astype(np.int32)
    return data[prefix + "weight"][order].astype(np.float32), target, start


def prepare(case: dict) -> Program:
    n, b, steps = case["cells"], case["batch"], case["steps"]
    data = workload.lif(n, case["fan_in"])
    (w, *edges), (w_in, *edges_in) = (
        by_source(data, "", n), by_source(data, "drive_", workload.N_BACKGROUND)
    )  # fmt: skip
    edges, edges_in = [jnp.asarray(x) for x in edges], [jnp.asarray(x) for x in edges_in]
    weights = jnp.asarray(w), jnp.asarray(w_in)
    spikes_in = np.moveaxis(workload.background(b, steps), 1, 0).astype(np.float32)  # [t, b, k]
    spikes_in = jnp.asarray(spikes_in[:, 0] if b == 1 else spikes_in)
    surrogate = braintools.surrogate.ReluGrad(alpha=0.5, width=1.0)
    del data

    def rollout(weights):
        recurrent = brainevent.CSR((weights[0], *edges), shape=(n, n))
        drive = brainevent.CSR((weights[1], *edges_in), shape=(workload.N_BACKGROUND, n))

        def step(carry, x):
            z, v = carry
            arriving = brainevent.BinaryArray(z) @ recurrent + brainevent.BinaryArray(x) @ drive
            v = v * workload.DECAY + arriving
            z = surrogate(v / workload.V_TH - 1)
            return (z, v * (1 - z)), z

        zero = jnp.zeros(n if b == 1 else (b, n), jnp.float32)
        _, spikes = jax.lax.scan(step, (zero, zero), spikes_in)
        return spikes

    def loss(weights):
        spikes = rollout(weights)
        return jnp.square(spikes.mean(0) - 0.01).mean(), spikes.sum()

    if case["mode"] == "forward+backward":
        compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
    else:
        compiled = jax.jit(lambda weights: (loss(weights), None))

    def once(_: int) -> tuple[float, float]:
        begin = time.perf_counter()
        (_, n_spikes), _ = jax.block_until_ready(compiled(weights))
        return time.perf_counter() - begin, float(n_spikes)

    return Program(once)


if __name__ == "__main__":
    serve(prepare)
