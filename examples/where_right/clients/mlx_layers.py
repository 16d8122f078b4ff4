"""MLX: layers of `mlx.nn`, which know no lengths: a final state is read at a row's last step."""

import numpy as np
from measure import last_steps, results
from mlx import core as mx
from mlx import nn

LIBRARY = "MLX"
ROWS = ["mlx[cpu]==0.30.*", "mlx[cpu]==0.31.1", "mlx[cpu]==0.31.2", "mlx[cpu]==0.32.*"]
NAMES = {"LSTM": ("Wx", "Wh", "bias"), "GRU": ("Wx", "Wh", "b"), "RNN": ("Wxh", "Whh", "bias")}


def device():
    return mx.default_device().type.name


def run(case):
    case.refuse({"projections": case.proj_size, "two directions": case.num_directions == 2})
    steps, h_n, c_n = mx.array(case["inputs"]), [], []
    for number, [weights] in enumerate(case.layers):
        layer = getattr(nn, case.cell)(weights.w_ih.shape[1], case.hidden_size)
        w_ih, w_hh, bias = NAMES[case.cell]
        arrays = {w_ih: weights.w_ih, w_hh: weights.w_hh, bias: weights.bias}
        if case.cell == "GRU":
            arrays["b"], arrays["bhn"] = weights.gru_biases
        layer.update({name: mx.array(array) for name, array in arrays.items()})
        steps = layer(steps, *(mx.array(state[number]) for state in case.state))
        if case.cell == "LSTM":
            steps, cells = steps
            c_n.append(last_steps(cells, case.lengths))
        h_n.append(last_steps(steps, case.lengths))
    return results(steps, np.stack(h_n), np.stack(c_n) if c_n else None)
