"""The GRU in both directions against torch's own."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from assay.papers.speech.recurrence import both_ways

LENGTHS = torch.tensor([7, 4, 1])


@pytest.fixture
def grus() -> tuple[nn.GRU, nn.GRU]:
    first, second = (nn.GRU(5, 6, batch_first=True).double() for _ in range(2))
    return first, second


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(3, 7, 5, dtype=torch.float64, requires_grad=True)


def packed(onward: nn.GRU, back: nn.GRU, inputs: Tensor) -> Tensor:
    """Return the states of torch's bidirectional GRU on packed sequences."""
    gru = nn.GRU(5, 6, batch_first=True, bidirectional=True).double()
    weights = dict(onward.state_dict()) | {
        f"{name}_reverse": value for name, value in back.state_dict().items()
    }
    gru.load_state_dict(weights)
    states, _ = gru(pack_padded_sequence(inputs, LENGTHS, batch_first=True))
    return pad_packed_sequence(states, batch_first=True)[0]


def test_states_are_those_of_torch_at_every_step_that_counts(grus, inputs):
    inside = (torch.arange(7) < LENGTHS[:, None])[..., None]
    torch.testing.assert_close(both_ways(*grus, inputs, LENGTHS) * inside, packed(*grus, inputs))


def test_gradients_are_those_of_torch(grus, inputs):
    parameters = [inputs, *grus[0].parameters(), *grus[1].parameters()]
    lengths = torch.tensor([7, 7, 7])
    weights = torch.randn(3, 7, 12, dtype=torch.float64)
    turned, _ = grus[1](inputs.flip(1))
    plain = torch.cat([grus[0](inputs)[0], turned.flip(1)], dim=-1)
    expected = torch.autograd.grad((plain * weights).sum(), parameters)
    found = torch.autograd.grad((both_ways(*grus, inputs, lengths) * weights).sum(), parameters)
    torch.testing.assert_close(found, expected)


def test_padding_and_company_do_not_change_a_row(grus, inputs):
    alone = both_ways(*grus, inputs[1:2, :4], LENGTHS[1:2])
    torch.testing.assert_close(both_ways(*grus, inputs, LENGTHS)[1:2, :4], alone)
