"""Paddle: layers of `paddle.nn` with `sequence_length`, and the gradients of inputs."""

import paddle
from measure import as_state, results

LIBRARY = "Paddle"
ROWS = ["paddle.nn: paddlepaddle"]
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_ho")


def run(case):
    layer_class = getattr(paddle.nn, {"RNN": "SimpleRNN"}.get(case.cell, case.cell))
    options = {"direction": "bidirect" if case.num_directions == 2 else "forward"}
    if case.proj_size:
        options["proj_size"] = case.proj_size
    network = layer_class(case.input_size, case.hidden_size, case.num_layers, **options)
    for layer, directions in zip(network, case.layers, strict=True):
        cells = [layer.cell_fw, layer.cell_bw] if case.num_directions == 2 else [layer.cell]
        for cell, weights in zip(cells, directions, strict=True):
            for name, array in zip(NAMES, weights, strict=True):
                if array is not None:
                    getattr(cell, name).set_value(array.T if name == "weight_ho" else array)
    inputs = paddle.to_tensor(case["inputs"], stop_gradient=False)
    state = as_state(map(paddle.to_tensor, case.state))
    output, finals = network(inputs, state, sequence_length=paddle.to_tensor(case.lengths))
    finals = finals if case.cell == "LSTM" else [finals]
    mask = paddle.to_tensor(case.mask[:, :, None].astype("float32"))
    sum(array.square().sum() for array in (output * mask, *finals)).backward()
    arrays = results(output, *finals) | {"grad/inputs": inputs.grad}
    return {name: array.numpy() for name, array in arrays.items()}
