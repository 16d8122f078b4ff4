"""PyTorch: packed rows, and the gradients of inputs and weights."""

import torch
from measure import as_state, results
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LIBRARY = "PyTorch"
ROWS = ["packed: torch"]


def run(case):
    options = {"batch_first": True, "bidirectional": case.num_directions == 2}
    if case.proj_size:
        options["proj_size"] = case.proj_size
    network_class = getattr(torch.nn, case.cell)
    network = network_class(case.input_size, case.hidden_size, case.num_layers, **options)
    network.load_state_dict({name: torch.tensor(case[name]) for name in network.state_dict()})
    network.to(case.device)
    inputs = torch.tensor(case["inputs"], device=case.device, requires_grad=True)
    lengths = torch.tensor(case.lengths)
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    state = as_state(torch.tensor(part, device=case.device) for part in case.state)
    packed_output, finals = network(packed, state)
    output, _ = pad_packed_sequence(packed_output, batch_first=True)
    arrays = results(output, *(finals if case.cell == "LSTM" else [finals]))
    torch.stack([array.square().sum() for array in arrays.values()]).sum().backward()
    leaves = {"inputs": inputs, **dict(network.named_parameters())}
    arrays |= {f"grad/{name}": leaf.grad for name, leaf in leaves.items()}
    return {name: array.detach().cpu().numpy() for name, array in arrays.items()}
