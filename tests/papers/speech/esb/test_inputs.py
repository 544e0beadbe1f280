"""Corpora on disk, in the layouts of the field, and their faults."""

import csv
import json

import datasets
import numpy as np
import pytest
import soundfile

from assay.data import Table
from assay.errors import InputError
from assay.papers.speech.esb import inputs
from assay.papers.speech.esb.inputs import open_sets, read_corpus, recorded_sets
from assay.papers.speech.esb.method import SpeechDataset, Utterance

RATE = 16_000


def write(path, seconds=0.5, rate=RATE, value=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(int(seconds * rate), value), rate)
    return path


def manifest(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_manifest_names_segments_and_speakers(tmp_path):
    write(tmp_path / "wav/long.flac", 2.0)
    write(tmp_path / "wav/short.wav", 0.5, rate=8_000)
    rows = [
        {"audio": "wav/long.flac", "text": "One  two.", "id": "x", "start": 0.5, "end": 1.25, "speaker": "s"},
        {"audio": "wav/short.wav", "text": "three"},
        {"audio": "wav/short.wav", "text": "<sil>", "id": "nothing"},
    ]
    found = read_corpus(manifest(tmp_path / "mine.jsonl", rows))
    assert (found.name, len(found), found.dropped) == ("mine", 2, 1)
    assert [(u.id, u.text, u.recording) for u in found.utterances] == [
        ("x", "One two.", "s"),
        ("wav/short.wav", "three", None),
    ]
    assert [len(u.audio()) for u in found.utterances] == [0.75 * RATE, 0.5 * RATE]


def test_a_manifest_of_nemo_has_offsets_and_durations(tmp_path):
    write(tmp_path / "long.wav", 10.0)
    row = {"audio_filepath": "long.wav", "offset": 2.0, "duration": 1.5, "text": "one segment"}
    (utterance,) = read_corpus(manifest(tmp_path / "nemo.jsonl", [row])).utterances
    assert (utterance.id, len(utterance.audio())) == ("long.wav-2-3.5", 1.5 * RATE)


def test_a_comma_without_quotes_is_refused(tmp_path):
    write(tmp_path / "b.wav")
    (tmp_path / "m.csv").write_text("audio,text\nb.wav,hello there, general\n")
    with pytest.raises(InputError, match=r"line 2: 3 fields where the header has 2"):
        read_corpus(tmp_path / "m.csv")


def test_an_audiofolder_has_metadata(tmp_path):
    write(tmp_path / "a.wav")
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "transcription"], ["a.wav", "Yes, sir"]])
    assert read_corpus(tmp_path).texts == ["Yes, sir"]


def test_kaldi_folders_have_recordings_segments_and_speakers(tmp_path):
    write(tmp_path / "r1.wav", 2.0)
    (tmp_path / "wav.scp").write_text("r1 r1.wav\n")
    (tmp_path / "text").write_text("u1 hello there\nu2\tbye\n")
    (tmp_path / "segments").write_text("u1 r1 0.0 0.5\nu2 r1 1.0 2.0\n")
    (tmp_path / "utt2spk").write_text("u1 s1\nu2 s2\n")
    found = read_corpus(tmp_path)
    assert [(u.id, u.text, u.recording, len(u.audio())) for u in found.utterances] == [
        ("u1", "hello there", "s1", RATE // 2),
        ("u2", "bye", "s2", RATE),
    ]
    (tmp_path / "wav.scp").write_text("r1 sox r1.wav -t wav - |\n")
    with pytest.raises(InputError, match=r"has a command .* which is not run"):
        read_corpus(tmp_path)


def test_librispeech_keeps_transcripts_beside_the_sounds(tmp_path):
    write(tmp_path / "test-clean/61/70968/61-70968-0000.flac")
    transcripts = tmp_path / "test-clean/61/70968/61-70968.trans.txt"
    transcripts.write_text("61-70968-0000 HE BEGAN A CONFUSED COMPLAINT\n")
    found = read_corpus(tmp_path / "test-clean", "librispeech")
    assert [(u.id, u.recording) for u in found.utterances] == [("61-70968-0000", "61")]
    assert found.texts == ["HE BEGAN A CONFUSED COMPLAINT"]


def test_tedlium_has_stm_files_and_lines_that_are_not_scored(tmp_path):
    soundfile.write(tmp_path / "talk.sph", np.zeros(3 * RATE), RATE, format="NIST", subtype="PCM_16")
    (tmp_path / "talk.stm").write_text(
        ";; a comment\n"
        "talk 1 speaker 0.5 1.0 <o,f0,male> it 's <unk> fine\n"
        "talk 1 inter_segment_gap 1.0 2.0 <o,f0,> ignore_time_segment_in_scoring\n"
    )
    found = read_corpus(tmp_path, "tedlium")
    assert (found.texts, found.dropped) == (["it's fine"], 1)
    assert len(found.utterances[0].audio()) == RATE // 2


def test_the_end_of_earnings_calls_is_cut(tmp_path):
    write(tmp_path / "a.wav", 1.0)
    path = manifest(tmp_path / "m.jsonl", [{"audio": "a.wav", "text": "we grew"}])
    assert len(read_corpus(path, "earnings22").utterances[0].audio()) == pytest.approx(0.9 * RATE)


@pytest.fixture
def parquet(tmp_path):
    """Two speakers in a Parquet file with encoded sound, as published data sets have it."""
    content = write(tmp_path / "a.flac").read_bytes()
    rows = {
        "audio": [{"bytes": content, "path": "a.flac", "sampling_rate": RATE}] * 4,
        "text": ["zero", "one", "two", "three"],
        "domain": ["x", "y", "x", "y"],
    }
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_parquet_rows_become_one_set_or_one_a_group(parquet):
    (single,) = open_sets([f"mine=parquet:{parquet}"])
    assert (single.name, single.texts) == ("mine", ["zero", "one", "two", "three"])
    assert len(single.utterances[0].audio()) == RATE // 2
    loaded = Table(f"parquet:{parquet}", group="domain").load()
    grouped = recorded_sets(loaded, loaded.rows, "all")
    assert {found.name: found.texts for found in grouped} == {"x": ["zero", "two"], "y": ["one", "three"]}


def test_rows_may_hold_arrays_with_their_rate():
    rows = datasets.Dataset.from_dict(
        {"audio": [{"array": [0.0] * 800, "sampling_rate": 8_000}], "text": ["hm"], "speaker": ["s"]}
    )
    (utterance,) = SpeechDataset.from_rows("rows", rows).utterances
    assert (len(utterance.audio()), utterance.recording) == (1600, "s")


def test_known_sets_are_read_from_parquet_of_the_hubs_form(parquet, monkeypatch):
    def local(source):
        assert source.startswith("hub:hf-audio/esb-datasets-test-only-sorted/librispeech#test.")
        return Table(f"parquet:{parquet}")

    monkeypatch.setattr(inputs, "Table", local)
    assert [found.name for found in open_sets(["hub:librispeech"])] == [
        "librispeech.clean",
        "librispeech.other",
    ]


# --- bad input ----------------------------------------------------------------------------------


def test_missing_files_are_all_named_before_anything_is_transcribed(tmp_path):
    write(tmp_path / "there.wav")
    rows = [{"audio": f"{name}.wav", "text": "a"} for name in ("there", "gone", "lost")]
    with pytest.raises(InputError, match=r"names 2 files that are not there: .*gone\.wav, .*lost\.wav"):
        read_corpus(manifest(tmp_path / "m.jsonl", rows))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"audio": "a.wav"}', "line 1 has no transcript"),
        ('{"text": "a"}', "line 1 has no audio"),
        ('{"audio": ', "line 1, column 10: Expecting value"),
        ("[1]", "line 1: expected an object"),
        ('{"audio": "a.wav", "text": "a", "start": "soon"}', "start is 'soon'; it must be a time"),
        ('{"audio": "a.wav", "text": "a", "start": -1, "end": 2}', "start is -1"),
    ],
)
def test_faulty_lines_of_a_manifest_are_named(tmp_path, line, message):
    write(tmp_path / "a.wav")
    (tmp_path / "m.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        read_corpus(tmp_path / "m.jsonl")


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "m.csv").write_bytes("audio,text\na.wav,Größe\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"is not UTF-8: byte 19 \(0xf6\) does not fit"):
        read_corpus(tmp_path / "m.csv")


def test_sound_that_cannot_be_decoded_is_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF no sound in here")
    found = read_corpus(manifest(tmp_path / "m.jsonl", [{"audio": "a.wav", "text": "a"}]))
    with pytest.raises(InputError, match=r"a\.wav cannot be decoded .* Give WAV, FLAC"):
        found.utterances[0].audio()


def test_a_segment_outside_of_its_recording_is_refused(tmp_path):
    write(tmp_path / "a.wav", 1.0)
    rows = [{"audio": "a.wav", "text": "a", "start": 3, "end": 4}]
    found = read_corpus(manifest(tmp_path / "m.jsonl", rows))
    with pytest.raises(InputError, match=r"from 3 to 4 s lies outside of its recording of 1.0 s"):
        found.utterances[0].audio()


def test_unknown_layouts_and_places_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"There is no"):
        read_corpus(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"unknown layout. Give a manifest"):
        read_corpus(tmp_path)
    (tmp_path / "x.txt").write_text("a")
    with pytest.raises(InputError, match=r"unknown layout"):
        read_corpus(tmp_path / "x.txt")


def test_sets_without_words_or_with_equal_ids_are_refused():
    def utterance(name, text):
        return Utterance(name, text, lambda: (np.zeros(10), RATE))

    with pytest.raises(InputError, match=r"no utterance with words, of 2 in all"):
        SpeechDataset.of("empty", [utterance("a", ""), utterance("b", "<noise>")])
    with pytest.raises(InputError, match=r"two utterances called 'a'"):
        SpeechDataset.of("twice", [utterance("a", "x"), utterance("a", "y")])
    with pytest.raises(InputError, match=r"1 transcripts for 2 sounds"):
        SpeechDataset.from_arrays("x", [np.zeros(5), np.zeros(5)], ["a"])


def test_rows_without_transcripts_or_sound_are_refused():
    rows = datasets.Dataset.from_dict({"audio": [{"bytes": b"x"}] * 2, "text": ["a", None]})
    with pytest.raises(InputError, match=r"1 of 2 rows have no transcript \(the first is row 2\)"):
        SpeechDataset.from_rows("rows", rows)
    with pytest.raises(InputError, match=r"has no column 'text'"):
        SpeechDataset.from_rows("rows", rows.remove_columns("text"))
    nothing = datasets.Dataset.from_dict({"audio": [{"bytes": None, "path": None}], "text": ["a"]})
    with pytest.raises(InputError, match=r"neither bytes, nor a path, nor an array"):
        SpeechDataset.from_rows("rows", nothing).utterances[0].audio()


def test_known_sets_that_are_not_on_the_hub_need_files():
    with pytest.raises(InputError, match=r"switchboard is not on the hub"):
        open_sets(["hub:switchboard"])
