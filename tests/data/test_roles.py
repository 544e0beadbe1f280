from __future__ import annotations

import json

import numpy as np
import pytest

from assay.data import DataWarning, LoadedTable, Table, require_classes
from assay.errors import InputError


def load(write, content: str, needs: tuple[str, ...] | None = None, **roles: object) -> LoadedTable:
    return Table(f"csv:{write('rows.csv', content)}", **roles).load(needs)  # type: ignore[arg-type]


def refused(write, content: str, needs: tuple[str, ...] | None = None, **roles: object) -> str:
    with pytest.raises(InputError) as error:
        load(write, content, needs, **roles)
    return str(error.value)


def load_json(write, records: list[dict[str, object]], **roles: object) -> LoadedTable:
    path = write("rows.jsonl", "\n".join(map(json.dumps, records)))
    return Table(f"json:{path}", **roles).load()  # type: ignore[arg-type]


# --- by name ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "sentence", "review", "content", "Review"])
def test_a_text_column_is_known_by_its_name(write, name: str) -> None:
    assert load(write, f"{name},stars\na,1\nb,2\n").rows.column_names == ["text", "stars"]


@pytest.mark.parametrize("name", ["label", "labels", "target", "class", "y", "Class"])
def test_a_label_column_is_known_by_its_name(write, name: str) -> None:
    table = load(write, f"text,{name}\na,5\nb,2\n")
    assert table.rows.column_names == ["text", "label"]
    assert table.rows.features["label"].names == ["2", "5"]


def test_the_first_canonical_name_wins_and_others_keep_theirs(write) -> None:
    table = load(write, "content,sentence,y,class\na,b,1,2\nc,d,0,3\n")
    assert list(table.rows["text"]) == ["b", "d"]
    assert table.label_names == ("2", "3")
    assert list(table.rows["content"]) == ["a", "c"]
    assert list(table.rows["y"]) == [1, 0]


def test_named_columns_take_their_roles_and_displaced_ones_stay(write) -> None:
    table = load(
        write,
        "text,review,stars,user,key\na,b,1,u,7\nc,d,2,v,8\n",
        text="review",
        label="stars",
        group="user",
        id="key",
    )
    assert table.rows[0] == {"text": "b", "group": "u", "id": 7, "label": 0, "other_text": "a"}


def test_y_beside_x_is_a_coordinate(write) -> None:
    table = load(write, "x,y,group\n1,5,a\n2,6,b\n")
    assert table.feature_names == ("x", "y")
    assert table.label_names == ()


def test_numeric_columns_become_features_where_there_is_no_other_input(write) -> None:
    table = load(
        write, "height,city,weight,flag,label,id,group\n1,Rome,2.5,True,a,7,1\n3,Oslo,4,False,b,8,2\n"
    )
    assert table.feature_names == ("height", "weight", "flag")
    assert table.num_features == 3
    np.testing.assert_array_equal(table.matrix(), [[1, 2.5, 1], [3, 4, 0]])
    assert table.rows.column_names == ["group", "id", "label", "features", "city"]
    assert load(write, "text,height,label\na,1,0\nb,2,1\n").num_features == 0


def test_named_features_are_taken_beside_text_in_their_order(write) -> None:
    table = load(write, "text,a,b,c,label\nx,1,2,3,0\ny,4,5,6,1\n", features=("c", "a"))
    np.testing.assert_array_equal(table.matrix(), [[3, 1], [6, 4]])
    assert table.rows.column_names == ["text", "label", "features", "b"]


def test_a_column_of_lists_called_features_is_taken(write) -> None:
    records = [{"text": "a", "features": [1, 2.5], "label": 0}, {"text": "b", "features": [3, 4], "label": 1}]
    table = load_json(write, records)
    np.testing.assert_array_equal(table.matrix(), [[1, 2.5], [3, 4]])
    assert table.feature_names == ("features_0", "features_1")


def test_a_table_without_labels_loads(write) -> None:
    table = load(write, "text\na\nb\n")
    assert table.label_names == ()
    with pytest.raises(InputError, match=r"has no labels\. Name the column with --data.label"):
        table.labels()
    with pytest.raises(InputError, match="has no features"):
        table.matrix()


# --- needs --------------------------------------------------------------------------------------


def test_only_needed_roles_are_looked_for(write) -> None:
    content = "user,label,features_used,target\n1,,3,x\n2,,,y\n"
    assert load(write, content, needs=()).rows.column_names == ["user", "label", "features_used", "target"]
    assert load(write, content, needs=("label",), label="target").label_names == ("x", "y")
    assert load(write, content, needs=(), label="target").label_names == ("x", "y")


def test_features_are_looked_for_beside_text_where_they_are_needed(write) -> None:
    table = load(write, "text,a,label\nx,1,0\ny,4,1\n", needs=("text", "features", "label"))
    assert table.feature_names == ("a",)


def test_a_target_may_be_needed_where_whole_numbers_would_be_classes(write) -> None:
    content = "a,price\n1,10\n2,20\n"
    assert load(write, content, label="price").label_names == ("10", "20")
    table = load(write, content, needs=("target",), label="price")
    assert table.label_names == ()
    assert list(table.rows["target"]) == [10.0, 20.0]
    assert "is text; a target must be numbers" in refused(write, "a,y\n1,s\n2,t\n", needs=("target",))


@pytest.mark.parametrize(
    ("content", "need", "words"),
    [
        (
            "body,label\na,1\nb,2\n",
            "text",
            "has no text column. Name one with --data.text. Its columns: body, label.",
        ),
        ("text,label\n1,1\n2,2\n", "text", "Column 'text' is not text but numbers."),
        ("text,stars\na,1\nb,2\n", "label", "has no label column. Name one with --data.label."),
        ("text,label\na,1\nb,2\n", "image", "has no image column"),
        ("text,label\na,x\nb,y\n", "features", "has no column of numbers. Name one with --data.features"),
        ("text,label\na,x\nb,y\n", "txt", "no role 'txt'. Did you mean 'text'"),
        ("text,label\na,1.5\nb,2.5\nc,3.1\n", "label", "column 'label' holds real numbers, not classes"),
    ],
)
def test_a_missing_need_is_refused_with_the_option_to_use(write, content: str, need: str, words: str) -> None:
    assert words in refused(write, content, needs=(need,))


# --- wrong columns ------------------------------------------------------------------------------


def test_a_wrong_column_is_answered_with_the_nearest_and_the_list(write) -> None:
    for role in ("text", "image", "audio", "label", "group", "id"):
        words = refused(write, "review,stars\na,1\nb,2\n", **{role: "reviews"})
        assert "has no column 'reviews'. Did you mean 'review'? Its columns: review, stars." in words
    assert "has no column 'star'" in refused(write, "review,stars\na,1\nb,2\n", features=("stars", "star"))


def test_one_column_cannot_have_two_roles(write) -> None:
    assert "'a' is named for two roles" in refused(write, "a,b\nx,1\ny,2\n", text="a", group="a")


def test_columns_of_the_wrong_type_are_refused(write) -> None:
    content = "review,stars,where\ngood,1,x.png\nbad,2,y.png\n"
    assert "column 'stars' is not text but numbers. Name another with --data.text." in refused(
        write, content, text="stars"
    )
    assert "holds no pictures but text (pictures in files: images:FOLDER" in refused(
        write, content, image="where"
    )
    assert "holds no sound but text" in refused(write, content, audio="where")
    words = refused(write, "a,b\n1,1\n2,x1\n", features=("a", "b"))
    assert "column 'b' is not numeric but text (row 2: 'x1'). Name another with --data.features." in words
    with pytest.raises(InputError, match="holds lists of numbers, not one value a row"):
        load_json(write, [{"text": "a", "y": [1]}, {"text": "b", "y": [2]}], label="y")


def test_empty_text_cells_are_refused_where_the_format_knows_them(write) -> None:
    records = [{"text": "a", "label": 0}, {"label": 1}, {"text": None, "label": 1}]
    with pytest.raises(InputError, match=r"column 'text' is empty in 2 of 3 rows \(rows 2, 3\)"):
        load_json(write, records)
    assert "column 'user' is empty in 1 of 2 rows (row 2)" in refused(
        write, "text,user\na,1\nb,\n", group="user"
    )


@pytest.mark.parametrize("role", ["group", "id"])
def test_blank_names_of_groups_and_rows_are_refused_like_missing_numbers(write, role: str) -> None:
    content = f"text,label,{role}\n" + "".join(
        f"t{row},{'ab'[row % 2]},{' ' if row % 3 == 0 else f'p{row % 4}'}\n" for row in range(12)
    )
    assert f"column '{role}' is empty in 4 of 12 rows (rows 1, 4, 7, 10)" in refused(write, content)


def test_rows_with_empty_cells_are_dropped_where_the_user_says_so(write) -> None:
    content = "a,b,label,group,note\n1,2,x,u,\n3,,y,v,n\n5,6,,u,n\n7,8,y,,n\n9,10,x,w,n\n11,12,y,w,n\n"
    test = write("test.csv", "a,b,label,group\n1,2,x,u\n3,NA,y,v\n")
    with pytest.warns(DataWarning) as said:
        table = load(write, content, missing="drop", test=f"csv:{test}")
    first, second = (str(warning.message) for warning in said)
    assert first.endswith("3 of 6 rows have empty cells and are left out (rows 2, 3, 4).")
    assert second.endswith("test.csv: 1 of 2 rows have empty cells and are left out (row 2).")
    assert table.matrix().tolist() == [[1, 2], [9, 10], [11, 12]]
    assert table.test is not None
    assert table.matrix(table.test).tolist() == [[1, 2]]
    words = refused(write, "text,label\na,\nb,\n", missing="drop")
    assert "every row has an empty cell in one of the columns that are used" in words
    records = [{"features": [1, 2], "label": 0}, {"features": [1, None], "label": 1}, {"label": 0}]
    with pytest.warns(DataWarning, match=r"2 of 3 rows"), pytest.raises(InputError, match="only one class"):
        load_json(write, records, missing="drop")


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "names", "codes"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([10, 9, 2], ("2", "9", "10"), [2, 1, 0]),
        (["10", "9", "2"], ("2", "9", "10"), [2, 1, 0]),
        ([-1, 1, -1], ("-1", "1"), [0, 1, 0]),
        ([1.0, 2.0, 10.0], ("1", "2", "10"), [0, 1, 2]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([" pos", "pos ", "neg"], ("neg", "pos"), [1, 1, 0]),
        ([0.5, 1.5, 0.5], ("0.5", "1.5"), [0, 1, 0]),
        (["nan", "roti", "nan"], ("nan", "roti"), [0, 1, 0]),
        (["a10", "a9", "1"], ("1", "a10", "a9"), [1, 2, 0]),
    ],
)
def test_labels_of_any_type_become_sorted_classes(
    write, values: list[object], names: tuple[str, ...], codes: list[int]
) -> None:
    table = load_json(write, [{"text": "t", "label": value} for value in values])
    assert table.label_names == tuple(table.rows.features["label"].names) == names
    assert table.labels().tolist() == codes
    assert table.labels().dtype == np.int64
    assert table.labels(table.rows.select([2, 0])).tolist() == [codes[2], codes[0]]


def test_real_numbers_become_a_target(write) -> None:
    table = load(write, "a,y\n1,0.5\n2,1.5\n3,2.25\n")
    assert table.label_names == ()
    assert list(table.rows["target"]) == [0.5, 1.5, 2.25]
    assert table.feature_names == ("a",)


def test_empty_labels_are_counted_and_located(write) -> None:
    for rows in ("a,1\nb,\nc,2\nd,nan\ne,NaN\n", "a,x\nb,\nc,y\nd, \ne,\n"):
        words = refused(write, f"text,label\n{rows}")
        assert "column 'label' is empty in 3 of 5 rows (rows 2, 4, 5)" in words
    many = refused(write, "text,label\na,x\n" + "b,\n" * 8 + "c,y\n")
    assert "in 8 of 10 rows (rows 2, 3, 4, 5, 6 and 3 more)" in many
    target = refused(write, "a,y\n1,0.5\n2,\n3,1.5\n4,2.5\n")
    assert "column 'y' is empty in 1 of 4 rows (row 2)" in target
    assert "column 'y' is infinite in row 2" in refused(write, "a,y\n1,0.5\n2,inf\n3,1.5\n")


def test_one_class_is_refused(write) -> None:
    assert "has only one class, 'x'" in refused(write, "text,label\na,x\nb,x\n")


def test_require_classes_counts_rows_and_classes(write) -> None:
    table = load(write, "text,label\n" + "a,x\n" * 5 + "a,y\n" * 2 + "a,z\n")
    require_classes(table, least_rows=1, least_classes=3)
    with pytest.raises(
        InputError, match=r"too few rows of some classes: 'y' has 2, 'z' has 1; each needs at least 3"
    ):
        require_classes(table, least_rows=3)
    with pytest.raises(InputError, match="has rows of 3 classes; at least 4 classes are needed"):
        require_classes(table, least_rows=1, least_classes=4)
    with pytest.raises(InputError, match="has no labels"):
        require_classes(load(write, "text\na\n"), least_rows=1)


# --- features -----------------------------------------------------------------------------------


def test_empty_and_infinite_features_are_located(write) -> None:
    words = refused(write, "a,b,label\n1,2,0\n3,,1\n5,nan,1\n")
    assert "column 'b' is empty or NaN in 2 of 3 rows (rows 2, 3). Fill them in" in words
    assert "column 'b' is infinite in row 2" in refused(write, "a,b,label\n1,2,0\n3,-inf,1\n")


def test_long_whole_numbers_are_no_features_by_accident(write) -> None:
    words = refused(write, "account,a,label\n12345678901234567,1,x\n12345678901234568,2,y\n")
    assert "column 'account' has whole numbers beyond 2^53, as ids are" in words
    assert "Name the columns that measure something with --data.features" in words


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ([[1, 2], [3, 4, 5]], "column 'features' is ragged: row 2 has 3 numbers where row 1 has 2"),
        ([[1, 2], None], "is ragged: row 2 has 0 numbers"),
        ([[], [1]], "has no numbers in row 1"),
        ([[1, 2], [None, 4]], "has empty or NaN numbers in row 2"),
        ([[1, 2], [float("nan"), 4]], "line 2: NaN is no JSON number. Write null for what is missing"),
        ([[1, float("inf")], [3, 4]], "line 1: Infinity is no JSON number"),
        ([["a"], ["b"]], "column 'features' is not numeric but lists of text"),
    ],
)
def test_unfit_lists_are_located(write, lists: list[object], words: str) -> None:
    with pytest.raises(InputError) as error:
        load_json(
            write, [{"features": each, "label": n} for n, each in enumerate(lists)], features=("features",)
        )
    assert words in str(error.value)


def test_matrices_follow_a_selection_of_rows(write) -> None:
    table = load(write, "a,b,label\n" + "".join(f"{i},{i * i},{i % 2}\n" for i in range(10)))
    picked = table.rows.shuffle(seed=0).select([3, 1, 2])
    assert [list(row) for row in table.matrix(picked)] == list(picked["features"])
    np.testing.assert_array_equal(table.sparse(picked).toarray(), table.matrix(picked))
    assert table.matrix(table.rows.select([])).shape == (0, 2)


# --- test tables --------------------------------------------------------------------------------


def load_both(write, train: str, test: str, **roles: str) -> LoadedTable:
    paths = write("train.csv", train), write("test.csv", test)
    return Table(f"csv:{paths[0]}", test=f"csv:{paths[1]}", **roles).load()


def test_test_rows_get_the_roles_and_classes_of_the_training_rows(write) -> None:
    table = load_both(
        write,
        "review,stars\na,10\nb,2\nc,9\n",
        "extra,stars,review\nx,9,d\ny,9,e\n",
        text="review",
        label="stars",
    )
    assert table.test is not None
    assert table.test_name is not None
    assert table.test_name.endswith("test.csv")
    assert list(table.test["text"]) == ["d", "e"]
    assert table.labels(table.test).tolist() == [1, 1]
    assert table.test.features["label"].names == ["2", "9", "10"]
    features = load_both(write, "a,b,label\n1,2,0\n3,4,1\n", "b,label,a\n6,1,5\n")
    np.testing.assert_array_equal(features.matrix(features.test), [[5, 6]])


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("review,stars\na,1\n", "test.csv has no column 'label', which csv:"),
        ("review,label\na,5\n", "column 'label' has the class '5', which csv:"),
        ("review,label\na,1\nb,\n", "test.csv: column 'label' is empty in 1 of 2 rows (row 2)"),
        ("body,label\na,1\n", "test.csv has no column 'review', which csv:"),
        ("review,label\n1,1\n", "test.csv: column 'review' is not text but numbers"),
        ("review,label\n", "test.csv has a header but no rows"),
    ],
)
def test_test_tables_that_differ_are_refused(write, test: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        load_both(write, "review,label\na,1\nb,2\n", test)
    assert words in str(error.value)


def test_test_features_of_another_length_are_refused(write) -> None:
    train = write("train.json", '[{"features": [1, 2], "label": 0}, {"features": [3, 4], "label": 1}]')
    test = write("test.json", '[{"features": [1, 2, 3], "label": 0}]')
    with pytest.raises(InputError, match=r"has 3 features where .* has 2"):
        Table(f"json:{train}", test=f"json:{test}").load()
