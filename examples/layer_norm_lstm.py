"""An LSTM with layer normalisation (Ba et al. 2016, https://arxiv.org/abs/1607.06450, equations
20 to 22).

python scripts/train.py imports=[examples.layer_norm_lstm] model.encoder.cell=layer_norm_lstm
"""

from torch import nn

from seqmodels import Cell


class LayerNormLSTM(Cell, name="layer_norm_lstm"):
    states = ("h", "c")

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.of_x = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.of_h = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.norm_x = nn.LayerNorm(4 * hidden_size)
        self.norm_h = nn.LayerNorm(4 * hidden_size)
        self.norm_c = nn.LayerNorm(hidden_size)

    def forward(self, x, state):
        h, c = state
        gates = self.norm_x(self.of_x(x)) + self.norm_h(self.of_h(h))
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * self.norm_c(c).tanh(), c
