"""Training against a frozen surrogate."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from assay.papers.privacy.t2ue.method import (
    CaptionBank,
    MinMinLoss,
    T2UETrainer,
    TextConditionedNoiseGenerator,
    TwoTowers,
    excess_loss,
    train_surrogate,
)
from assay.training import batches

CAPTIONS = [[f"caption {row}"] for row in range(8)]


@pytest.fixture
def pictures():
    return torch.randint(
        0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


def test_gradients_reach_the_generator_alone(generator, surrogate, pictures, hash_embed):
    surrogate.requires_grad_(True)
    loss = MinMinLoss(surrogate, CaptionBank(CAPTIONS, surrogate.encode_text, hash_embed))
    loss(generator.train(), (pictures, torch.arange(8))).backward()
    assert all(parameter.grad is None for parameter in surrogate.parameters())
    assert all(parameter.grad is not None for parameter in generator.parameters())
    assert not surrogate.training


class Still(TextConditionedNoiseGenerator):
    """A generator that always draws the same random vectors, so that only its weights change."""

    def forward(self, text_emb, z):
        fixed = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        return super().forward(text_emb, fixed)


def test_one_batch_is_overfitted_without_a_step_back(surrogate, pictures, hash_embed):
    torch.manual_seed(0)
    still = Still(8, z_dim=4, base_channels=16, out_size=16, eps=0.1)
    trainer = T2UETrainer(still, surrogate, hash_embed, learning_rate=1e-3, epochs=50)

    def similarity():
        with torch.no_grad():
            noise = still(hash_embed([text for (text,) in CAPTIONS]), torch.zeros(8, 4))
            image = surrogate.encode_image((pictures / 255 + noise).clamp(0, 1))
        return cosine_similarity(image, surrogate.encode_text([text for (text,) in CAPTIONS])).mean()

    before = similarity()
    history = trainer.fit([(pictures, torch.arange(8))], CAPTIONS)
    assert history.gradient_steps == 50
    smooth = torch.tensor(history.losses).unfold(0, 5, 5).mean(dim=1)
    assert bool((smooth.diff() < 0).all())
    assert history.losses[-1] < history.losses[0] - 0.02
    assert similarity() > before


def test_one_of_a_pictures_captions_is_drawn_at_each_visit(surrogate):
    bank = CaptionBank([["a", "b", "c"], ["d"], ["b", "a"]], surrogate.encode_text)
    assert len(bank.features) == 4  # the distinct ones
    drawn = torch.stack([bank.draw(torch.tensor([0, 1, 2])) for _ in range(300)])
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[0, 1, 2], [3], [0, 1]]
    counts = drawn[:, 0].bincount(minlength=3) / 300
    assert counts.sub(1 / 3).abs().max() < 0.1


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ([], "no captions"),
        ([["a"], []], "Picture 1 needs a list"),
        (["a"], "Picture 0 needs a list"),
        ([["a"], [" "]], "1 of 2 captions are empty, the first is number 2"),
    ],
)
def test_captions_that_cannot_be_used_are_refused(surrogate, captions, message):
    with pytest.raises(ValueError, match=message):
        CaptionBank(captions, surrogate.encode_text)


def test_a_small_surrogate_learns_pairs_and_is_frozen(hash_embed):
    torch.manual_seed(0)
    colours = torch.eye(3)[torch.arange(60) % 3][:, :, None, None].expand(-1, -1, 8, 8).contiguous()
    captions = [[("red", "green", "blue")[row % 3]] for row in range(60)]
    towers = TwoTowers(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 6)), torch.nn.Linear(8, 6), hash_embed
    )
    pairs = batches(colours, torch.arange(60), batch_size=20, generator=torch.Generator().manual_seed(0))
    before = excess_loss(towers, pairs, [text for (text,) in captions])
    bank = CaptionBank(captions, hash_embed)
    train_surrogate(towers, pairs, bank, epochs=60, learning_rate=1e-2)
    assert before > 0.2
    assert 0 <= excess_loss(towers, pairs, [text for (text,) in captions]) < 0.05
    assert not any(parameter.requires_grad for parameter in towers.parameters())
    assert not any("embed" in name for name in towers.state_dict())
