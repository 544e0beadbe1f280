"""Pictures with captions: from tables, and from the files in which COCO and Flickr come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from assay.data import existing_file, existing_folder, read_json_file, read_picture, read_records, read_text
from assay.errors import InputError
from assay.papers.privacy.pictures import Pictures, read_picture_table
from assay.papers.privacy.t2ue.config import Learn, Pairs
from assay.papers.privacy.t2ue.method import varied_prompts
from assay.training import batches
from assay.trial import Trial

Captions = dict[str, list[str]]
FORMATS = (".csv", ".json", ".jsonl", ".txt")
LEAST_ROWS = 8
"""Rows that each class needs."""
READERS = 4
"""Processes that read pictures while training, where there are many."""
MANY = 10_000


# --- captions -----------------------------------------------------------------------------------


def read_captions(path: Path) -> Captions:
    """Return the captions of each picture, in the order of the file. No picture is opened.

    Read are COCO's annotations, CSV and JSON lines with the fields image (or file_name, or name) and caption
    (or text), and plain text with one caption a line, whose pictures are then called 0, 1, 2, ...

    Raises:
        InputError: the file is none of these, has no captions, or an empty one.
    """
    path = existing_file(path, FORMATS)
    found = _read(path)
    empty = [name for name, captions in found.items() if not all(text.strip() for text in captions)]
    if empty:
        raise InputError(
            f"{path} has empty captions for {len(empty)} of {len(found)} pictures, such as {empty[0]!r}."
            " Describe these pictures, or leave them out."
        )
    return found


def _read(path: Path) -> Captions:
    if path.suffix == ".json":
        return _coco(path)
    if path.suffix == ".txt":
        lines = read_text(path).splitlines()
        if _fields(lines[0].split(",")) is None:
            return {str(row): [line] for row, line in enumerate(lines)}
    found: Captions = {}
    for line, row in read_records(path):
        fields = _fields(row)
        if fields is None:
            raise InputError(
                f"{path}, line {line} has the fields {', '.join(row)}; give image (or file_name, or name) and"
                " caption (or text)."
            )
        name, caption = (str(row[field] or "") for field in fields)
        found.setdefault(name, []).append(caption)
    return found


def _coco(path: Path) -> Captions:
    content = read_json_file(path)
    found: Captions = {}
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        for annotation in content["annotations"]:
            found.setdefault(names[annotation["image_id"]], []).append(str(annotation["caption"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not in the format of COCO's annotations: {error} is missing.") from None
    if not found:
        raise InputError(f"{path} has no captions.")
    return found


def _fields(columns: Iterable[str]) -> tuple[str, str] | None:
    """Return the columns with the picture's name and its caption."""
    columns = list(columns)
    name = next((name for name in columns if name.strip() in ("image", "file_name", "name")), None)
    caption = next((name for name in columns if name.strip() in ("caption", "text")), None)
    return None if name is None or caption is None else (name, caption)


# --- pictures with captions ---------------------------------------------------------------------


@dataclass(frozen=True)
class PictureFiles(Dataset[tuple[Tensor, int]]):
    """Pictures that stay on disk until they are needed, as `read_square` gives them, with their numbers."""

    paths: tuple[str, ...]
    """The files."""
    size: int
    """Pixels of each side."""
    names: tuple[str, ...]
    """What the captions call them."""

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return read_square(self.paths[row], self.size), row

    def batches(self, batch_size: int, generator: torch.Generator) -> DataLoader[tuple[Tensor, int]]:
        """Return shuffled batches; a ragged last one is dropped."""
        drop, readers = len(self) > batch_size, READERS if len(self) >= MANY else 0
        return DataLoader(
            self, batch_size, shuffle=True, generator=generator, drop_last=drop, num_workers=readers
        )


@dataclass(frozen=True)
class CaptionedPictures:
    """Pictures, each with its captions."""

    pictures: UInt8[Tensor, "n 3 h w"] | PictureFiles
    """In memory or on disk."""
    captions: list[list[str]]
    """The captions of each."""

    @property
    def size(self) -> int:
        """Pixels of each side."""
        return self.pictures.shape[-1] if isinstance(self.pictures, Tensor) else self.pictures.size

    @property
    def texts(self) -> list[str]:
        """The distinct captions."""
        return list(dict.fromkeys(caption for own in self.captions for caption in own))

    def batches(self, batch_size: int, generator: torch.Generator) -> Any:
        """Return shuffled batches (pictures, row numbers); a ragged last one is dropped."""
        if isinstance(self.pictures, PictureFiles):
            return self.pictures.batches(batch_size, generator)
        rows = torch.arange(len(self.pictures))
        drop = len(rows) > batch_size
        return batches(self.pictures, rows, batch_size=batch_size, generator=generator, drop_last=drop)


def read_square(path: str | Path, size: int) -> UInt8[Tensor, "3 size size"]:
    """Return a picture upright, RGB, its middle square resized; errors as in `read_picture`."""
    picture = PIL.Image.fromarray(read_picture(path))
    square = PIL.ImageOps.fit(picture, (size, size), PIL.Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def find_pairs(pairs: Pairs) -> CaptionedPictures:
    """Return the pictures that a captions file names, with their captions.

    Raises:
        InputError: a file or folder is missing, or pictures that have captions are.
    """
    if pairs.captions is None or pairs.images is None:
        missing = "--pairs.images" if pairs.images is None else "--pairs.captions"
        raise InputError(f"{missing} is missing: pairs need a file with captions and a folder with pictures.")
    folder = existing_folder(pairs.images)
    captions = dict(list(read_captions(Path(pairs.captions)).items())[: pairs.at_most])
    paths = [folder / name for name in captions]
    absent = [path.name for path in paths if not path.is_file()]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(paths)} pictures with captions are not in {folder}, such as"
            f" {absent[0]!r}. Give the folder that the captions speak of."
        )
    found = PictureFiles(tuple(str(path.absolute()) for path in paths), pairs.image_size, tuple(captions))
    return CaptionedPictures(found, list(captions.values()))


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


# --- provider, user and test --------------------------------------------------------------------


@dataclass(frozen=True)
class PictureSplit:
    """Three disjoint sets of pictures."""

    public: Pictures | None
    """The provider's; None where it has pairs of its own."""
    published: Pictures
    """The user's."""
    test: Pictures
    """Clean pictures that test the victim."""
    label_names: tuple[str, ...]
    """The classes."""
    source: str
    """Where the pictures are from."""

    def captions(self, pictures: Pictures, seed: int) -> list[str]:
        """Return a caption for each picture."""
        return captions_of(pictures, self.label_names, seed, self.source)


def read_split(config: Learn, trial: Trial) -> PictureSplit:
    """Read the pictures and divide them; crops of one tile stay together.

    The test rows are a published split, or split off first. Each seed divides what is left into the
    provider's and the user's, which is a part of the randomness of training, as the first weights are.
    """
    table = trial.once(
        "pictures", read_picture_table, config.data, config.image_size, LEAST_ROWS, seedless=True
    )
    pictures, test, public = table.learn, table.test, None
    rows = np.arange(len(pictures))
    if config.max_pictures is not None and config.max_pictures < len(pictures):
        rows = trial.deal(len(pictures), config.max_pictures)[0]
    if test is None:
        rows, held_out = divide(trial, pictures, rows, config.test)
        test = pictures.select(torch.from_numpy(held_out))
    if config.pairs.captions is None and config.provider.source is None:
        rows, provided = divide(trial, pictures, rows, config.public, fresh=True)
        public = pictures.select(torch.from_numpy(provided))
    published = pictures.select(torch.from_numpy(rows))
    return PictureSplit(public, published, test, table.label_names, config.data.source)


def divide(
    trial: Trial, pictures: Pictures, rows: np.ndarray, share: float, fresh: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a share of the rows off; groups stay together, classes keep their shares."""
    labels = pictures.labels.numpy()[rows]
    groups = None if pictures.groups is None else [pictures.groups[row] for row in rows]
    parts = trial.split(len(rows), test=share, group=groups, stratify=labels.tolist(), fresh=fresh)
    return rows[parts.train], rows[parts.test]
