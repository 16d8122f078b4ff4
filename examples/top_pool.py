"""Your own head: the mean of the largest values of each feature, between mean and maximum.

python scripts/train.py imports=[examples.top_pool] model.head=top_pool
"""

import torch

from seqmodels import Head


class TopPool(Head, name="top_pool"):
    reads = ("output",)

    def build(self, encoder, k: int = 3):
        self.k = k

    def select(self, states):
        valid = states.output.masked_fill(~states.mask.unsqueeze(-1), -torch.inf)
        largest = valid.topk(min(self.k, valid.shape[1]), dim=1).values  # (B, k, D*H)
        there = largest.isfinite()  # rows may be shorter than k
        return largest.masked_fill(~there, 0.0).sum(dim=1) / there.sum(dim=1)
