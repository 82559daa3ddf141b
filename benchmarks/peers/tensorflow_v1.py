"""The cell of the published TensorFlow trainer of the V1 model, forward and forward+backward: GLIF3.

Re-implemented from its published algorithm; its repositories are no packages and name no licence, so none
of their code is here:
    Chen, Scherr & Maass 2022 (Sci. Adv. 8:eabq7592): github.com/ifgovh/Training-data-driven-V1-model
    its successor with double-alpha synapses: github.com/JavierGalvan9/V1_GLIF_model, v1_model_utils/models.py

A step is a Keras RNN cell; voltage in units of the threshold above rest, all that spiked within the longest
delay in one buffer, one alpha function (`rise`, `psc`) per synaptic current. At a spike the voltage drops
by 1 and goes on evolving through the refractory time (the default there; ours resets and holds it, and its
cells fire about a tenth less). The recurrent product is the successor's: forward gathers the synapses of
what spiked, the gradient of the weights too, that of the spikes is tf.sparse's product with all synapses.
(Chen et al. leave all three to tf.sparse and its gradient, which was about 20 times slower at 4 000 cells.)

Two forms of the synapses. `tensorflow-bases` is the successor's: the two alpha functions of a (cell, port)
are approximated by `N_BASES` that all cells share, every weight is spread over them, and the gradient of
the spikes takes as many products. `tensorflow` has two alpha functions per port with the cell's own time
constants, as this benchmark's networks have, and rows (cell, port) as in Chen et al.: exact, and faster.

What is not as published:
- No LGN, no voltage output or loss, no readout; background spikes are given, not drawn in the cell.
- Surrogate of dampening 0.5, no second dampening of recurrent and voltage gradients, which only scales
  them. Jumps at a spike are taken out of the gradient, as published.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import numpy as np
import tensorflow as tf
import workload
from protocol import Program, serve

DAMPENING = 0.5
N_BASES = 4  # alpha functions that all cells share


@tf.custom_gradient
def spike(x):
    """1 where x > 0, with a triangle of width 1 as its derivative."""

    def gradient(upstream):
        return upstream * DAMPENING * tf.maximum(1 - tf.abs(x), 0)

    return tf.cast(x > 0, tf.float32), gradient


class Synapses:
    """Sparse matrix of trained weights. `into_spikes`: its product has a gradient for the spikes too.

    Every weight is spread over K entries of its row in proportion to shares[kind]: shares [kind, K], None for
    one entry that gets it all.
    """

    def __init__(
        self, row, column, weight, shape: tuple[int, int], kind, shares, into_spikes: bool
    ):
        order = np.argsort(column, kind="stable").astype(np.int32)
        ends = np.cumsum(np.bincount(column, minlength=shape[1]))
        starts = np.append(0, ends).astype(np.int32)
        self.synapses_of = tf.RaggedTensor.from_row_splits(order, starts, validate=False)
        self.index = tf.constant(np.stack([row, column], 1), tf.int64)
        self.row = tf.constant(row, tf.int32)
        self.weight = tf.Variable(weight, dtype=tf.float32)
        self.kind = tf.constant(kind, tf.int32)
        self.shares = tf.ones((1, 1)) if shares is None else tf.constant(shares, tf.float32)
        self.shape, self.into_spikes, self.spread = shape, into_spikes, shares is not None

    def product(self, spikes):
        """[b, row, K] pA that arrive from spikes [b, column]."""
        n_rows, n_samples, n_shares = self.shape[0], spikes.shape[0], self.shares.shape[1]

        @tf.custom_gradient
        def gathered(spikes, weight):
            fired = tf.cast(tf.where(spikes > 0), tf.int32)
            synapses = tf.gather(self.synapses_of, fired[:, 1])
            synapse = synapses.flat_values
            sample = tf.repeat(fired[:, 0], synapses.row_lengths())
            place = sample * n_rows + tf.gather(self.row, synapse)
            share = tf.gather(self.shares, tf.gather(self.kind, synapse)) if self.spread else 1.0
            total = tf.math.unsorted_segment_sum(
                tf.gather(weight, synapse)[:, None] * share, place, n_samples * n_rows
            )
            # the gradient of a loop can use only what the loop's body has touched
            index, kind, shares = (tf.identity(x) for x in (self.index, self.kind, self.shares))

            def gradient(upstream):
                at_place = tf.gather(tf.reshape(upstream, [-1, n_shares]), place)
                for_weight = tf.math.unsorted_segment_sum(
                    tf.reduce_sum(at_place * share, 1), synapse, len(self.row)
                )
                if not self.into_spikes:
                    return None, for_weight
                for_spikes = 0.0
                for k in range(n_shares):
                    values = weight * tf.gather(shares[:, k], kind) if self.spread else weight
                    matrix = tf.SparseTensor(index, values, self.shape)
                    for_spikes += tf.sparse.sparse_dense_matmul(upstream[:, :, k], matrix)
                return for_spikes, for_weight

            return tf.reshape(total, [n_samples, n_rows, n_shares]), gradient

        return gathered(spikes, tf.convert_to_tensor(self.weight))


def alpha(tau: np.ndarray) -> np.ndarray:
    """Alpha functions of height 1 in the columns, over 60 ms."""
    t = np.arange(0.0, 60.0, 0.5)[:, None]
    return t / tau * np.exp(1 - t / tau)


def shared_bases(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Time constants [K] ms, and shares [cell x port, K] of them in the current of a spike of 1 pA."""
    tau = np.geomspace(1.2, 8.5, N_BASES)
    slow = data["amp_slow"].ravel() * alpha(data["tau_syn_slow"].ravel())
    wanted = alpha(data["tau_syn_fast"].ravel()) + slow
    return tau, np.linalg.lstsq(alpha(tau), wanted, rcond=None)[0].T


class Cell(tf.keras.layers.Layer):
    """One step. State: spikes of the last steps, voltage, refractory ms, after-spike currents, rise, psc."""

    def __init__(self, data: dict[str, np.ndarray], n_ports: int, with_bases: bool):
        super().__init__()
        n, dt = len(data["C_m"]), workload.DT
        n_delays = int(data["delay"].max())
        port, drive_port = data["receptor"], np.full_like(data["drive_target"], n_ports - 1)
        kind, drive_kind = (
            data["target"] * n_ports + port, data["drive_target"] * n_ports + drive_port
        )  # fmt: skip
        if with_bases:
            rows, row, drive_row = n, data["target"], data["drive_target"]
            tau, shares = shared_bases(data)
            amplitude = np.ones(N_BASES)
            per_cell: tuple[int, ...] = (N_BASES,)
        else:
            rows, row, drive_row = n * n_ports, kind, drive_kind
            tau = np.stack([data["tau_syn_fast"], data["tau_syn_slow"]], 1)  # [n, 2, port]
            amplitude = np.stack([np.ones_like(data["amp_slow"]), data["amp_slow"]], 1)
            shares = None
            per_cell = (2, n_ports)
        self.recurrent = Synapses(
            row, data["source"] + n * (data["delay"] - 1), data["weight"], (rows, n * n_delays),
            kind, shares, into_spikes=True,
        )  # fmt: skip
        self.drive = Synapses(
            drive_row, data["drive_source"], data["drive_weight"], (rows, workload.N_BACKGROUND),
            drive_kind, shares, into_spikes=False,
        )  # fmt: skip

        def constant(x: np.ndarray):
            return tf.constant(x, tf.float32)

        per_step = data["g"] / data["C_m"] * dt
        self.decay = constant(np.exp(-per_step))
        self.per_pA = constant(-np.expm1(-per_step) / data["g"] / data["V_th"])
        self.t_ref, self.asc_amps = constant(data["t_ref"]), constant(data["asc_amps"])
        self.asc_decay = constant(np.exp(-data["asc_decay"] * dt))
        self.psc_decay = constant(np.exp(-dt / tau))
        self.rise_per_pA = constant(amplitude * np.e / tau)
        self.n, self.output_size = n, n
        self.state_size = [
            (n * n_delays,), (n,), (n,), (n, 2), (n, *per_cell), (n, *per_cell)
        ]  # fmt: skip

    def get_initial_state(self, batch_size: int):
        return [tf.zeros((batch_size, *size)) for size in self.state_size]

    def call(self, spikes_in, state):
        recent, v, refractory, asc, rise, psc = state
        spiked = tf.stop_gradient(recent[:, : self.n])
        arriving = self.recurrent.product(recent) + self.drive.product(spikes_in)
        arriving = tf.reshape(arriving, [-1, self.n, *(1,) * (psc.shape.rank - 3), psc.shape[-1]])
        current = tf.reduce_sum(psc, list(range(2, psc.shape.rank))) + tf.reduce_sum(asc, 2)
        v = self.decay * v + self.per_pA * current - spiked
        refractory = tf.maximum(refractory + spiked * self.t_ref - workload.DT, 0)
        spikes = tf.where(refractory > 0, 0.0, spike(v - 1))
        return spikes, [
            tf.concat([spikes, recent[:, : -self.n]], 1),
            v,
            refractory,
            self.asc_decay * asc + spiked[..., None] * self.asc_amps,
            self.psc_decay * rise + self.rise_per_pA * arriving,
            self.psc_decay * (psc + workload.DT * rise),
        ]


def prepare(case: dict) -> Program:
    tf.config.threading.set_intra_op_parallelism_threads(case["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(case["threads"])
    n_ports, b = case["receptors"], case["batch"]
    data = workload.glif3(case["cells"], case["fan_in"], n_ports)
    cell = Cell(data, n_ports, with_bases=case["backend"] == "tensorflow-bases")
    rnn = tf.keras.layers.RNN(cell, return_sequences=True)
    weights = [cell.recurrent.weight, cell.drive.weight]
    spikes_in = tf.constant(workload.background(b, case["steps"]), tf.float32)
    signature = [tf.TensorSpec([b, None, workload.N_BACKGROUND])]  # any number of steps, one trace

    @tf.function(input_signature=signature)
    def forward(spikes_in):
        return tf.reduce_sum(rnn(spikes_in)), []

    @tf.function(input_signature=signature)
    def both(spikes_in):
        with tf.GradientTape() as tape:
            spikes = rnn(spikes_in)
            loss = tf.reduce_mean(tf.square(tf.reduce_mean(spikes, 1) - 0.01))
        return tf.reduce_sum(spikes), tape.gradient(loss, weights)

    run = both if case["mode"] == "forward+backward" else forward

    def once(steps: int) -> tuple[float, float]:
        given = spikes_in[:, :steps]
        begin = time.perf_counter()
        n_spikes, _ = run(given)
        n_spikes = float(n_spikes)
        return time.perf_counter() - begin, n_spikes

    return Program(once, any_length=True)


if __name__ == "__main__":
    serve(prepare)
