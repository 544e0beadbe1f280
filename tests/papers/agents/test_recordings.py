"""Recorded transitions from tables and npz files, and what is refused; the environments that options name."""

import numpy as np
import pandas as pd
import pytest

from assay.data import Table
from assay.errors import InputError
from assay.papers.agents.options import Arrays, Environment
from assay.papers.agents.recordings import RecordedWorld, read_transitions, transitions_of
from assay.papers.agents.worlds import open_world


def rows(count=120, seed=0):
    """Transitions in a line of cells, as columns."""
    random = np.random.default_rng(seed)
    at = np.zeros(count + 1, dtype=int)
    action = random.integers(2, size=count)
    for step in range(count):
        at[step + 1] = np.clip(at[step] + 2 * action[step] - 1, 0, 3)
    code = np.eye(4, dtype=np.float32)
    return {
        "obs": code[at[:-1]],
        "action": action,
        "reward": (at[1:] == 3).astype(np.float32),
        "next_obs": code[at[1:]],
        "terminal": np.zeros(count, dtype=bool),
    }


def as_parquet(path, columns):
    pd.DataFrame({name: list(values) for name, values in columns.items()}).to_parquet(path)
    return Table(f"parquet:{path}")


def test_a_table_and_an_npz_file_are_the_same(tmp_path):
    columns = rows()
    np.savez(tmp_path / "rows.npz", **columns)
    one = read_transitions(as_parquet(tmp_path / "rows.parquet", columns), Arrays())
    two = read_transitions(Table("parquet:absent.parquet"), Arrays(str(tmp_path / "rows.npz")))
    for name in one.__dataclass_fields__:
        assert (getattr(one, name) == getattr(two, name)).all()
    assert (one.continuation == 1).all()


@pytest.mark.parametrize("name", ["action", "reward", "terminal"])
def test_a_column_of_shape_n_by_1_is_one_number_a_row(name):
    columns, flat = rows(), transitions_of(rows(), "t")
    wide = transitions_of(columns | {name: columns[name][:, None]}, "t")
    assert wide.rows == 120
    for column in flat.__dataclass_fields__:
        assert (getattr(wide, column) == getattr(flat, column)).all()
    with pytest.raises(InputError, match=rf"'{name}' has the shape \(120, 2\): give one number a row"):
        transitions_of(columns | {name: np.zeros((120, 2))}, "t")


def test_actions_keep_their_numbers_and_none_is_added():
    columns = rows()
    table = transitions_of(columns | {"action": 3 * columns["action"] + 1}, "t")
    recorded = RecordedWorld(table)
    assert (recorded.num_actions, list(recorded.actions)) == (2, [1, 4])
    assert (recorded.rows.action.numpy() == columns["action"]).all()
    with pytest.raises(InputError, match=r"the actions 1, 4, the environment 4 numbers and the actions 0, 1"):
        recorded.take_from(open_world("FrozenLake-v1", map_name=None, desc=["SF", "FG"]))


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("obs", None, "no column 'obs'"),
        ("terminal", np.full(120, 0.5), "terminal must be 0 or 1"),
        ("action", np.linspace(0, 1, 120), "only discrete actions"),
        ("reward", np.full(120, np.nan), "missing or infinite"),
        ("reward", np.array(["1"] * 120), "must hold numbers"),
        ("next_obs", np.zeros((120, 3)), "same rows"),
        ("obs", np.zeros(0), "same rows"),
        ("action", np.float64(1), "must hold numbers"),
    ],
)
def test_tables_that_hold_something_else_are_refused(column, value, text, tmp_path):
    columns = rows()
    if value is None:
        del columns[column]
    else:
        columns[column] = value
    np.savez(tmp_path / "rows.npz", **columns)
    with pytest.raises(InputError, match=text):
        read_transitions(Table("parquet:absent.parquet"), Arrays(str(tmp_path / "rows.npz")))


def test_no_pickle_is_read_from_an_npz_file(tmp_path):
    np.savez(tmp_path / "rows.npz", obs=np.array([{}, []], dtype=object))
    with pytest.raises(InputError, match="holds Python objects"):
        read_transitions(Table("parquet:absent.parquet"), Arrays(str(tmp_path / "rows.npz")))


def test_an_edited_module_is_another_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_walk.py").write_text("class Walk: ...\n")
    before = Environment("my_walk:Walk").fingerprint()
    (tmp_path / "my_walk.py").write_text("class Walk: ...\n# changed\n")
    assert Environment("my_walk:Walk").fingerprint() != before
    assert Environment("CartPole-v1").keywords() == {}
    assert Environment("X-v0", ("a=1", "b=0.5", "c=true", "d=text")).keywords() == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": "text",
    }
