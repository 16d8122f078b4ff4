"""This project: `RecurrentEncoder` in each packing, and the gradients of inputs and weights."""

import torch
from measure import as_state, results

from seqmodels.nn.encoder import RecurrentEncoder

LIBRARY = "seqmodels"
ROWS = ["auto: seqmodels-template", "packed: seqmodels-template", "padded: seqmodels-template"]


def run(case):
    encoder = RecurrentEncoder(
        *(case.input_size, case.hidden_size, case.num_layers),
        cell=case.cell.lower(),
        bidirectional=case.num_directions == 2,
        proj_size=case.proj_size,
        packing=case.variant,
    )
    network = encoder.rnn
    network.load_state_dict({name: torch.tensor(case[name]) for name in network.state_dict()})
    encoder.to(case.device)
    inputs = torch.tensor(case["inputs"], device=case.device, requires_grad=True)
    state = as_state(torch.tensor(part, device=case.device) for part in case.state)
    states = encoder(inputs, torch.tensor(case.lengths), state)
    finals = states.state if case.cell == "LSTM" else [states.state]
    arrays = results(states.output, *finals)
    torch.stack([array.square().sum() for array in arrays.values()]).sum().backward()
    leaves = {"inputs": inputs, **dict(network.named_parameters())}
    arrays |= {f"grad/{name}": leaf.grad for name, leaf in leaves.items()}
    return {name: array.detach().cpu().numpy() for name, array in arrays.items()}
