"""Which token comes next? A language model for training on rows of one text each.

`inputs` (B, T) are numbers below 30, padded at the end, `lengths` (B,) are the rows' own. It
returns the scores (B, T, 30) of the next token at every step.
"""

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        self.rnn = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
        self.predict = nn.Linear(32, 30)

    def forward(self, inputs, lengths):
        embedded = self.embed(inputs)
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        output, _ = self.rnn(packed)
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=inputs.shape[1])
        return self.predict(output)
