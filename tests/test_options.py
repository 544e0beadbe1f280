"""Options: layers over a config's defaults, dotted names, types, and the meaning of each."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from assay import options
from assay.bounds import NonNegativeInt, OpenShare, PositiveFloats, PositiveInt, PositiveShare, ShareBelowOne
from assay.data import Table
from assay.errors import InputError
from assay.options import Option


@dataclass(frozen=True)
class Optimiser:
    """A part with options of its own."""

    rate: float = 0.1
    """Learning rate."""
    clip: float = math.inf
    """Largest norm of a gradient."""


@dataclass(frozen=True)
class Faster(Optimiser):
    """A part that has another's options too."""

    momentum: float = 0.9
    """Of the steps."""


@dataclass(frozen=True)
class Fit:
    """A config with every kind of field."""

    data: Table = Table("bundled:digits", label="target")
    """Rows to learn from."""
    optimiser: Optimiser = Optimiser()
    """How to step."""
    steps: int = 10
    """Number of steps,
    each on one batch."""
    objective: Literal["plain", "Mixed"] = "plain"
    """What is minimised."""
    widths: tuple[int, ...] = (8, 8)
    """Width of each layer."""
    mix: int | float = 0
    """Share of the second term."""
    name: str | None = None
    cache: Path = Path("cache")
    """Where to keep features."""
    shuffle: bool = True
    """Whether to shuffle."""


def resolve(*layers: dict[str, Any]) -> Fit:
    return options.resolve(Fit, *layers)


class TestResolve:
    def test_without_layers_it_is_the_defaults(self) -> None:
        assert resolve() == Fit()
        assert resolve({}, {}) == Fit()

    def test_later_layers_win(self) -> None:
        resolved = resolve({"steps": 1, "shuffle": False}, {"steps": 2}, {"name": "b"})
        assert resolved == Fit(steps=2, shuffle=False, name="b")

    def test_dotted_names_reach_into_parts(self) -> None:
        resolved = resolve({"optimiser.rate": 0.5}, {"optimiser.clip": 1.0})
        assert resolved.optimiser == Optimiser(rate=0.5, clip=1.0)

    def test_a_part_can_be_given_whole(self) -> None:
        assert resolve({"optimiser": Optimiser(0.3)}).optimiser == Optimiser(0.3)
        assert resolve({"optimiser": {"rate": 0.3}}).optimiser == Optimiser(0.3)

    def test_a_part_comes_before_its_options_whatever_the_order(self) -> None:
        resolved = resolve({"data.text": "review", "data": "csv:a.csv"})
        assert resolved.data == Table("csv:a.csv", text="review")

    @pytest.mark.parametrize("name", ["data", "data.source"])
    def test_a_new_source_drops_the_roles_of_the_old(self, name: str) -> None:
        assert resolve({"data.group": "student"}, {name: "csv:a.csv"}).data == Table("csv:a.csv")

    def test_roles_alone_keep_the_source(self) -> None:
        assert resolve({"data.text": "a"}).data == Table("bundled:digits", label="target", text="a")

    def test_a_table_can_be_given_whole(self) -> None:
        table = Table("csv:a.csv", features=("x", "y"))
        assert resolve({"data": table}).data == table

    def test_the_layers_are_left_alone(self) -> None:
        layer = {"optimiser": {"rate": 0.5}}
        resolve(layer, {"optimiser.rate": 0.7})
        assert layer == {"optimiser": {"rate": 0.5}}


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("step", "There is no option 'step'. Did you mean 'steps'?"),
            ("optimiser.rat", "There is no option 'optimiser.rat'. Did you mean 'optimiser.rate'?"),
            ("steps.rate", "There is no option 'steps.rate'."),
            ("steps.source", "There is no option 'steps.source'."),
            ("xyzzy", "There is no option 'xyzzy'. Known: cache, data, data.audio"),
        ],
    )
    def test_an_unknown_option_names_the_nearest(self, name: str, message: str) -> None:
        with pytest.raises(InputError) as caught:
            resolve({name: 1})
        assert str(caught.value).startswith(message)

    @pytest.mark.parametrize(
        ("layer", "option", "given"),
        [
            ({"steps": "many"}, "steps", "'many'"),
            ({"steps": 1.5}, "steps", "1.5"),
            ({"steps": None}, "steps", "None"),
            ({"optimiser.rate": "fast"}, "optimiser.rate", "'fast'"),
            ({"optimiser": "adam"}, "optimiser", "'adam'"),
            ({"objective": "mixed"}, "objective", "'mixed'"),
            ({"widths": (8, "wide")}, "widths", "'wide'"),
            ({"mix": "half"}, "mix", "'half'"),
            ({"name": 3}, "name", "3"),
            ({"data.text": 3}, "data.text", "3"),
        ],
    )
    def test_a_wrong_type_names_the_option(self, layer: dict[str, Any], option: str, given: str) -> None:
        with pytest.raises(InputError) as caught:
            resolve(layer)
        assert str(caught.value).startswith(f"--{option}: got {given}; ")

    def test_what_is_allowed_is_said_as_it_is_written(self) -> None:
        with pytest.raises(InputError, match="input should be 'plain' or 'Mixed'"):
            resolve({"objective": "mixed"})

    def test_a_value_that_refuses_itself_speaks_for_itself(self) -> None:
        with pytest.raises(InputError) as caught:
            resolve({"data": "Reviews.csv"})
        assert str(caught.value).startswith("--data: 'Reviews.csv' does not say what kind of source it is.")
        assert "Did you mean 'csv:Reviews.csv'?" in str(caught.value)

    def test_plain_values_are_checked_too(self) -> None:
        with pytest.raises(InputError, match=r"There is no option 'stepz'. Did you mean 'steps'"):
            options.from_plain(Fit, {"stepz": 1})


class TestPlain:
    CHANGED = Fit(
        data=Table("csv:a.csv", features=("x", "y")),
        optimiser=Optimiser(0.5),
        widths=(),
        name="ü",
        mix=0.5,
        cache=Path("/tmp/x"),
    )

    @pytest.mark.parametrize("config", [Fit(), CHANGED])
    def test_a_config_survives_json(self, config: Fit) -> None:
        text = json.dumps(options.to_plain(config))
        assert options.from_plain(Fit, json.loads(text)) == config

    def test_plain_values_are_what_json_holds(self) -> None:
        plain = options.to_plain(self.CHANGED)
        assert plain == json.loads(json.dumps(plain))
        assert plain["cache"] == "/tmp/x"
        assert plain["data"]["features"] == ["x", "y"]


class TestOptions:
    NAMED = {option.name: option for option in options.options(Fit(steps=3))}  # noqa: RUF012

    def test_they_come_in_the_order_in_which_they_are_written(self) -> None:
        names = options.option_names(Fit())
        assert names == list(self.NAMED)
        assert [name for name in names if not name.startswith("data.")] == [
            "data",
            "optimiser.rate",
            "optimiser.clip",
            "steps",
            "objective",
            "widths",
            "mix",
            "name",
            "cache",
            "shuffle",
        ]

    def test_a_table_goes_by_its_source(self) -> None:
        assert self.NAMED["data"] == Option("data", "Table", "bundled:digits", "Rows to learn from.")
        assert self.NAMED["data.label"].default == "target"
        assert "data.source" not in self.NAMED

    def test_meanings_are_the_text_under_each_field(self) -> None:
        assert self.NAMED["steps"] == Option("steps", "int", 3, "Number of steps,\neach on one batch.")
        assert self.NAMED["optimiser.rate"].meaning == "Learning rate."
        assert self.NAMED["name"].meaning == ""

    def test_types_are_shown_as_written(self) -> None:
        types = {name: self.NAMED[name].type for name in ("objective", "widths", "name", "cache", "mix")}
        assert types == {
            "objective": "Literal['plain', 'Mixed']",
            "widths": "tuple[int, ...]",
            "name": "str | None",
            "cache": "Path",
            "mix": "int | float",
        }

    def test_inherited_fields_keep_their_meanings(self) -> None:
        found = {option.name: option.meaning for option in options.options(Faster())}
        assert found["rate"] == "Learning rate."
        assert found["momentum"] == "Of the steps."

    def test_a_class_without_source_has_no_meanings(self) -> None:
        fields: list[Any] = [("steps", int, 1), ("size", str | None, None), ("kind", Literal["a"], "a")]
        found = list(options.options(make_dataclass("Made", fields)()))
        assert [(option.type, option.meaning) for option in found] == [
            ("int", ""),
            ("str | None", ""),
            ("Literal['a']", ""),
        ]


@dataclass(frozen=True)
class Schedule:
    """A part whose numbers have bounds."""

    epochs: PositiveInt = 1
    """Passes."""
    dropped_units: ShareBelowOne | None = None
    """Share of units."""


@dataclass(frozen=True)
class Bounded:
    """A config whose numbers have bounds."""

    schedule: Schedule = Schedule()
    """How long."""
    rates: PositiveFloats = (0.1,)
    """What to try."""
    test: OpenShare = 0.5
    """Share of rows."""
    kept: PositiveShare = 1.0
    """Share of pixels."""
    warmup: NonNegativeInt = 0
    """Steps."""

    def __post_init__(self) -> None:
        if self.warmup > self.schedule.epochs:
            raise InputError("--warmup cannot be longer than --schedule.epochs.")


class TestBounds:
    def test_what_lies_within_is_taken(self) -> None:
        found = options.resolve(Bounded, {"schedule.dropped_units": 0.0, "kept": 1.0, "rates": (1e-3, 1)})
        assert (found.schedule.dropped_units, found.kept, found.rates) == (0.0, 1.0, (1e-3, 1.0))

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("schedule.epochs", 0, r"--schedule\.epochs: got 0; input should be greater than 0"),
            ("schedule.dropped_units", 1.0, r"--schedule\.dropped-units: got 1\.0; .* less than 1"),
            ("rates", (), r"--rates: got \(\); .* at least 1 item"),
            ("rates", (0.1, -1.0), r"--rates: got -1\.0; .* greater than 0"),
            ("rates", (math.nan,), r"--rates: got nan"),
            ("test", 1, r"--test: got 1; .* less than 1"),
            ("test", 0, r"--test: got 0; .* greater than 0"),
            ("kept", 0.0, r"--kept: got 0\.0; .* greater than 0"),
            ("warmup", -1, r"--warmup: got -1; .* greater than or equal to 0"),
            ("warmup", 2, r"^--warmup cannot be longer"),
        ],
    )
    def test_what_lies_outside_is_refused_by_its_option(self, option: str, value: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            options.resolve(Bounded, {option: value})

    def test_the_type_is_shown_as_it_is_written(self) -> None:
        shown = {option.name: option.type for option in options.options(Bounded())}
        assert shown["schedule.dropped_units"] == "ShareBelowOne | None"
