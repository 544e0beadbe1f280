"""The recipes: arms, recorded speech, runs, scores, comparisons, and what they refuse."""

import json

import datasets
import numpy as np
import pytest
import soundfile

import assay
from assay import catalogue, options
from assay.cli import running
from assay.data import Table
from assay.errors import InputError
from assay.papers.speech.esb import recipe
from assay.papers.speech.esb.config import Compare, Domains, Score, Spoken, Transcribe
from assay.papers.speech.esb.method import BenchmarkResult
from assay.papers.speech.esb.synthetic import choose_phrases
from assay.papers.speech.options import Training
from assay.trial import Trial

ENTRY = catalogue.entry("esb")
RECIPE = ENTRY.paper.recipes["domains"]
WORDS = ("zero", "one")
RATE = 16_000


def transcribe_all(audio):
    """A recogniser that tells two tones apart."""
    return [WORDS[int((sound[:800] ** 2).mean() > 0.01)] for sound in audio]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two sets of tones in one Parquet file, 12 utterances each."""
    folder = tmp_path_factory.mktemp("recorded")
    rows = {"audio": [], "text": [], "domain": [], "id": []}
    for number in range(24):
        digit = number % 2
        tone = (0.05 + 0.2 * digit) * np.sin(np.arange(4000) * (0.2 + 0.1 * digit))
        soundfile.write(folder / "tone.flac", tone, RATE)
        rows["audio"].append({"bytes": (folder / "tone.flac").read_bytes(), "path": None})
        rows["text"].append(WORDS[digit])
        rows["domain"].append("calm" if number < 12 else "lively")
        rows["id"].append(f"u{number}")
    datasets.Dataset.from_dict(rows).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def on(path):
    return Table(f"parquet:{path}", group="domain")


def test_all_arms_of_recorded_sets_see_the_same_and_spend_the_same(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "load_system", lambda source, **options: transcribe_all)
    settings = {"small_ctc": Training(steps=8, width=8, batch_size=2), "test": 0.5}
    found, counters = {}, {}
    for arm in RECIPE.arms:
        config = options.resolve(Domains, {"data": on(recorded), **settings}, arm.settings)
        trial = Trial(seed=1000, stages=tmp_path)
        found[arm.name], counters[arm.name] = recipe.domains(config, trial), trial.counters
        assert trial.resplit == pytest.approx(1.0)
    assert counters["one-system"] == counters["tuned"] == counters["adapted"] == counters["exchanged"]
    assert counters["tuned"] == {"gradient_steps": 8, "utterances_seen": 16}
    assert found["pocketsphinx"]["wer"] == 0
    own = Domains(data=on(recorded), recogniser="frozen", frozen="esb_system:shouting", test=0.5)
    assert recipe.domains(own, Trial(seed=1000))["wer"] == 1
    declared = {metric.name for metric in ENTRY.paper.metrics}
    assert all(set(metrics) <= declared for metrics in found.values())


def test_spoken_sets_share_no_phrase_and_depend_on_the_seed_alone(tmp_path):
    spoken = Spoken(training_utterances=2, test_utterances=1)
    loaded = Domains().data.load()

    def sets(seed):
        trial = Trial(seed=seed)
        return recipe.spoken_sets(choose_phrases(loaded, spoken, trial), trial)

    training, tests = sets(1000)
    assert [found.name for found in tests] == ["clean", "punctuated", "spontaneous", "noisy"]
    assert [len(found) for found in training] == [2] * 4
    again, other = sets(1000), sets(1001)
    assert [found.texts for found in again[0]] == [found.texts for found in training]
    assert [found.texts for found in other[0]] != [found.texts for found in training]
    sounds = [found.utterances[0].audio() for found in (tests[3], again[1][3])]
    assert np.array_equal(*sounds)


def test_a_run_scores_named_sets_and_compares_them_with_another_run(recorded, tmp_path):
    first = tmp_path / "first"
    settings = {"sets": (f"mine=parquet:{recorded}",), "rerun": 2}
    overrides = {**settings, "system": "esb_system:shouting"}
    ran = running.run("esb", out=first, overrides=overrides, seed=1000)
    assert ran.metrics["wer"] == 1
    assert ran.metrics["normalised_wer"] == 0
    loaded = assay.load(first)
    assert isinstance(loaded, BenchmarkResult)
    assert loaded.system == "esb_system:shouting"
    assert {"results/results.json", "results/table.md", "results/mine.jsonl"} <= set(ran.files)
    second = tmp_path / "second"
    overrides = {**settings, "system": "esb_system:quiet", "against": str(first)}
    ran = running.run("esb", out=second, overrides=overrides, seed=1000)
    assert assay.load(second, "comparison").macro.value == pytest.approx(-1)
    compared = running.run(
        "esb", "compare", out=tmp_path / "both", overrides={"first": str(first), "second": str(second)}
    )
    assert compared.metrics["difference"] == pytest.approx(1)
    normalised = {"first": str(first), "second": str(second), "rendering": "normalised", "draws": 20}
    compared = running.run("esb", "compare", out=tmp_path / "third", overrides=normalised)
    assert compared.metrics["difference_high"] == 0


@pytest.fixture(autouse=True)
def systems(tmp_path, monkeypatch):
    """A module of a user's own with two recognisers."""
    (tmp_path / "esb_system.py").write_text(
        "def quiet(audio):\n"
        "    return [('zero', 'one')[int((sound[:800] ** 2).mean() > 0.01)] for sound in audio]\n"
        "def shouting(audio):\n"
        "    return [text.upper() for text in quiet(audio)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "esb_system", raising=False)


def test_scores_are_made_again_without_transcribing(recorded, tmp_path):
    overrides = {"system": "esb_system:quiet", "data": f"parquet:{recorded}", "data.group": "domain"}
    ran = running.run("esb", out=tmp_path / "run", overrides=overrides, seed=1000)
    assert ran.metrics["wer"] == 0
    path = tmp_path / "run" / "results" / "calm.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["text"] = "two"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = running.run("esb", "score", out=tmp_path / "again", overrides={"results": str(tmp_path / "run")})
    assert again.metrics["wer"] == pytest.approx(1 / 12 / 2)
    assert assay.load(tmp_path / "again").scores["calm"].counts.substitutions == 1
    third = {"results": str(tmp_path / "run"), "normaliser": "leaderboard"}
    running.run("esb", "score", out=tmp_path / "third", overrides=third)
    assert "open-asr-leaderboard" in (tmp_path / "third" / "results" / "results.json").read_text()


def test_the_paper_preset_names_all_eight_sets_and_its_own_systems():
    config = options.resolve(
        Transcribe, ENTRY.paper.recipes["transcribe"].presets["published"].settings_for()
    )
    assert len(config.sets) == 8
    assert config.system == "hub:openai/whisper-medium.en"
    fine = options.resolve(Domains, RECIPE.presets["paper"].settings_for())
    assert [written.partition("=")[0] for written in fine.sets] == [
        written.partition("=")[0] for written in fine.training_sets
    ]
    assert fine.fine_tuned.encoder.source == "hub:facebook/wav2vec2-large-lv60"


# --- bad input ----------------------------------------------------------------------------------


def run(config, function=recipe.transcribe):
    return function(config, Trial(seed=1000))


def test_systems_that_cannot_be_had_are_refused():
    for name in ("nowhere:system", "esb_system:none", ":none"):
        with pytest.raises(InputError, match=f"--system {name} cannot be imported: "):
            run(Transcribe(system=name))
    with pytest.raises(InputError, match=r"built-in 'pocketsphinx'"):
        run(Transcribe(system="pocketsfinx"))


def test_folders_that_are_no_runs_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"--results is missing"):
        run(Score(), recipe.score)
    with pytest.raises(InputError, match=r"--second is missing|has no results.json"):
        run(Compare(first=str(tmp_path)), recipe.compare)
    with pytest.raises(InputError, match=r"has no results.json"):
        run(Transcribe(system="esb_system:quiet", against=str(tmp_path)))


def test_too_few_texts_or_sets_are_refused(recorded, tmp_path):
    (tmp_path / "few.csv").write_text("text\nthe list of the values\n")
    with pytest.raises(InputError, match=r"has 1 phrases of 4 to 7 frequent words; \d+ are needed"):
        run(Transcribe(system="esb_system:quiet", data=Table(f"csv:{tmp_path / 'few.csv'}")))
    with pytest.raises(InputError, match=r"give two or more of the same names, with --data.group"):
        run(Domains(data=Table(f"parquet:{recorded}")), recipe.domains)
    with pytest.raises(InputError, match=r"give two or more of the same names"):
        run(Domains(sets=(f"a=parquet:{recorded}",)), recipe.domains)


def test_tables_without_speech_or_transcripts_are_refused(recorded, tmp_path):
    with pytest.raises(InputError, match=r"has neither sound nor text"):
        run(Transcribe(system="esb_system:quiet", data=Table("bundled:iris")))
    rows = datasets.Dataset.from_parquet(str(recorded)).remove_columns("text")
    rows.to_parquet(tmp_path / "untold.parquet")
    with pytest.raises(InputError, match=r"has no transcripts\. Name the column with --data\.text"):
        run(Transcribe(system="esb_system:quiet", data=Table(f"parquet:{tmp_path / 'untold.parquet'}")))
    with pytest.raises(InputError, match=r"There is no .*nowhere"):
        run(Transcribe(system="esb_system:quiet", sets=(f"x={tmp_path / 'nowhere'}",)))
