"""Which word is spoken? One stream for each microphone, which run side by side.

`chunk` (B, t, 12) are the next steps of B speakers at this microphone. `forward` returns scores
(B, 5) of the word so far, and `reset` begins new words.
"""

from torch import nn


class Model(nn.Module):
    state = None

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(12, 16, batch_first=True)
        self.classify = nn.Linear(16, 5)

    def reset(self):
        Model.state = None

    def forward(self, chunk):
        output, (h, c) = self.rnn(chunk, self.state)
        Model.state = (h.detach(), c.detach())
        return self.classify(h[-1])
