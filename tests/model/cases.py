"""Random rollouts for every backend, and their comparison with the reference."""

from dataclasses import fields, replace

import torch
from torch import Tensor

from v1builder.model import plasticity
from v1builder.model.backends import Backend, reference
from v1builder.model.neurons import glif
from v1builder.model.neurons.glif import GlifState, ThresholdDynamics
from v1builder.model.neurons.glifr import SmoothPropagators, SmoothSpike
from v1builder.model.rollout import Projection, Rollout
from v1builder.model.surrogate import Surrogate

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
N_INPUT = {"lgn": 20, "bkg": 7}


def floats(instance):
    """Names of the fields that hold floating point numbers (not None, not of size 0)."""
    values = {f.name: getattr(instance, f.name) for f in fields(instance)}
    tensors = {name: v for name, v in values.items() if isinstance(v, Tensor)}
    return [name for name, v in tensors.items() if v.is_floating_point() and v.numel()]


def map_floats(function, instance):
    changed = {name: function(name, getattr(instance, name)) for name in floats(instance)}
    return replace(instance, **changed)


class Case:
    """A random network whose cells spike a lot, with a non-zero initial state."""

    def __init__(
        self, seed=0, batch=3, steps=40, cells=37, receptors=3, delays=4, edges=600,
        dtype=torch.float64, current="full", float_input=True, n_asc=2,
    ):  # fmt: skip
        g = self.generator = torch.Generator().manual_seed(seed)
        self.steps, self.dtype = steps, dtype
        b, n, r, a, d = batch, cells, receptors, n_asc, delays

        def u(low, high, *shape):
            return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)

        def integer(low, high, *shape):
            return torch.randint(low, high, shape, generator=g, dtype=torch.int32)

        parameters = glif.GlifParameters(
            C_m=u(50, 150, n), g=u(2, 8, n), V_th=u(10, 20, n), V_reset=u(-2, 0, n),
            t_ref=u(1, 5, n), asc_amps=u(-20, 0, n, a), asc_decay=u(0.003, 0.1, n, a),
            asc_r=u(0.5, 1, n, a), tau_syn_fast=u(1, 4, n, r), tau_syn_slow=u(4, 8, n, r),
            amp_slow=u(0, 0.5, n, r),
        )  # fmt: skip
        state = GlifState(
            U=u(0, 5, b, n), asc=u(-5, 0, b, n, a), refractory=integer(0, 3, b, n),
            y1_fast=u(0, 1, b, n, r), y2_fast=u(0, 10, b, n, r), y1_slow=u(0, 1, b, n, r),
            y2_slow=u(0, 10, b, n, r), current=u(0, 20, b, n), pending=u(0, 30, d, b, n, r),
            th_spike=u(0, 1, b, n), th_voltage=u(0, 1, b, n), u=u(0, 1, b, 0), x=u(0, 1, b, 0),
        )  # fmt: skip
        self.projections, weights = [], []
        for name, n_source in {None: n, **N_INPUT}.items():
            self.projections.append(
                Projection(
                    name, n_source, integer(0, n_source, edges), integer(0, n, edges),
                    integer(0, r, edges), integer(1, d + 1, edges),
                )
            )  # fmt: skip
            weights.append(u(-40, 60, edges))
        self.inputs = {k: u(0, 1, b, steps, m) < 0.1 for k, m in N_INPUT.items()}
        shape = {"full": (b, steps, n), "constant": (1, 1, n), "in time": (1, steps, n)}.get(
            current
        )
        self.leaves: dict[str, Tensor] = {}
        self.propagators = map_floats(self._leaf, glif.propagators(parameters, 1.0))
        self.state = map_floats(self._leaf, state)
        self.weights = [self._leaf(f"weight {k}", w) for k, w in enumerate(weights)]
        self.current = None if shape is None else self._leaf("current", u(0, 80, *shape))
        if float_input:
            self.inputs["lgn"] = self._leaf("lgn", 1.5 * self.inputs["lgn"].double())

    def _leaf(self, name, tensor):
        leaf = self.leaves[name] = tensor.to(self.dtype).requires_grad_()
        return leaf

    def run(self, backend, surrogate=None, detach_reset=False, **changes) -> Rollout:
        arguments = {
            "propagators": self.propagators, "projections": self.projections,
            "weights": self.weights, "inputs": self.inputs, "current": self.current,
            "state": self.state, "n_steps": self.steps, "record_voltage": True,
        } | changes  # fmt: skip
        rollout = backend if isinstance(backend, Backend) else backend.rollout
        return rollout(
            **arguments, surrogate=surrogate or Surrogate(width=0.7), detach_reset=detach_reset
        )

    def gradients(self, rollout: Rollout, names=None) -> dict[str, Tensor]:
        """Of a loss in which every entry of every output has its own random coefficient."""
        g = torch.Generator().manual_seed(1)
        loss = torch.zeros((), dtype=self.dtype)
        for output in outputs(rollout).values():
            factor = torch.rand(output.shape, generator=g, dtype=torch.float64).to(output)
            loss = loss + (output * factor).sum()
        leaves = {k: v for k, v in self.leaves.items() if v.requires_grad}
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    def run_in_two(self, backend, at: int) -> Rollout:
        """The rollout continued at step `at`, its recordings joined."""
        parts, state = [], self.state
        for steps in (slice(0, at), slice(at, self.steps)):
            current, inputs = (
                self.current[:, steps],
                {k: v[:, steps] for k, v in self.inputs.items()},
            )
            n_steps = current.shape[1]
            changes = {"state": state, "inputs": inputs, "current": current, "n_steps": n_steps}
            parts.append(self.run(backend, **changes))
            state = parts[-1].state
        recorded = ("spikes", "voltage", "drive")
        joined = {k: torch.cat([getattr(part, k) for part in parts], 1) for k in recorded}
        return replace(parts[-1], **joined)


SITES_OF = {None: 50, "lgn": 25, "bkg": 9}


class PlasticCase(Case):
    """The random network of `Case`; of the edges of every source a share comes from sites.

    The sites are in no order and some sources have several, some none. `bkg` spikes up to twice a step.
    """

    def __init__(self, sites=SITES_OF, share=0.7, facilitation="some", **how):
        super().__init__(**how)
        g = self.generator

        def u(low, high, *shape):
            return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)

        first = 0
        for k, p in enumerate(self.projections):
            n = sites[p.source]
            chosen = torch.rand(len(p.source_index), generator=g) < share * (n > 0)
            site = torch.randint(0, max(n, 1), p.source_index.shape, generator=g, dtype=torch.int32)
            self.projections[k] = replace(
                p,
                source_index=torch.where(chosen, p.n_source + site, p.source_index),
                site_source=torch.randint(0, p.n_source, (n,), generator=g, dtype=torch.int32),
                first_site=first,
            )
            first += n
        U, tau_rec, tau_fac = u(0.1, 0.9, first), u(3, 300, first), u(3, 300, first)
        if facilitation != "all":
            without = torch.rand(first, generator=g) < (1 if facilitation == "none" else 0.4)
            tau_fac = tau_fac.masked_fill(without, 0)
        p = plasticity.coefficients(U, tau_rec, tau_fac, 1.0)
        b = len(self.state.U)
        self.plasticity = plasticity.Plasticity(
            self._leaf("site U", p.U), self._leaf("P_rec", p.P_rec), self._leaf("P_fac", p.P_fac)
        )
        self.state = replace(
            self.state,
            u=self._leaf("u", u(0, 0.8, b, first)),
            x=self._leaf("x", u(0.2, 1, b, first)),
        )
        twice = torch.rand(self.inputs["bkg"].shape, generator=g) < 0.3
        self.inputs["bkg"] = self.inputs["bkg"].to(torch.uint8) * (1 + twice.to(torch.uint8))

    def run(self, backend, **how):
        return super().run(backend, **{"plasticity": self.plasticity} | how)


def with_levels(case):
    """The same case with a threshold that moves and a reset that depends on the voltage."""
    n = case.propagators.V_th.shape

    def u(low, high):
        return low + (high - low) * torch.rand(n, generator=case.generator, dtype=torch.float64)

    dynamics = ThresholdDynamics(
        voltage_reset_fraction=u(-0.2, 0.7), th_spike_add=u(0, 6), th_spike_decay=u(0.8, 0.99),
        th_spike_refractory=u(0.5, 1), th_voltage_decay=u(0.8, 0.99),
        th_voltage_per_mV=u(0, 0.05), th_voltage_per_pA=u(-0.002, 0.004),
    )  # fmt: skip
    threshold = map_floats(case._leaf, dynamics)
    case.propagators = replace(case.propagators, threshold=threshold)
    return case


def with_instant_synapses(case):
    """The same case; some of its ports have exponential currents, some jump at once, some do neither."""
    shape, generator = case.propagators.P31_fast.shape, case.generator
    for name, low, high in (("y2_init_fast", 0.2, 1.0), ("U_jump", 0.002, 0.02)):
        value = low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)
        value[torch.rand(shape, generator=generator) < 0.4] = 0
        case.propagators = replace(case.propagators, **{name: case._leaf(name, value)})
    return case


def with_smooth_cells(case):
    """The same case of GLIFR cells: exact exponentials serve as well as those of forward Euler."""
    case.propagators = SmoothPropagators(**vars(case.propagators), smooth=SmoothSpike(4.0, 0.5))
    del case.leaves["asc_mean"]  # of no use to them
    return case


def outputs(rollout: Rollout) -> dict[str, Tensor]:
    of_state = {name: getattr(rollout.state, name) for name in floats(rollout.state)}
    recorded = {"spikes": rollout.spikes, "voltage": rollout.voltage, "drive": rollout.drive}
    return {k: v for k, v in recorded.items() if v is not None} | of_state


def assert_close(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        scale = float(value.detach().abs().max())
        error = float((got[name] - value).detach().abs().max())
        assert error <= tolerance * scale, f"{name}: {error:.2e} of {scale:.2e}"


def compare(backend, case: Case, **how):
    """A backend against the reference: outputs, and gradients of all that has one."""
    expected, got = case.run(reference, **how), case.run(backend, **how)
    assert expected.spikes.sum() > 20
    if not case.propagators.graded:
        assert torch.equal(got.spikes, expected.spikes)
    assert torch.equal(got.state.refractory, expected.state.refractory)
    tolerance = TOLERANCE[case.dtype]
    assert_close(outputs(got), outputs(expected), tolerance)
    gradients = case.gradients(expected)
    assert all(bool(g.any()) for g in gradients.values())
    assert_close(case.gradients(got), gradients, tolerance)


def assert_same_for_any_number_of_threads(backend, case: Case):
    """Outputs and gradients are the same bytes."""
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rollout = case.run(backend)
            results.append(outputs(rollout) | case.gradients(rollout))
    finally:
        torch.set_num_threads(before)
    for name, value in results[0].items():
        assert torch.equal(results[1][name], value), name
