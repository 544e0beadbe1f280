"""Reading students' files: everything is kept, what is damaged is counted, and memory stays bounded."""

import json
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from assay.errors import InputError
from assay.papers.education.ednet.evaluation import wrong_rows
from assay.papers.education.ednet.method import Contents, EdNetLog, EdNetReader
from assay.papers.education.ednet.method.members import Skipped, ZipMembers, open_members
from assay.papers.education.ednet.method.process import ReadTask, read_in_process
from assay.papers.education.ednet.method.shards import UserSet

HEADER = "timestamp,action_type,item_id,source,user_answer,platform"
KT1 = "timestamp,solving_id,question_id,user_answer,elapsed_time"


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def ingest(tmp_path, files, contents, level=2, **options):
    return EdNetReader(write(tmp_path / "in", files), contents, level, **options).to_parquet(tmp_path / "out")


# --- everything is read -------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("archive", [False, True])
def test_what_is_read_is_what_was_written(mini, mini_contents, tmp_path, level, archive):
    root = tmp_path / ("log.zip" if archive else "log")
    (mini.write_zip if archive else mini.write_folder)(root, level)
    log = small_batches(EdNetReader(root, mini_contents)).to_parquet(tmp_path / "out", shard_rows=150)
    assert log.level == level
    assert len(log) == sum(len(mini.lines(uid, level)) for uid in mini.streams)
    assert len(log.manifest["shards"]) > 1
    assert wrong_rows(mini, log, level) == 0
    assert log.verify() == []
    assert sum(log.manifest["actions"].values()) == len(log) == sum(log.manifest["items"].values())


def test_a_student_is_one_slice_of_one_shard(mini, mini_contents, tmp_path):
    log = EdNetReader(mini.write_folder(tmp_path / "in", 3), mini_contents, 3).to_parquet(
        tmp_path / "out", shard_rows=300
    )
    for uid in list(mini.streams)[:5]:
        rows = log.user(uid)
        assert set(rows["uid"].to_pylist()) == {uid}
        assert len(rows) == len(mini.lines(uid, 3))
    with pytest.raises(InputError, match="no student 999999999"):
        log.user(999_999_999)


def test_iter_users_gives_what_the_shards_hold(mini, mini_contents, tmp_path):
    reader = EdNetReader(mini.write_zip(tmp_path / "kt2.zip", 2), mini_contents, 2)
    log = reader.to_parquet(tmp_path / "out")
    for uid, rows in reader.iter_users():
        assert rows.equals(log.user(uid))


def test_answers_are_marked_and_columns_found_by_name(few, tmp_path):
    files = {
        "u1.csv": "platform,user_answer,source,item_id,action,timestamp\n"
        "web,c,sprint,q6815,respond,5\nmobile,,sprint,q6816,respond,6\nweb,b,sprint,q6815,respond,7\n"
    }
    log = ingest(tmp_path, files, few)
    assert log.table()["correct"].to_pylist() == [1, -1, 0]
    assert log.manifest["noticed"]["questions left unanswered"] == 1


def test_the_names_of_the_readme_example_are_accepted(few, tmp_path):
    header = "timestamp,action_type,item_id,cursor_time,source,user_answer,platform"
    rows = ["1,text_enter,b4957,,sprint,,web", "2,eliminate_choice,q6425,,sprint,a,web"]
    log = ingest(tmp_path, {"u1.csv": "\n".join([header, *rows])}, few, level=None)
    assert log.level == 4
    assert log.manifest["actions"] == {"enter": 1, "erase_choice": 1}
    assert log.table()["cursor_time"].to_pylist() == [None, None]


# --- what is damaged ----------------------------------------------------------------------------


def test_damage_is_mended_or_counted_and_nothing_else_is_lost(few, tmp_path):
    files = {
        "u1.csv": b"\xef\xbb\xbf" + f"{HEADER}\r\n1,respond,q6815,sprint,c,web\r\n".encode(),
        "u2.csv": f"{HEADER}\n2,respond,q68\x0015,sprint,c,web\n\n3,respond,q6815,sprint,a,web",
        "u3.csv": f"{HEADER}\nnow,respond,q6815,sprint,c,web\n4,respond,q6815,sprint\n5,submit,b5180,,,\n",
        "u4.csv": f"{HEADER}\n9,respond,q6815,s,c,web\n8,respond,q6816,s,a,web\n8,submit,b5180,,,web\n",
        "u5.csv": f"{HEADER}\n1,respond,q99999,s,c,web\n2,respond,qx,s,d,web\n3,respond,q6816,x,d,web",
        "u6.csv": f"{HEADER}\n",
        "u7.csv": "",
        "u8.csv": f"{KT1}\n1,1,q6815,c,100\n",
        "notes.txt": "hello",
        "ux.csv": HEADER,
    }
    log = ingest(tmp_path, files, few)
    noticed = log.manifest["noticed"]
    assert noticed["files with a byte order mark"] == noticed["files with carriage returns"] == 1
    assert noticed["files with NUL bytes"] == 1
    assert noticed["unreadable rows"] == 2
    assert noticed["files out of order"] == 1
    assert noticed["answers to unknown questions"] == 1
    assert noticed["rows without an item"] == 1
    assert noticed["answers d in part 2"] == 1
    assert log.manifest["skipped"]["files"] == {"not a student's file": 2, "not of level 2": 1, "empty": 1}
    assert log.user(4)["timestamp"].to_pylist() == [8, 8, 9]
    assert log.user(4)["action"].to_pylist() == [1, 2, 1]  # equal times keep the file's order
    assert [len(log.user(uid)) for uid in (1, 2, 3, 6)] == [1, 2, 1, 0]
    assert log.manifest["students"] == 6
    assert log.user(2)["correct"].to_pylist() == [1, 0]
    assert "x" in log.names("source")


def test_quotes_and_spaces_are_understood(few, tmp_path):
    header = ", ".join(f'"{name}"' for name in HEADER.split(","))
    files = {"u1.csv": f'{header}\n"7","respond","q6815","sprint","c","web"\n'}
    log = ingest(tmp_path, files, few)
    assert log.table().to_pylist()[0] | {"source": 0} == {
        "uid": 1,
        "timestamp": 7,
        "action": 1,
        "item": 6815,
        "source": 0,
        "answer": 2,
        "platform": 1,
        "kind": 0,
        "correct": 1,
    }


def test_times_on_a_bundle_are_kept_and_counted(few, tmp_path):
    rows = ["1,1,q6815,c,-5", "2,2,q6815,c,90000000", "3,3,q6815,,1e400", "4,4,q6815,c,12.0"]
    log = ingest(tmp_path, {"u1.csv": "\n".join([KT1, *rows])}, few, level=1)
    assert log.table()["elapsed_time"].to_pylist() == [-5, 90_000_000, None, 12]
    assert log.manifest["noticed"]["negative elapsed times"] == 1
    assert log.manifest["noticed"]["elapsed times over 300 s"] == 1


def test_members_that_lead_outside_are_skipped_by_name(few, tmp_path):
    path = tmp_path / "kt.zip"
    line = f"{HEADER}\n1,respond,q6815,sprint,c,web\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../u2.csv", "/etc/u3.csv", "a/../../u4.csv", "C:\\u5.csv", "..\\u6.csv", "ok/u1.csv"):
            archive.writestr(name, line)
        link = zipfile.ZipInfo("u7.csv")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr(zipfile.ZipInfo("folder/"), "")
    log = EdNetReader(path, few, 2).to_parquet(tmp_path / "out")
    assert log.users.tolist() == [1]
    skipped = log.manifest["skipped"]
    assert skipped["files"] == {"path leads outside the archive": 5, "link": 1}
    assert "../u2.csv" in skipped["names"]["path leads outside the archive"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kt.zip", "out"]


def test_links_in_folders_and_students_seen_before_are_skipped(few, tmp_path):
    line = f"{HEADER}\n1,respond,q6815,sprint,c,web\n"
    folder = write(tmp_path / "in" / "a", {"u1.csv": line})
    write(tmp_path / "in" / "b", {"u1.csv": line})
    (folder / "u2.csv").symlink_to("/etc/hostname")
    log = EdNetReader(tmp_path / "in", few, 2).to_parquet(tmp_path / "out")
    assert log.manifest["skipped"]["files"] == {"student seen before": 1, "link": 1}
    assert len(log) == 1


def test_a_truncated_zip_is_refused(few, mini, tmp_path):
    path = mini.write_zip(tmp_path / "kt.zip", 2)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="no whole zip archive"):
        EdNetReader(path, few, 2)
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="no whole zip archive"):
        EdNetReader(path, few, 2)


def test_a_damaged_member_is_refused_by_name(few, tmp_path):
    path = tmp_path / "kt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("u1.csv", f"{HEADER}\n1,respond,q6815,sprint,c,web\n")
    path.write_bytes(path.read_bytes().replace(b"q6815", b"q6816"))
    with pytest.raises(InputError, match=r"u1\.csv is damaged"):
        EdNetReader(path, few, 2).to_parquet(tmp_path / "out")


def test_zip_bombs_are_refused(few, tmp_path):
    path = tmp_path / "kt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("u1.csv", HEADER + "\n" + "1,respond,q6815,sprint,c,web\n" * 5000)
    with pytest.raises(InputError, match="more than the 10000 bytes"):
        EdNetReader(path, few, 2, largest_member=10_000).to_parquet(tmp_path / "out")
    raw = bytearray(path.read_bytes())
    place = raw.rfind(b"PK\x01\x02")
    raw[place + 24 : place + 28] = struct.pack("<I", 100)  # it declares 100 bytes and holds more
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match="more than the 100 bytes that it declares"):
        EdNetReader(path, few, 2).to_parquet(tmp_path / "out")
    folder = write(tmp_path / "big", {"u1.csv": HEADER + "\n" * 5000})
    with pytest.raises(InputError, match="more than the 1000 bytes"):
        EdNetReader(folder, few, 2, largest_member=1000).to_parquet(tmp_path / "out2")


def test_encrypted_members_and_unknown_compression_are_skipped(tmp_path):
    path = tmp_path / "kt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("u1.csv", HEADER)
    skipped = Skipped()
    assert list(ZipMembers(path).walk(skipped)) == []
    raw = bytearray(path.read_bytes())
    raw[raw.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(raw))
    assert list(ZipMembers(path).walk(skipped)) == []
    assert skipped.counts == {"unknown compression": 1, "encrypted": 1}


def test_a_zip_with_wide_offsets_is_read(tmp_path, few, monkeypatch):
    path = tmp_path / "kt.zip"
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for uid in (1, 2, 3):
            archive.writestr(f"u{uid}.csv", f"{HEADER}\n{uid},respond,q6815,sprint,c,web\n")
    log = EdNetReader(path, few, 2).to_parquet(tmp_path / "out")
    assert log.table()["timestamp"].to_pylist() == [1, 2, 3]


def test_empty_lines_are_no_rows_and_a_quote_that_is_not_closed_harms_its_own_file_alone(few, tmp_path):
    files = {
        "u1.csv": f"{HEADER}\n\n1,respond,q6815,sprint,c,web\n  \n\n2,respond,q6816,sprint,a,web\n\n",
        "u2.csv": f'{HEADER}\n3,respond,q6815,sprint,c,web\n4,respond,q6816,"sprint,a,web\n',
    }
    log = ingest(tmp_path, {"u1.csv": files["u1.csv"]}, few)
    assert log.table()["timestamp"].to_pylist() == [1, 2]
    assert "unreadable rows" not in log.manifest["noticed"]
    both = EdNetReader(write(tmp_path / "both", files), few, 2).to_parquet(tmp_path / "out2")
    assert [both.user(uid)["timestamp"].to_pylist() for uid in (1, 2)] == [[1, 2], [3]]
    assert both.manifest["noticed"]["unreadable rows"] == 1


def test_a_set_of_students_is_small_also_where_numbers_lie_far_apart():
    chosen = UserSet()
    numbers = [0, 1023, 1024, 10**10 - 1]
    assert [chosen.add(uid) for uid in [*numbers, *numbers]] == [True] * 4 + [False] * 4
    assert all(uid in chosen for uid in numbers)
    assert 1 not in chosen
    assert 2048 not in chosen


def test_a_pipe_in_a_folder_is_skipped(few, tmp_path):
    folder = write(tmp_path / "in", {"u1.csv": f"{HEADER}\n1,respond,q6815,sprint,c,web\n"})
    os.mkfifo(folder / "u2.csv")
    log = EdNetReader(folder, few, 2).to_parquet(tmp_path / "out")
    assert log.manifest["skipped"]["files"] == {"no plain file": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [("missing", "no folder or zip"), ("empty", "no student's file")],
)
def test_what_is_missing_is_said(given, message, tmp_path, few):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        EdNetReader(tmp_path / given, few)


def test_contents_without_questions_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no questions\.csv: answers cannot be marked"):
        Contents.load(tmp_path)
    with pytest.raises(InputError, match="There is no folder"):
        Contents.load(tmp_path / "nowhere")


def test_files_of_another_level_are_refused_when_there_are_no_others(few, tmp_path):
    folder = write(tmp_path / "in", {"u1.csv": f"{KT1}\n1,1,q6815,c,100\n"})
    with pytest.raises(InputError, match="no student's file of level 3"):
        EdNetReader(folder, few, 3).to_parquet(tmp_path / "out")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a,b\n1,2\n", "no column 'question_id'"),
        ("question_id,correct_answer\nten,a\n", "letter and a number"),
    ],
)
def test_bad_contents_are_refused(table, message, tmp_path):
    (tmp_path / "questions.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        Contents.load(tmp_path)


# --- interruption -------------------------------------------------------------------------------


def test_an_interrupted_ingest_goes_on_and_gives_the_same(mini, mini_contents, tmp_path):
    root = mini.write_zip(tmp_path / "kt3.zip", 3)
    whole = EdNetReader(root, mini_contents, 3)
    whole_log = small_batches(whole).to_parquet(tmp_path / "whole", shard_rows=200)

    def stop(students, rows):
        if students > 15:
            raise KeyboardInterrupt

    stopped = small_batches(EdNetReader(root, mini_contents, 3, on_progress=stop))
    with pytest.raises(KeyboardInterrupt):
        stopped.to_parquet(tmp_path / "out", shard_rows=200)
    with pytest.raises(InputError, match="interrupted; start it again"):
        EdNetLog(tmp_path / "out")
    with pytest.raises(InputError, match="begun for something else"):
        EdNetReader(root, mini_contents, 3).to_parquet(tmp_path / "out", shard_rows=100)
    read = []
    again = small_batches(EdNetReader(root, mini_contents, 3))
    members = again.members.read
    again.members.read = lambda name, entry: read.append(name) or members(name, entry)
    log = again.to_parquet(tmp_path / "out", shard_rows=200)
    assert 0 < len(read) < len(mini.streams)
    assert log.table().equals(whole_log.table())
    assert {**log.manifest, "shards": 0} == {**whole_log.manifest, "shards": 0}
    with pytest.raises(InputError, match="holds a finished log already"):
        EdNetReader(root, mini_contents, 3).to_parquet(tmp_path / "out")


def small_batches(reader):
    """Make a reader hand over three files at a time."""
    original = reader._batches

    def few(*arguments):
        for batch in original(*arguments):
            for start in range(0, len(batch), 3):
                yield batch[start : start + 3]

    reader._batches = few
    return reader


def test_a_changed_shard_is_noticed(mini, mini_contents, tmp_path):
    log = EdNetReader(mini.write_zip(tmp_path / "kt2.zip", 2), mini_contents, 2).to_parquet(tmp_path / "out")
    path = next((tmp_path / "out" / "data").glob("*.parquet"))
    path.write_bytes(path.read_bytes() + b"x")
    assert log.verify() == [path.name]
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"reader_version": 99}))
    with pytest.raises(InputError, match="written by reader 99"):
        EdNetLog(tmp_path / "out")


# --- memory -------------------------------------------------------------------------------------


def test_the_reader_does_not_import_torch():
    code = "import sys, assay.papers.education.ednet.method.process; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_reading_in_a_process_says_what_it_took_and_what_was_wrong(mini, contents_folder, tmp_path):
    root = mini.write_zip(tmp_path / "kt2.zip", 2)
    took = read_in_process(ReadTask(root, contents_folder, tmp_path / "out", level=2))
    assert took.rows == len(EdNetLog(tmp_path / "out"))
    assert 0 < took.peak_memory < 300
    with pytest.raises(InputError, match="holds a finished log already"):
        read_in_process(ReadTask(root, contents_folder, tmp_path / "out", level=2))


def test_members_are_listed_in_storage_order(tmp_path):
    path = tmp_path / "kt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for uid in (5, 3, 9):
            archive.writestr(f"u{uid}.csv", HEADER)
    assert [uid for uid, _, _ in open_members(path).walk()] == [5, 3, 9]
    assert np.array([uid for uid, _, _ in open_members(path).walk()]).sum() == 17
