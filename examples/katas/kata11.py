"""Is somebody speaking? A stream of sound in, a score of each step out, while it arrives.

`chunk` (B, t, 12) are the next steps of B recordings. `forward` returns scores (B, t, 2) for them,
and `reset` begins new recordings.
"""

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(12, 16, batch_first=True)
        self.classify = nn.Linear(16, 2)
        self.reset()

    def reset(self):
        self.state = None

    def forward(self, chunk):
        output, self.state = self.rnn(chunk)
        return self.classify(output)
