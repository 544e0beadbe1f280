import math

import pytest
import torch

from assay.papers.optimization.ef21w.method import (
    Blockwise,
    FixedGrid,
    Identity,
    RandK,
    ScaledQuantizer,
    SignL1,
    Threshold,
    TopK,
)

DETERMINISTIC = [
    Identity(),
    TopK(3),
    TopK(0.1),
    SignL1(),
    Threshold(0.8),
    FixedGrid(0.5),
    FixedGrid(0.1, width=3),
]
RANDOM = [RandK(3), ScaledQuantizer(2), ScaledQuantizer(9)]
VECTORS = torch.randn(200, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SPIKED = VECTORS * torch.logspace(-3, 2, 20, dtype=torch.float64)


@pytest.mark.parametrize("compressor", DETERMINISTIC, ids=repr)
@pytest.mark.parametrize("vectors", [VECTORS, SPIKED, torch.ones(2, 20, dtype=torch.float64)])
def test_deterministic_compressors_contract_every_vector(compressor, vectors):
    error = (compressor.compress(vectors).dense() - vectors).square().sum(-1)
    allowed = (1.0 - compressor.alpha(20)) * vectors.square().sum(-1)
    assert (error <= allowed * (1 + 1e-12)).all()


@pytest.mark.parametrize("compressor", RANDOM, ids=repr)
def test_random_compressors_contract_in_expectation(compressor):
    vector = SPIKED[:1].expand(20000, -1)
    sent = compressor.compress(vector, torch.Generator().manual_seed(1)).dense()
    error = (sent - vector).square().sum(-1)
    tolerance = 4 * error.std() / math.sqrt(len(vector))
    assert error.mean() <= (1.0 - compressor.alpha(20)) * vector[0].square().sum() + tolerance


def test_rand_k_contracts_by_exactly_k_over_d_on_average():
    vector = VECTORS[:1].expand(40000, -1)
    error = (RandK(5).compress(vector, torch.Generator().manual_seed(2)).dense() - vector).square().sum(-1)
    assert float(error.mean() / vector[0].square().sum()) == pytest.approx(0.75, abs=0.005)


def test_quantizer_is_unbiased_before_its_scaling():
    quantizer, vector = ScaledQuantizer(3), VECTORS[:1].expand(40000, -1)
    sent = quantizer.compress(vector, torch.Generator().manual_seed(3)).dense()
    unbiased = sent.mean(0) * (1.0 + quantizer.variance(20))
    torch.testing.assert_close(unbiased, vector[0], atol=0.03, rtol=0)
    assert quantizer.alpha(20) == pytest.approx(1 / (1 + min(20 / 9, math.sqrt(20) / 3)))


@pytest.mark.parametrize("compressor", DETERMINISTIC + RANDOM, ids=repr)
def test_homogeneous_means_scaling_commutes_with_compression(compressor):
    def sent(vectors):
        return compressor.compress(vectors, torch.Generator().manual_seed(4)).dense()

    agrees = torch.allclose(sent(3.7 * VECTORS), 3.7 * sent(VECTORS), rtol=1e-12)
    assert agrees == compressor.homogeneous


def test_top_k_by_hand():
    sent = TopK(2).compress(torch.tensor([[1.0, -5.0, 0.5, 3.0]], dtype=torch.float64))
    assert sent.dense().tolist() == [[0.0, -5.0, 0.0, 3.0]]
    assert sent.bits == 2 * (64 + 2)


def test_sign_by_hand_sends_one_bit_a_coordinate_and_a_scale():
    sent = SignL1().compress(torch.tensor([[1.0, -2.0, 0.0]], dtype=torch.float64))
    assert sent.dense().tolist() == [[1.0, -1.0, 1.0]]
    assert sent.bits == 3 + 64


def test_threshold_by_hand_sends_at_least_the_largest():
    sent = Threshold(2.0).compress(torch.tensor([[1.0, -5.0, 0.5, 2.0], [0.1, 0.2, 0.0, 0.0]]))
    assert sent.dense().tolist() == [[0.0, -5.0, 0.0, 2.0], [0.0, pytest.approx(0.2), 0.0, 0.0]]
    assert sent.bits.tolist() == [2 * (32 + 2), 32 + 2]


def test_fixed_grid_by_hand():
    sent = FixedGrid(1.0, width=3).compress(torch.tensor([[0.4, 1.6, -9.0, 20.0]], dtype=torch.float64))
    assert sent.dense().tolist() == [[0.0, 2.0, -3.0, 20.0]]
    assert sent.bits == 4 * 3 + 64 + 2


def test_a_fraction_keeps_that_share_rounded_up():
    assert [TopK(0.01).compress(torch.zeros(1, d)).indices.shape[-1] for d in (1, 100, 101)] == [1, 1, 2]
    assert TopK(0.01).alpha(101) == 2 / 101


def test_bits_of_an_index_are_those_that_name_all_coordinates():
    lengths = [int(TopK(1).compress(torch.zeros(1, d)).bits) - 32 for d in (1, 2, 3, 30, 300, 1024, 1025)]
    assert lengths == [0, 1, 2, 5, 9, 10, 11]


def test_blockwise_equals_compressing_the_blocks_one_by_one():
    blocks = Blockwise(TopK(2), (5, 1, 14))
    sent = blocks.compress(VECTORS)
    expected = [TopK(2).compress(part) for part in VECTORS.split((5, 1, 14), dim=-1)]
    assert torch.equal(sent.dense(), torch.cat([part.dense() for part in expected], dim=-1))
    assert sent.bits == sum(part.bits for part in expected)
    assert blocks.alpha(20) == 2 / 14
    assert Blockwise(SignL1(), (5, 15)).compress(VECTORS).indices is None


def test_without_an_exact_coordinate_a_threshold_does_not_contract():
    assert Threshold(1.0, exact=0).alpha(20) == 0.0
    assert Threshold(1.0, exact=0).compress(torch.full((1, 20), 0.9)).dense().count_nonzero() == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: TopK(0),
        lambda: RandK(-1),
        lambda: TopK(1.5),
        lambda: TopK(0.0),
        lambda: Threshold(0.0),
        lambda: FixedGrid(0.1, width=1),
        lambda: ScaledQuantizer(0),
        lambda: Blockwise(TopK(1), (2, 3)).alpha(6),
    ],
)
def test_settings_that_compress_to_nothing_are_refused(make):
    with pytest.raises(ValueError, match=r"give|must|have"):
        make()
