"""An optimizer of your own: Lion, the sign of a momentum (https://arxiv.org/abs/2302.06675)."""

import torch
from torch.optim import Optimizer


class Lion(Optimizer):
    def __init__(self, params, lr=3e-4, betas=(0.9, 0.99), weight_decay=0.1):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            lr = group["lr"]
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                update = torch.lerp(weight.grad, momentum, beta1).sign_()
                weight.mul_(1 - lr * group["weight_decay"])
                weight.sub_(update, alpha=lr)
                momentum.lerp_(weight.grad, 1 - beta2)
        return loss
