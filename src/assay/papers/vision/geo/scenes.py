"""Satellite scenes: one in a record, and catalogues that find them in folders and in STAC."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import numpy as np

from assay.papers.vision.geo.rasters import Grid, read_header, tiffs_in

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
"""What the models read: blue, green, red, narrow near infrared and two of the short-wave infrared."""
SENSORS: dict[str, dict[str, str]] = {
    sensor: dict(zip(BANDS, names, strict=True))
    for sensor, names in {
        "names": BANDS,
        "HLS-S30": ("B02", "B03", "B04", "B8A", "B11", "B12"),
        "HLS-L30": ("B02", "B03", "B04", "B05", "B06", "B07"),
        "Sentinel-2": ("B2", "B3", "B4", "B8A", "B11", "B12"),
        "Landsat-OLI": ("B2", "B3", "B4", "B5", "B6", "B7"),
        "Landsat-TM": ("B1", "B2", "B3", "B4", "B5", "B7"),
    }.items()
}
"""How each sensor calls the bands; the first that has all of them is taken, Landsat's by its number."""
COMMON_NAMES = {"nir08": "nir", "swir16": "swir1", "swir22": "swir2"}
"""STAC's common names, where they differ from ours."""
RADAR = ("VV", "VH")
"""The polarisations of Sentinel-1, which are taken where they are asked for."""
MASKS = ("Fmask", "SCL")

Ring = tuple[tuple[float, float], ...]
"""Corners of a polygon as (longitude, latitude). One over 180 degrees goes on beyond: 179, 180, 181."""
Box = tuple[float, float, float, float]
"""West, south, east, north."""


@dataclass(frozen=True)
class BandFile:
    """One band of a scene: a GeoTIFF (path or address) and the number of the band in it, from 1.

    `scale` and `offset` are those of a catalogue; where the file has its own, those count.
    """

    path: str
    index: int = 1
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Scene:
    """What was recorded at one place and time.

    `footprint` holds the outer rings of its polygons in WGS 84; `bands` are files by band name.
    """

    id: str
    datetime: datetime
    footprint: tuple[Ring, ...]
    bands: Mapping[str, BandFile] = field(hash=False)
    cloud_cover: float | None = None
    mask: BandFile | None = None
    mask_kind: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "footprint", tuple(unwrap(ring) for ring in self.footprint))

    def contains(self, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
        """Return whether the footprint contains each point, on whichever side of 180 degrees it lies."""
        import shapely

        polygons = shapely.MultiPolygon([shapely.Polygon(ring) for ring in self.footprint])
        shapely.prepare(polygons)
        found: np.ndarray = np.any(
            [shapely.contains_xy(polygons, longitude + turn, latitude) for turn in (0, 360, -360)], axis=0
        )
        return found

    def touches(self, box: Box) -> bool:
        """Return whether the box around the footprint touches another."""
        west, south, east, north = box
        boxes = ((*np.min(ring, axis=0), *np.max(ring, axis=0)) for ring in self.footprint)
        return any(
            left + turn <= east and right + turn >= west and bottom <= north and top >= south
            for left, bottom, right, top in boxes
            for turn in (0, 360, -360)
        )


@runtime_checkable
class SceneCatalog(Protocol):
    """Where scenes are found. `notes` says what was skipped, and why."""

    notes: list[str]

    def search(self, bbox: Box, start: datetime, end: datetime) -> Sequence[Scene]:
        """Return the scenes that touch the box from `start` to `end`, by time."""
        ...


@dataclass
class SceneList:
    """Scenes that are known already."""

    scenes: Sequence[Scene]
    notes: list[str] = field(default_factory=list)

    def search(self, bbox: Box, start: datetime, end: datetime) -> Sequence[Scene]:
        """Return the scenes that touch the box in that time."""
        found = [scene for scene in self.scenes if start <= scene.datetime <= end and scene.touches(bbox)]
        return sorted(found, key=lambda scene: (scene.datetime, scene.id))


def unwrap(ring: Ring) -> Ring:
    """Return a ring without jumps from 180 to -180 degrees; one around the whole globe stays."""
    longitude, latitude = np.array(ring, float).T
    jumps = np.abs(np.diff(longitude))
    if not ((jumps > 180) & (jumps < 360)).any():
        return ring
    return tuple(zip(np.unwrap(longitude, period=360).tolist(), latitude.tolist(), strict=True))


def pick_bands(
    available: Mapping[str, BandFile], wanted: Sequence[str] = (), at: str = "", platform: str = ""
) -> dict[str, BandFile]:
    """Return the bands to stack, in order: those `wanted`, else the six of the sensor that fits.

    Landsat 8 and 9 call other bands B2 to B7 than earlier ones do: which it is, is read from `platform` or
    from the name `at`.

    Raises:
        ValueError: bands are missing, or may be of two sensors; says which.
    """
    if wanted:
        missing = [name for name in wanted if name not in available]
        if missing:
            raise ValueError(f"{at} lacks the bands {', '.join(missing)}; it has {', '.join(available)}.")
        return {name: available[name] for name in wanted}
    known = {re.sub(r"^SR_(?=B\d)", "", name): file for name, file in available.items()}
    how = "Name the bands to use, in the order blue, green, red, near infrared, short-wave infrared 1 and 2."
    number = landsat_number(platform) or landsat_number(at)
    other: tuple[str, ...] = ("Landsat-TM" if number > 7 else "Landsat-OLI",) if number else ()
    if "B12" in known:  # is Sentinel-2's, whose B5 to B7 are red edges
        other = ("HLS-L30", "Landsat-OLI", "Landsat-TM")
    sensors = [name for name in SENSORS if name not in other]
    fits = [name for name in sensors if set(SENSORS[name].values()) <= set(known)]
    if fits[:2] == ["Landsat-OLI", "Landsat-TM"]:
        raise ValueError(
            f"{at} has the bands B1 to B7, which mean other bands in Landsat 8 and 9 than before, and its"
            f" name does not say which it is. {how}"
        )
    if fits:
        return {band: known[name] for band, name in SENSORS[fits[0]].items()}
    best = max((SENSORS[name] for name in sensors), key=lambda names: len(set(names.values()) & set(known)))
    missing = [name for name in best.values() if name not in known]
    raise ValueError(
        f"{at} lacks the bands {', '.join(missing)}; it has {', '.join(available) or 'none'}. {how}"
    )


def landsat_number(text: str) -> int:
    """Return which Landsat a name is of (LC08_..., LT52240631988227CUB02, landsat-9), or 0."""
    match = re.search(
        r"(?<![A-Za-z])(?:L[COTE](?:0([4-9])(?=_|$)|([4-9])(?=\d{13}))|landsat[-_ ]?([4-9])(?!\d))",
        text,
        re.I,
    )
    return int(next(digit for digit in match.groups() if digit)) if match else 0


# --- a folder of GeoTIFFs -----------------------------------------------------------------------


class LocalScenes(SceneList):
    """GeoTIFFs in a folder: one file a band (`SCENE.B02.tif`, `SCENE_B02.tif`), or one with all bands.

    A file with several bands names them by their descriptions, or else `1`, `2`, ... The date is a tag
    (`TIFFTAG_DATETIME`, `ACQUISITIONDATETIME`) or stands in the name: 20220531, 2022-05-31, 2022151 (the
    day of the year). `CLOUD_COVER` or `CLOUD_COVERAGE` may be a tag too.

    Args:
        folder: is searched with its subfolders.
        bands: names of the bands to stack, in order; by default those of the sensor that fits.

    Raises:
        ValueError: there is no usable scene, or a scene has no date; says which and why.
    """

    def __init__(self, folder: str | Path, bands: Sequence[str] = ()) -> None:
        notes: list[str] = []
        groups: dict[str, dict[str, BandFile]] = defaultdict(dict)
        for path in tiffs_in(folder):
            scene, found = _bands_of(path)
            groups[f"{path.parent}/{scene}"] |= found
        if not groups:
            raise ValueError(f"{folder} holds no GeoTIFF (.tif, .tiff).")
        read: list[Scene] = []
        for key, files in groups.items():
            try:
                read.append(_local_scene(Path(key).name, files, bands))
            except ValueError as error:
                notes.append(f"scene skipped: {error}")
        if not read:
            raise ValueError(f"none of the {len(groups)} scenes in {folder} can be used: {notes[0]}")
        super().__init__(read, notes)


_BAND_NAME = re.compile(
    r"(?P<scene>.+?)[._-](?P<band>B\d{1,2}A?|Fmask|SCL|blue|green|red|nir|swir1|swir2|VV|VH|HH|HV)",
    re.IGNORECASE,
)
_DAY = re.compile(r"\d{4}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])")
_DAY_OF_YEAR = re.compile(r"(?:19|20)\d{2}(?:[0-2]\d{2}|3[0-5]\d|36[0-6])(?!\d)")


def _bands_of(path: Path) -> tuple[str, dict[str, BandFile]]:
    match = _BAND_NAME.fullmatch(path.stem)
    if match:
        band = match["band"]
        known = {name.lower(): name for name in (*BANDS, *MASKS)}
        return match["scene"], {known.get(band.lower(), band.upper()): BandFile(str(path))}
    names = [name or str(number) for number, name in enumerate(read_header(path).names, start=1)]
    return path.stem, {name: BandFile(str(path), number) for number, name in enumerate(names, start=1)}


def _local_scene(name: str, files: Mapping[str, BandFile], wanted: Sequence[str]) -> Scene:
    bands = pick_bands(files, wanted, at=name)
    first = next(iter(bands.values())).path
    grid, tags = Grid.of(first), read_header(first).tags
    cloud = tags.get("CLOUD_COVER", tags.get("CLOUD_COVERAGE"))
    cover = None if cloud is None else float(cloud)
    return Scene(name, date_of(name, tags), (grid.outline(),), bands, cover, *_quality_band(files))


def _quality_band(files: Mapping[str, BandFile]) -> tuple[BandFile | None, str | None]:
    """Return the file and the kind of the quality band, where there is one."""
    return next(((files[kind], kind) for kind in MASKS if kind in files), (None, None))


def date_of(name: str, tags: Mapping[str, str]) -> datetime:
    """Return the date of a file by its tags, or by its name.

    Raises:
        ValueError: neither has one.
    """
    for tag in ("TIFFTAG_DATETIME", "ACQUISITIONDATETIME"):
        match = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)(?:[ T](\d\d):(\d\d):(\d\d))?", tags.get(tag, ""))
        if match:
            return datetime(*(int(part) for part in match.groups() if part), tzinfo=UTC)  # type: ignore[misc,arg-type]
    for word in re.sub(r"[_.T]", " ", name).split():
        if _DAY.fullmatch(word):
            return datetime.fromisoformat(word.replace("-", "")).replace(tzinfo=UTC)
        if _DAY_OF_YEAR.fullmatch(word):
            return _day_of_year(word)
    # LT52240631988227CUB02: the date stands inside a word, behind path and row
    if match := re.search(rf"{_DAY_OF_YEAR.pattern}(?=[A-Z])", name):
        return _day_of_year(match[0])
    raise ValueError(
        f"{name} has no date, neither as a tag (TIFFTAG_DATETIME) nor in its name. Write one into the name:"
        f" {name}_20220531.tif."
    )


def _day_of_year(text: str) -> datetime:
    return datetime(int(text[:4]), 1, 1, tzinfo=UTC) + timedelta(days=int(text[4:]) - 1)


# --- STAC ---------------------------------------------------------------------------------------


class StacTree(SceneList):
    """A STAC catalogue in local JSON files, read with pystac.

    Args:
        catalog: `catalog.json` or `collection.json`, or the folder that holds one.
        bands: names of the assets to stack, in order; by default those of the sensor that fits.

    Raises:
        ValueError: there is no catalogue, or none of its items can be used.
    """

    def __init__(self, catalog: str | Path, bands: Sequence[str] = ()) -> None:
        import pystac

        path = Path(catalog)
        if path.is_dir():
            inside = [path / name for name in ("catalog.json", "collection.json")]
            path = next((each for each in inside if each.exists()), inside[0])
        try:
            root: Any = pystac.read_file(str(path))
            items = list(root.get_items(recursive=True))
        except Exception as error:
            raise ValueError(f"{path} cannot be read as a STAC catalogue: {error}") from error
        scenes, notes = read_items(items, bands)
        if not scenes:
            reason = notes[0] if notes else "it has no items"
            raise ValueError(f"no item of {path} can be used: {reason}")
        super().__init__(scenes, notes)


class StacApi:
    """A STAC catalogue behind an address, searched with pystac-client.

    What stands before an `@` and after a `?` in addresses is left out of notes and errors.

    Args:
        url: of the API's landing page.
        collections: which to search; all by default.
        bands: names of the assets to stack, in order; by default those of the sensor that fits.
        modifier: signs items before they are read, where the server wants that.
    """

    def __init__(
        self, url: str, collections: Sequence[str] = (), bands: Sequence[str] = (), modifier: Any = None
    ) -> None:
        self.url, self.collections, self.bands, self.modifier = url, list(collections), bands, modifier
        self.notes: list[str] = []

    def search(self, bbox: Box, start: datetime, end: datetime) -> Sequence[Scene]:
        """Ask the server.

        Raises:
            ValueError: it does not answer as a STAC API.
        """
        import pystac_client

        try:
            client = pystac_client.Client.open(self.url, modifier=self.modifier)
            found = client.search(bbox=bbox, datetime=(start, end), collections=self.collections or None)
            items = list(found.items())
        except Exception as error:
            raise ValueError(
                f"{public_address(self.url)} does not answer as a STAC API: {type(error).__name__}"
            ) from None
        scenes, notes = read_items(items, self.bands)
        self.notes += [note for note in notes if note not in self.notes]
        return scenes


def read_items(items: Iterable[Any], bands: Sequence[str] = ()) -> tuple[list[Scene], list[str]]:
    """Turn STAC items into scenes, and say which were skipped and why."""
    scenes, notes = [], []
    for item in items:
        try:
            scenes.append(_scene_of(item, bands))
        except ValueError as error:
            notes.append(f"STAC item skipped: {error}")
    return sorted(scenes, key=lambda scene: (scene.datetime, scene.id)), notes


def _scene_of(item: Any, bands: Sequence[str]) -> Scene:
    if item.datetime is None or item.geometry is None:
        raise ValueError(f"{item.id} has no {'datetime' if item.datetime is None else 'geometry'}.")
    assets = dict(_asset_files(item))
    picked = pick_bands(assets, bands, at=item.id, platform=str(item.properties.get("platform", "")))
    mask, kind = _quality_band(assets)
    for name, file in [*picked.items(), *([(kind, mask)] if mask else [])]:
        if "://" not in file.path and not Path(file.path).exists():
            raise ValueError(f"the file of asset {name} of {item.id} is missing: {file.path}.")
    when = item.datetime if item.datetime.tzinfo else item.datetime.replace(tzinfo=UTC)
    cloud = item.properties.get("eo:cloud_cover")
    cover = None if cloud is None else float(cloud)
    footprint = _rings(item.geometry, item.id)
    return Scene(item.id, when.astimezone(UTC), footprint, picked, cover, mask, kind)


def _asset_files(item: Any) -> Iterator[tuple[str, BandFile]]:
    """Yield the bands by the asset's key, and by the common names where the item gives them."""
    applied = item.properties.get("earthsearch:boa_offset_applied") is True  # the asset still names it
    for key, asset in item.assets.items():
        said = asset.extra_fields
        described = said.get("eo:bands") or said.get("bands") or [{}]
        values = said | described[0] | (said.get("raster:bands") or [{}])[0]
        scale, offset = (values.get(name, values.get(f"raster:{name}")) for name in ("scale", "offset"))
        offset = 0.0 if applied or offset is None else float(offset)
        place = str(asset.get_absolute_href() or asset.href)
        file = BandFile(place, 1, 1.0 if scale is None else float(scale), offset)
        common = [described[0].get("common_name") or described[0].get("eo:common_name")]
        for name in [*(common if len(described) == 1 else []), key]:
            if name:
                yield COMMON_NAMES.get(name, {"fmask": "Fmask", "scl": "SCL"}.get(name.lower(), name)), file
        if key in ("vv", "vh"):
            yield key.upper(), file


def _rings(geometry: Mapping[str, Any], name: str) -> tuple[Ring, ...]:
    kind = geometry.get("type")
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"{name} has a {kind} as its footprint; a polygon is needed.")
    polygons = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
    return tuple(tuple((float(x), float(y)) for x, y, *_ in polygon[0]) for polygon in polygons)


def public_address(url: str) -> str:
    """Return an address without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
