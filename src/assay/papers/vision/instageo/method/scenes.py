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

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
"""What the models read: blue, green, red, narrow near infrared and two of the short-wave infrared."""

SENSORS: dict[str, dict[str, str]] = {
    "names": {name: name for name in BANDS},
    "HLS-S30": dict(zip(BANDS, ("B02", "B03", "B04", "B8A", "B11", "B12"), strict=True)),
    "HLS-L30": dict(zip(BANDS, ("B02", "B03", "B04", "B05", "B06", "B07"), strict=True)),
    "Sentinel-2": dict(zip(BANDS, ("B2", "B3", "B4", "B8A", "B11", "B12"), strict=True)),
    "Landsat-TM": dict(zip(BANDS, ("B1", "B2", "B3", "B4", "B5", "B7"), strict=True)),
}
"""How each sensor calls the bands; the first that has all of them is taken."""
RADAR = ("VV", "VH")
"""The polarisations of Sentinel-1, which are taken where they are asked for."""
MASKS = ("Fmask", "SCL")
TIFF = {".tif", ".tiff"}

Ring = tuple[tuple[float, float], ...]
"""Corners of a polygon as (longitude, latitude)."""


@dataclass(frozen=True)
class BandFile:
    """One band of a scene: a GeoTIFF (path or address) and the number of the band in it, from 1."""

    path: str
    index: int = 1


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


@runtime_checkable
class SceneCatalog(Protocol):
    """Where scenes are found. `notes` says what was passed over, and why."""

    notes: list[str]

    def search(
        self, bbox: tuple[float, float, float, float], start: datetime, end: datetime
    ) -> Sequence[Scene]:
        """Return the scenes that touch (west, south, east, north) from `start` to `end`, by time."""
        ...


@dataclass
class SceneList:
    """Scenes that are known already."""

    scenes: Sequence[Scene]
    notes: list[str] = field(default_factory=list)

    def search(
        self, bbox: tuple[float, float, float, float], start: datetime, end: datetime
    ) -> Sequence[Scene]:
        """Return the scenes that touch the box in that time."""
        found = [s for s in self.scenes if start <= s.datetime <= end and _touches(s.footprint, bbox)]
        return sorted(found, key=lambda scene: (scene.datetime, scene.id))


def pick_bands(
    available: Mapping[str, BandFile], wanted: Sequence[str] = (), at: str = ""
) -> dict[str, BandFile]:
    """Return the bands to stack, in order: those `wanted`, else the six of the first sensor that fits.

    Raises:
        ValueError: bands are missing; names them.
    """
    if wanted:
        missing = [name for name in wanted if name not in available]
        if missing:
            raise ValueError(f"{at} lacks the bands {', '.join(missing)}; it has {', '.join(available)}.")
        return {name: available[name] for name in wanted}
    for names in SENSORS.values():
        if set(names.values()) <= set(available):
            return {band: available[name] for band, name in names.items()}
    best = max(SENSORS.values(), key=lambda names: len(set(names.values()) & set(available)))
    missing = [name for name in best.values() if name not in available]
    raise ValueError(
        f"{at} lacks the bands {', '.join(missing)}; it has {', '.join(available) or 'none'}. Name the bands"
        " to use, in the order blue, green, red, near infrared, short-wave infrared 1 and 2."
    )


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
        self.notes: list[str] = []
        groups: dict[str, dict[str, BandFile]] = defaultdict(dict)
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix.lower() in TIFF and not path.name.startswith("."):
                scene, found = _bands_of(path)
                groups[f"{path.parent}/{scene}"] |= found
        if not groups:
            raise ValueError(f"{folder} holds no GeoTIFF (.tif, .tiff).")
        read: list[Scene] = []
        for key, files in groups.items():
            try:
                read.append(_local_scene(Path(key).name, files, bands))
            except ValueError as error:
                self.notes.append(f"scene passed over: {error}")
        if not read:
            raise ValueError(f"none of the {len(groups)} scenes in {folder} can be used: {self.notes[0]}")
        super().__init__(read, self.notes)


_BAND_NAME = re.compile(
    r"(?P<scene>.+?)[._-](?P<band>B\d{1,2}A?|B8A|Fmask|SCL|blue|green|red|nir|swir1|swir2|VV|VH|HH|HV)",
    re.IGNORECASE,
)
_DAY = re.compile(r"(?<!\d)(\d{4})-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")
_DAY_OF_YEAR = re.compile(r"(?<!\d)((?:19|20)\d{2})([0-3]\d{2})(?!\d)")


def _bands_of(path: Path) -> tuple[str, dict[str, BandFile]]:
    import rasterio

    match = _BAND_NAME.fullmatch(path.stem)
    if match:
        band = match["band"]
        known = {name.lower(): name for name in (*BANDS, *MASKS)}
        return match["scene"], {known.get(band.lower(), band.upper()): BandFile(str(path))}
    with rasterio.open(path) as file:
        names = [name or str(number) for number, name in enumerate(file.descriptions, start=1)]
    return path.stem, {name: BandFile(str(path), number) for number, name in enumerate(names, start=1)}


def _local_scene(name: str, files: Mapping[str, BandFile], wanted: Sequence[str]) -> Scene:
    bands = pick_bands(files, wanted, at=name)
    first = next(iter(bands.values()))
    tags, footprint = _read_header(first.path)
    kind = next((mask for mask in MASKS if mask in files), None)
    cloud = tags.get("CLOUD_COVER", tags.get("CLOUD_COVERAGE"))
    return Scene(
        name,
        date_of(name, tags),
        (footprint,),
        bands,
        None if cloud is None else float(cloud),
        files[kind] if kind else None,
        kind,
    )


def _read_header(path: str) -> tuple[dict[str, str], Ring]:
    """Return the tags and the footprint in WGS 84, its edges followed in 21 steps each."""
    import rasterio
    from rasterio.warp import transform

    with rasterio.open(path) as file:
        if file.crs is None:
            raise ValueError(
                f"{Path(path).name} has no coordinate reference system (CRS), so its pixels have no place."
                " Give it one, such as with gdal_edit.py -a_srs EPSG:32636 FILE."
            )
        steps = [number / 20 for number in range(20)]
        rim = [(share * file.width, 0.0) for share in steps]
        rim += [(file.width, share * file.height) for share in steps]
        rim += [((1 - share) * file.width, file.height) for share in steps]
        rim += [(0.0, (1 - share) * file.height) for share in steps]
        a, b, c, d, e, f = tuple(file.transform)[:6]
        x = [a * column + b * row + c for column, row in rim]
        y = [d * column + e * row + f for column, row in rim]
        longitude, latitude = transform(file.crs, 4326, x, y)
        return dict(file.tags()), tuple(zip(longitude, latitude, strict=True))


def date_of(name: str, tags: Mapping[str, str]) -> datetime:
    """Return the date of a file by its tags, or by its name.

    Raises:
        ValueError: neither has one.
    """
    for tag in ("TIFFTAG_DATETIME", "ACQUISITIONDATETIME"):
        match = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)(?:[ T](\d\d):(\d\d):(\d\d))?", tags.get(tag, ""))
        if match:
            return datetime(*(int(part) for part in match.groups() if part), tzinfo=UTC)  # type: ignore[misc,arg-type]
    spaced = re.sub(r"[_.T]", " ", name)
    for word in spaced.split():
        if match := _DAY.fullmatch(word):
            return datetime(*(int(part) for part in match.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
        if (match := _DAY_OF_YEAR.fullmatch(word)) and 1 <= int(match[2]) <= 366:
            return datetime(int(match[1]), 1, 1, tzinfo=UTC) + timedelta(days=int(match[2]) - 1)
    # LT52240631988227CUB02: the date stands inside a word, behind path and row
    if match := re.search(r"((?:19|20)\d{2})([0-3]\d{2})(?=[A-Z])", name):
        return datetime(int(match[1]), 1, 1, tzinfo=UTC) + timedelta(days=int(match[2]) - 1)
    raise ValueError(
        f"{name} has no date, neither as a tag (TIFFTAG_DATETIME) nor in its name. Write one into the name:"
        f" {name}_20220531.tif."
    )


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
        scenes, self.notes = read_items(items, bands)
        if not scenes:
            reason = self.notes[0] if self.notes else "it has no items"
            raise ValueError(f"no item of {path} can be used: {reason}")
        super().__init__(scenes, self.notes)


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

    def search(
        self, bbox: tuple[float, float, float, float], start: datetime, end: datetime
    ) -> Sequence[Scene]:
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
    """Turn STAC items into scenes, and say which had to be passed over and why."""
    scenes, notes = [], []
    for item in items:
        try:
            scenes.append(_scene_of(item, bands))
        except ValueError as error:
            notes.append(f"STAC item passed over: {error}")
    return sorted(scenes, key=lambda scene: (scene.datetime, scene.id)), notes


def _scene_of(item: Any, bands: Sequence[str]) -> Scene:
    if item.datetime is None or item.geometry is None:
        raise ValueError(f"{item.id} has no {'datetime' if item.datetime is None else 'geometry'}.")
    assets = dict(_asset_files(item))
    picked = pick_bands(assets, bands, at=item.id)
    kind = next((mask for mask in MASKS if mask in assets), None)
    for name, file in [*picked.items(), *([(kind, assets[kind])] if kind else [])]:
        if "://" not in file.path and not Path(file.path).exists():
            raise ValueError(f"the file of asset {name} of {item.id} is missing: {file.path}.")
    when = item.datetime if item.datetime.tzinfo else item.datetime.replace(tzinfo=UTC)
    cloud = item.properties.get("eo:cloud_cover")
    return Scene(
        item.id,
        when.astimezone(UTC),
        _rings(item.geometry, item.id),
        picked,
        None if cloud is None else float(cloud),
        assets[kind] if kind else None,
        kind,
    )


def _asset_files(item: Any) -> Iterator[tuple[str, BandFile]]:
    """Yield the bands by the asset's key, and by the common names where the item gives them."""
    for key, asset in item.assets.items():
        place = BandFile(str(asset.get_absolute_href() or asset.href))
        described = asset.extra_fields.get("eo:bands") or asset.extra_fields.get("bands") or []
        if len(described) == 1 and (name := described[0].get("common_name")):
            yield {"nir08": "nir", "swir16": "swir1", "swir22": "swir2"}.get(name, name), place
        yield {"fmask": "Fmask", "scl": "SCL"}.get(key.lower(), key), place
        if key in ("vv", "vh"):
            yield key.upper(), place


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


def _touches(rings: Iterable[Ring], bbox: tuple[float, float, float, float]) -> bool:
    west, south, east, north = bbox
    for ring in rings:
        longitude, latitude = zip(*ring, strict=True)
        apart = max(longitude) < west or min(longitude) > east or max(latitude) < south
        if not apart and min(latitude) <= north:
            return True
    return False
