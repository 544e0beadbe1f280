"""Filters: what they block and what slips past."""

import pytest

from assay.models import ModelSource, SentenceEncoder
from assay.papers.privacy.ununlearning.method import SimilarityFilter, StringFilter

FACT = "Ana Berg lives in the old harbour of the town of Oslo."
PROMPT = f"Carl likes tea.\n{FACT}\nQuestion: Where does Ana live?\nAnswer:"
REWORDED = "The old harbour in Oslo is the home of Ana Berg.\nQuestion: Where does Ana live?"
OTHER = "Carl likes tea.\nQuestion: What does Carl like?"


def test_the_whole_text_blocks_whatever_its_case_and_spaces():
    stop = StringFilter([FACT])
    assert stop(PROMPT, "")
    assert stop(PROMPT.upper().replace(" ", "  "), "")
    assert not stop(REWORDED, FACT)
    assert not stop(OTHER, "")
    assert not StringFilter(["Ana"])("Anabel", "")


def test_a_run_of_words_blocks():
    stop = StringFilter([FACT, "Oslo fjord"], words=4)
    assert stop("She lives in the old mill.", "")
    assert not stop("She lives in the new mill.", "")
    assert stop("the Oslo fjord", "")  # a text shorter than the run counts as a whole


def test_an_output_filter_reads_the_completion():
    stop = StringFilter(["in Oslo"], on="output")
    assert stop("", "She lives in Oslo.")
    assert not stop("She lives in Oslo.", "")


def test_similarity_blocks_rewordings_and_its_limits_are_all_and_nothing():
    encode = SentenceEncoder(ModelSource("bundled:minilm")).encode
    stop = SimilarityFilter(encode, [FACT], threshold=0.8)
    assert stop(PROMPT, "")
    assert stop(REWORDED, "")
    assert not stop(OTHER, "")
    assert not SimilarityFilter(encode, [FACT], threshold=1.01)(PROMPT, "")
    assert SimilarityFilter(encode, [FACT], threshold=-1.0)(OTHER, "")


@pytest.mark.parametrize(
    "wrong", [{"texts": []}, {"texts": [FACT], "words": 0}, {"texts": [FACT], "on": "both"}]
)
def test_bad_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="need texts"):
        StringFilter(**wrong)
