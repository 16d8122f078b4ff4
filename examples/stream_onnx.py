"""Read a row some steps at a time by an exported graph, with numpy and onnxruntime alone.

    python scripts/export.py run=runs/<folder> stream=true
    python examples/stream_onnx.py runs/<folder>/export/model.onnx < steps.jsonl

Each line holds the next steps as the graph reads them, token ids or features: [5, 7] or
[[0.5, 1.2], [0.4, 1.1]]. Prints the logits of each step or, if the model predicts once a row, those
after these steps. `serve_onnx.py` shows how texts and series become such numbers.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import onnxruntime

TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}


class Stream:
    """`stream(inputs)` reads the next steps of `rows` rows, `(B, t)` or `(B, t, F)`, and returns
    logits `(B, t, C)` or `(B, C)`; `stream.reset()` begins new rows."""

    def __init__(self, path: str, rows: int = 1) -> None:
        self.graph = onnxruntime.InferenceSession(path)
        self.rows = rows
        self.reset()

    def reset(self) -> None:
        # The inputs after `inputs` and `lengths` are the state: h_0 (L, B, H), c_0, and what a head
        # that pools keeps.
        self.state = {}
        for port in self.graph.get_inputs()[2:]:
            shape = [self.rows if size == "batch" else size for size in port.shape]
            self.state[port.name] = np.zeros(shape, TYPES[port.type])

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        lengths = np.full(self.rows, inputs.shape[1])
        arrays = {"inputs": inputs, "lengths": lengths, **self.state}
        logits, *next_state = self.graph.run(None, arrays)  # h_n, c_n, ...
        self.state = dict(zip(self.state, next_state, strict=True))
        return logits


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("error: name a graph: stream_onnx.py runs/<folder>/export/model.onnx")
    stream = Stream(sys.argv[1])
    dtype = TYPES[stream.graph.get_inputs()[0].type]
    for line in sys.stdin:
        row = json.loads(line)
        [logits] = stream(np.array([row], dtype))
        print(json.dumps(logits.tolist()), flush=True)


if __name__ == "__main__":
    main()
