"""Flax: layers of `nnx.RNN` and `nnx.Bidirectional` with `seq_lengths`."""

import numpy as np
from flax import nnx
from jax import numpy as jnp
from measure import as_state, results

LIBRARY = "Flax"
ROWS = ["nnx: flax jax"]
# Where a cell has the weights of its inputs, of its state, and its bias.
LSTM = [("ii", "hi", "hi"), ("if_", "hf", "hf"), ("ig", "hg", "hg"), ("io", "ho", "ho")]
CELLS = {"LSTM": (nnx.LSTMCell, LSTM), "RNN": (nnx.SimpleCell, [("dense_i", "dense_h", "dense_i")])}


def network(case, weights):
    cell_class, gates = CELLS[case.cell]
    cell = cell_class(weights.w_ih.shape[1], case.hidden_size, rngs=nnx.Rngs(0))
    arrays = [np.split(a, len(gates)) for a in (weights.w_ih, weights.w_hh, weights.bias)]
    for (of_inputs, of_state, of_bias), w_ih, w_hh, bias in zip(gates, *arrays, strict=True):
        nnx.update(getattr(cell, of_inputs), {"kernel": jnp.array(w_ih.T)})
        nnx.update(getattr(cell, of_state), {"kernel": jnp.array(w_hh.T)})
        nnx.update(getattr(cell, of_bias), {"bias": jnp.array(bias)})
    return nnx.RNN(cell)


def run(case):
    case.refuse({"projections": case.proj_size, "`b_hn` in a GRU": case.cell == "GRU"})
    options = {"seq_lengths": jnp.array(case.lengths), "return_carry": True}
    output, carries = jnp.array(case["inputs"]), []
    for number, directions in enumerate(case.layers):
        layers = [network(case, weights) for weights in directions]
        layer = layers[0] if len(layers) == 1 else nnx.Bidirectional(*layers)
        start = as_state(jnp.array(state[number]) for state in reversed(case.state))  # c, then h
        carry, output = layer(output, initial_carry=start, **options)
        carries += [carry] if len(layers) == 1 else carry
    finals = zip(*map(reversed, carries), strict=True) if case.cell == "LSTM" else [carries]
    return results(output, *map(jnp.stack, finals))
