"""GeoTIFFs and scenes with chosen content."""

import warnings
from datetime import UTC, datetime

import rasterio
from affine import Affine
from pyproj import Transformer

from assay.papers.vision.instageo.method import BandFile, Scene

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
LEFT, TOP, PIXEL = 500_000.0, 3_300_000.0, 30.0


def write(path, values, epsg=32636, corner=(LEFT, TOP), pixel=PIXEL, nodata=0, names=(), tags=None):
    """Write [bands, h, w] as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    place = None if epsg is None else Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    options = {"count": count, "height": height, "width": width, "dtype": values.dtype, "nodata": nodata}
    options |= {} if place is None else {"crs": f"EPSG:{epsg}", "transform": place}
    with warnings.catch_warnings(action="ignore"), rasterio.open(path, "w", "GTiff", **options) as file:
        file.write(values)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
        tags = dict(tags or {})
        if "scale" in tags:
            file.scales, file.offsets = [tags.pop("scale")] * count, [tags.pop("offset")] * count
        file.update_tags(**tags)
    return path


def write_bands(folder, name, values, **more):
    """Write a scene as one file a band; return the files."""
    return {
        band: BandFile(str(write(folder / f"{name}_{band}.tif", layer[None], **more)))
        for band, layer in zip(BANDS, values, strict=True)
    }


def to_globe(x, y, epsg=32636):
    return Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)


def at_pixel(row, column, epsg=32636, corner=(LEFT, TOP), pixel=PIXEL):
    """Return longitude and latitude of the middle of a pixel."""
    return to_globe(corner[0] + (column + 0.5) * pixel, corner[1] - (row + 0.5) * pixel, epsg)


def footprint(size, epsg=32636, corner=(LEFT, TOP), pixel=PIXEL):
    side = size * pixel
    rim = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
    return (tuple(to_globe(corner[0] + x, corner[1] - y, epsg) for x, y in rim),)


def scene(name, day, bands, size, cloud=0.0, mask=None, **place):
    when = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return Scene(name, when, footprint(size, **place), bands, cloud, mask, "Fmask" if mask else None)
