"""Equinox: its cells in `jax.lax.scan`, which is ours: it keeps the state where a row has ended."""

from operator import attrgetter

import equinox
import jax
from measure import as_state, results

LIBRARY = "Equinox"
ROWS = ["cells: equinox jax"]


def cell_of(case, weights):
    arrays = {"weight_ih": weights.w_ih, "weight_hh": weights.w_hh, "bias": weights.bias}
    if case.cell == "GRU":
        arrays["bias"], arrays["bias_n"] = weights.gru_biases
    cell_class = getattr(equinox.nn, f"{case.cell}Cell")
    cell = cell_class(weights.w_ih.shape[1], case.hidden_size, key=jax.random.key(0))
    return equinox.tree_at(attrgetter(*arrays), cell, tuple(arrays.values()))


def step(cell, state, rows):
    inputs, is_valid = rows
    after = jax.tree.leaves(jax.vmap(cell)(inputs, as_state(state)))
    state = [jax.numpy.where(is_valid, *parts) for parts in zip(after, state, strict=True)]
    return state, state[0]


def run(case):
    case.refuse({"projections": case.proj_size, "RNN": case.cell == "RNN"})
    output, mask, finals = case["inputs"].swapaxes(0, 1), case.mask.T[:, :, None], []
    for directions in case.layers:
        rows, halves = (output, mask), []
        for backward, weights in enumerate(directions):
            cell = jax.tree_util.Partial(step, cell_of(case, weights))
            final, half = jax.lax.scan(cell, case.start(len(finals)), rows, reverse=backward == 1)
            finals.append(final)
            halves.append(half)
        output = jax.numpy.concatenate(halves, axis=2)
    return results(output.swapaxes(0, 1), *map(jax.numpy.stack, zip(*finals, strict=True)))
