"""Keras on its back ends: `Masking`, then layers that have to pass its mask on to each other."""

import os

import numpy as np
from measure import results

LIBRARY = "Keras"
ROWS = "numpy: keras jax", "JAX: keras jax", "torch: keras torch", "TensorFlow: keras tensorflow"


def keras_weights(case, weights):
    if case.cell == "GRU":
        w_ih, w_hh, b_ih, b_hh, _ = weights.in_order("rzn", "zrn")
        return [w_ih.T, w_hh.T, np.stack([b_ih, b_hh])]
    return [weights.w_ih.T, weights.w_hh.T, weights.bias]


def run(case):
    os.environ["KERAS_BACKEND"] = case.variant.lower()
    import keras

    case.refuse({"projections": case.proj_size})
    layer_class = getattr(keras.layers, {"RNN": "SimpleRNN"}.get(case.cell, case.cell))
    inputs = keras.Input((None, case.input_size))
    starts = [keras.Input((case.hidden_size,)) for _ in case.state for _ in case.layers]
    output, finals = keras.layers.Masking()(inputs), []
    for number, directions in enumerate(case.layers):
        layer = layer_class(case.hidden_size, return_sequences=True, return_state=True)
        layer = keras.layers.Bidirectional(layer) if case.num_directions == 2 else layer
        start = starts[number :: case.num_layers]
        output, *final = layer(output, initial_state=start) if start else layer(output)
        layer.set_weights([w for weights in directions for w in keras_weights(case, weights)])
        finals += final  # h, and of an LSTM c, of each direction
    model = keras.Model([inputs, *starts], [output, *finals])
    states = [layer for state in case.state for layer in state]
    output, *finals = map(keras.ops.convert_to_numpy, model([case.zero_padded, *states]))
    parts = 2 if case.cell == "LSTM" else 1
    return results(output, *(np.stack(finals[part::parts]) for part in range(parts)))
