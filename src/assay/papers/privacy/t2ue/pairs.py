"""Pictures with captions: from tables, and from the files in which COCO and Flickr come."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from assay import files
from assay.data import Table, paths, require_classes
from assay.errors import InputError
from assay.papers.privacy.pictures import Pictures, read_pictures
from assay.papers.privacy.t2ue.config import Pairs
from assay.papers.privacy.t2ue.method import class_prompts, varied_prompts
from assay.training import batches

Captions = dict[str, list[str]]
FORMATS = (".csv", ".json", ".jsonl", ".txt")


# --- captions -----------------------------------------------------------------------------------


def read_captions(path: Path) -> Captions:
    """Return the captions of each picture, in the order of the file. No picture is opened.

    Read are COCO's annotations, CSV and JSON Lines with the fields image (or file_name, or name) and caption
    (or text), and plain text with one caption a line, whose pictures are then called 0, 1, 2, ...

    Raises:
        InputError: the file is none of these, has no captions, or an empty one.
    """
    paths.existing_file(path, FORMATS)
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = _coco(json.loads(text)) if path.suffix == ".json" else _lines(text, path.suffix)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} has no captions that can be read ({type(error).__name__}: {error}). Give one caption a"
            " line, a CSV with the columns image and caption, JSON Lines with the same fields, or COCO's"
            " annotations."
        ) from None
    if not found:
        raise InputError(f"{path} has no captions.")
    empty = [name for name, captions in found.items() if not all(text.strip() for text in captions)]
    if empty:
        raise InputError(
            f"{path} has empty captions for {len(empty)} of {len(found)} pictures, such as {empty[0]!r}."
            " Describe these pictures, or leave them out."
        )
    return found


def _coco(content: Any) -> Captions:
    names = {image["id"]: str(image["file_name"]) for image in content["images"]}
    found: Captions = {}
    for annotation in content["annotations"]:
        found.setdefault(names[annotation["image_id"]], []).append(str(annotation["caption"]))
    return found


def _lines(text: str, suffix: str) -> Captions:
    lines = text.splitlines()
    if suffix == ".jsonl":
        return _grouped([json.loads(line) for line in lines if line.strip()])
    header = next(csv.reader(lines[:1]), [])
    if suffix == ".csv" or _fields(header) is not None:
        return _grouped(list(csv.DictReader(lines)))
    return {str(row): [line] for row, line in enumerate(lines)}


def _grouped(rows: Sequence[dict[str, Any]]) -> Captions:
    found: Captions = {}
    for row in rows:
        fields = _fields(list(row))
        if fields is None:
            raise KeyError("the fields image and caption")
        name, caption = (str(row[field] or "") for field in fields)
        found.setdefault(name, []).append(caption)
    return found


def _fields(header: Sequence[str | None]) -> tuple[str, str] | None:
    """Return the columns with the picture's name and its caption."""
    known = [name for name in header if name is not None]
    name = next((name for name in known if name.strip() in ("image", "file_name", "name")), None)
    caption = next((name for name in known if name.strip() in ("caption", "text")), None)
    return None if name is None or caption is None else (name, caption)


# --- pictures in files --------------------------------------------------------------------------


@dataclass(frozen=True)
class FilesOfPictures:
    """Pictures that stay on disk until they are needed."""

    paths: tuple[str, ...]
    """The files."""
    size: int
    """Pixels of each side."""
    workers: int = 0
    """Processes that read."""
    names: tuple[str, ...] = ()
    """What the captions call them."""

    def __len__(self) -> int:
        return len(self.paths)


class _Decoded(Dataset[tuple[Tensor, int]]):
    def __init__(self, source: FilesOfPictures) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return read_square(Path(self.source.paths[row]), self.source.size), row


def read_square(path: Path, size: int) -> UInt8[Tensor, "3 size size"]:
    """Return a picture upright, RGB, its middle square resized.

    Raises:
        InputError: it cannot be read.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(path) as file:
            file.draft("RGB", (size, size))
            picture = PIL.ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path} is no readable picture: {error}.") from None
    square = PIL.ImageOps.fit(picture, (size, size), PIL.Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def find_pairs(pairs: Pairs) -> tuple[FilesOfPictures, list[list[str]]]:
    """Return the pictures that a captions file names, and their captions.

    Raises:
        InputError: a file or folder is missing, or pictures that have captions are.
    """
    if pairs.captions is None or pairs.images is None:
        missing = "--pairs.images" if pairs.images is None else "--pairs.captions"
        raise InputError(f"{missing} is missing: pairs need a file with captions and a folder with pictures.")
    folder = paths.existing_folder(files.user_path(pairs.images))
    captions = list(read_captions(files.user_path(pairs.captions)).items())[: pairs.at_most]
    pictures = [folder / name for name, _ in captions]
    absent = [path.name for path in pictures if not path.is_file()]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(pictures)} pictures with captions are not in {folder}, such as"
            f" {absent[0]!r}. Give the folder that the captions speak of."
        )
    found = tuple(str(path.absolute()) for path in pictures)
    names = tuple(name for name, _ in captions)
    return FilesOfPictures(found, pairs.image_size, pairs.workers, names), [list(own) for _, own in captions]


def batches_of(source: Tensor | FilesOfPictures, batch_size: int, generator: torch.Generator) -> Any:
    """Return shuffled batches (pictures, row numbers), from memory or disk; a ragged last one is dropped."""
    drop = len(source) > batch_size
    if isinstance(source, Tensor):
        rows = torch.arange(len(source))
        return batches(source, rows, batch_size=batch_size, generator=generator, drop_last=drop)
    return DataLoader(
        _Decoded(source),
        batch_size,
        shuffle=True,
        generator=generator,
        drop_last=drop,
        num_workers=source.workers,
    )


# --- pictures in tables -------------------------------------------------------------------------


def read_table(table: Table, size: int, least_rows: int = 0) -> dict[str, Any]:
    """Return the pictures of a table and of its test rows, as a stage that arms share can keep them.

    Raises:
        InputError: there are not so many rows of each class, where that is asked for.
    """
    loaded = table.load(None)
    if least_rows:
        require_classes(loaded, least_rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transparency of palette pictures
        train = as_plain(read_pictures(loaded, size=size))
        test = None if loaded.test is None else as_plain(read_pictures(loaded, loaded.test, size))
    return {"train": train, "test": test, "label_names": list(loaded.label_names)}


def as_plain(pictures: Pictures) -> dict[str, Any]:
    """Return pictures as tensors and lists."""
    texts, groups = (None if part is None else list(part) for part in (pictures.texts, pictures.groups))
    return {
        "pixels": pictures.pixels,
        "labels": pictures.labels,
        "names": list(pictures.names),
        "texts": texts,
        "groups": groups,
    }


def from_plain(plain: dict[str, Any]) -> Pictures:
    """Return pictures again."""
    texts, groups = (None if plain[part] is None else tuple(plain[part]) for part in ("texts", "groups"))
    return Pictures(plain["pixels"], plain["labels"], tuple(plain["names"]), texts, groups)


def captions_of(pictures: Pictures, label_names: Sequence[str], seed: int, source: str) -> list[str]:
    """Return a caption for each picture: its own text or, without texts, its class's name in some wording.

    Raises:
        InputError: there are neither texts nor labels, or a text is empty.
    """
    if pictures.texts is not None:
        empty = [name for name, text in zip(pictures.names, pictures.texts, strict=True) if not text.strip()]
        if empty:
            raise InputError(f"{source} has {len(empty)} empty captions, the first for {empty[0]!r}.")
        return list(pictures.texts)
    if not label_names:
        raise InputError(
            f"{source} has neither captions nor labels. Name a column with --data.text or --data.label."
        )
    return varied_prompts([label_names[label] for label in pictures.labels.tolist()], seed)


def prompts_of(label_names: Sequence[str], template: str) -> list[str]:
    """Return the prompt of each class.

    Raises:
        InputError: the template or the names do not do.
    """
    try:
        return class_prompts(label_names, template)
    except ValueError as error:
        raise InputError(str(error)) from None
