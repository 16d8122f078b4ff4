"""Which token comes next? A language model that reads a long text in windows.

`inputs` (B, T) are numbers below 30, and `state` is what the model returned for the window before.
It returns the scores (B, T, 30) of the next token at every step, and the state for the next window.
"""

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        self.rnn = nn.LSTM(8, 16, batch_first=True)
        self.predict = nn.Linear(16, 30)

    def forward(self, inputs, lengths, state=None):
        output, (h, c) = self.rnn(self.embed(inputs), state)
        return self.predict(output), (h, c)
