"""Is a review good or bad? Tokens in, scores of 2 classes out, from all final states of 2 layers.

`inputs` (B, T) are numbers below 30, padded at the end, `lengths` (B,) are the rows' own.
"""

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        self.rnn = nn.GRU(8, 16, num_layers=2, batch_first=True, bidirectional=True)
        self.classify = nn.Linear(4 * 16, 2)

    def forward(self, inputs, lengths):
        embedded = self.embed(inputs)
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        output, h_n = self.rnn(packed)
        return self.classify(h_n.reshape(len(inputs), -1))
