"""The small recogniser: its features, its training, and what its texts do not depend on."""

import numpy as np
import pytest
from torch.nn.utils.rnn import pad_sequence

from assay.papers.speech.options import Training
from assay.papers.speech.small_recogniser import SmallRecogniser, Speech, characters, log_mel, train
from assay.papers.speech.synthesis import Voice, synthesise
from assay.training import Compute


def test_log_mel_frames_are_8_ms_apart_and_standardised():
    (frames,) = log_mel([np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)])
    assert frames.shape == (126, 40)
    assert frames.mean().item() == pytest.approx(0, abs=1e-4)
    assert frames.std().item() == pytest.approx(1, abs=1e-4)


def test_rare_characters_are_left_out_of_the_vocabulary():
    assert characters(["ab" * 10_000 + "c" * 2 + "ddddd"]) == "abd"


@pytest.fixture(scope="module")
def learnt():
    """A recogniser that has learnt two words by heart."""
    audio = synthesise(["yes", "no"], Voice("en-us", 120))
    options = Training(batch_size=2, width=32, learning_rate=1e-2)
    return audio, train(Speech(audio, ["Yes.", "no"]), options, 120, Compute("cpu"))


def test_training_teaches_case_and_marks(learnt):
    audio, recogniser = learnt
    assert recogniser(audio) == ["Yes.", "no"]


def test_the_company_of_a_sound_does_not_change_its_text(learnt):
    audio, recogniser = learnt
    longer = np.concatenate([audio[0], audio[1]])
    assert recogniser([audio[1], longer])[0] == recogniser([audio[1]])[0]
    scores = [
        recogniser.network(frames[None], frames.new_tensor([len(frames)]).long())[0]
        for frames in log_mel([audio[1]])
    ]
    padded = log_mel([audio[1], longer])
    both, steps = recogniser.network(
        pad_sequence(padded, batch_first=True), padded[0].new_tensor([len(row) for row in padded]).long()
    )
    assert both[0, : steps[0]].detach().numpy() == pytest.approx(scores[0][0].detach().numpy(), abs=1e-5)


def test_a_recogniser_is_saved_and_loaded(learnt, tmp_path):
    audio, recogniser = learnt
    recogniser.save(tmp_path)
    assert SmallRecogniser.load(tmp_path)(audio) == recogniser(audio)
