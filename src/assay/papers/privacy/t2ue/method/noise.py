"""From captions to noise, without pictures: prompts, random vectors, and files that hold the noise.

Nothing here reads, or needs, an image.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from assay import files
from assay.data import read_json_file
from assay.training import predict

from .generator import TextConditionedNoiseGenerator, clamp_noise
from .surrogate import Texts
from .trainer import check_captions

MANIFEST = "noise.json"
FORMAT = 1
ROWS_A_FILE = 1024
TEMPLATE = "a photo of a {}"
TEMPLATES = (
    TEMPLATE,
    "a blurry photo of a {}",
    "a low contrast photo of a {}",
    "a bad photo of a {}",
    "a good photo of a {}",
    "a photo of a small {}",
    "a photo of a big {}",
    "a photo of the {}",
    "a close-up photo of a {}",
    "a bright photo of a {}",
)
"""For sample-wise noise where there are class names alone."""

Kind = Literal["sample-wise", "class-wise"]


def class_prompts(names: Sequence[str], template: str = TEMPLATE) -> list[str]:
    """Return one caption for each class.

    Raises:
        ValueError: the template has no {}, or a name is empty or comes twice.
    """
    if "{}" not in template:
        raise ValueError(f"The template {template!r} has no {{}} for the name of the class.")
    if not names or not all(name.strip() for name in names) or len(set(names)) != len(names):
        raise ValueError(f"Class names must be there, not empty and all different, got {list(names)}.")
    return [template.format(name.replace("_", " ")) for name in names]


def varied_prompts(labels: Sequence[str], seed: int, templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Return a caption for each picture from the name of its class, in one of several wordings."""
    return [
        templates[_derive(seed, row) % len(templates)].format(label.replace("_", " "))
        for row, label in enumerate(labels)
    ]


def random_vectors(rows: int, z_dim: int, seed: int, start: int = 0) -> Float[Tensor, "n z_dim"]:
    """Draw z ~ N(0, I) for rows start, start + 1 ...; each depends on the seed and the row's number alone."""
    vectors = [
        torch.randn(z_dim, generator=torch.Generator().manual_seed(_derive(seed, start + row)))
        for row in range(rows)
    ]
    return torch.stack(vectors)


def _derive(seed: int, row: int) -> int:
    hashed = hashlib.blake2b(f"{seed}/{row}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "little") >> 1


def make_noise(
    generator: TextConditionedNoiseGenerator,
    embeddings: Float[Tensor, "n text_dim"],
    seed: int,
    *,
    one_vector: bool = False,
    batch_size: int = 256,
    start: int = 0,
) -> Float[Tensor, "n c h w"]:
    """Return one noise for each embedded caption, from the generator in evaluation mode.

    With running statistics the noise of a caption does not depend on the captions beside it, which keeps it
    reproducible and keeps other people's captions out of it.

    Args:
        generator: the generator.
        embeddings: of the captions.
        seed: of the random vectors.
        one_vector: give all rows the same random vector, as class-wise noise needs.
        batch_size: rows at once.
        start: number of the first row.
    """
    if one_vector:
        z = random_vectors(1, generator.z_dim, seed).expand(len(embeddings), -1)
    else:
        z = random_vectors(len(embeddings), generator.z_dim, seed, start)
    return predict(generator, embeddings.cpu(), z, batch_size=batch_size)


# --- files --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseManifest:
    """What a folder of noise holds. Captions are kept as hashes, since they may be private."""

    kind: Kind
    """One noise for each row, or for each class."""
    eps: float
    """The largest size of the noise, in pixel values from 0 to 1."""
    size: int
    """Pixels on a side."""
    seed: int
    """Of the random vectors."""
    generator: str
    """Identifies the generator's weights."""
    names: tuple[str, ...]
    """Name of the row's picture, or of the class."""
    captions: tuple[str, ...]
    """SHA-256 of each caption."""
    files: tuple[str, ...]
    """Files with the rows, in this order."""
    format: int = FORMAT
    """Version of the format."""


class NoiseFolder:
    """Noise in files: `noise.json`, and safetensors of float16 with 1024 rows each, read as needed."""

    def __init__(self, folder: str | Path) -> None:
        """Open a folder.

        Raises:
            FileNotFoundError: it has no `noise.json`.
            ValueError: it is damaged or of another format.
        """
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.exists():
            raise FileNotFoundError(f"{folder} has no {MANIFEST}: it holds no noise.")
        plain = read_json_file(path)
        try:
            lists = {name: tuple(plain[name]) for name in ("names", "captions", "files")}
            self.manifest = NoiseManifest(**plain | lists)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} does not describe noise: {error}.") from error
        if self.manifest.format != FORMAT or any(Path(name).name != name for name in self.manifest.files):
            raise ValueError(f"{path} does not describe noise: it is of another format.")

    @classmethod
    def load(cls, folder: str | Path) -> NoiseFolder:
        """Open a folder."""
        return cls(folder)

    def save(self, folder: str | Path) -> None:
        """Copy the files into another folder; where they are already, nothing happens."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        if not target.samefile(self.folder):
            for name in (*self.manifest.files, MANIFEST):
                shutil.copyfile(self.folder / name, target / name)

    def __len__(self) -> int:
        return len(self.manifest.names)

    def __getitem__(self, row: int) -> Float[Tensor, "c h w"]:
        """Return the noise of a row in float32, within eps."""
        number, inner = divmod(range(len(self))[row], ROWS_A_FILE)
        path = self.folder / self.manifest.files[number]
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                found: Tensor = file.get_slice("noise")[inner]
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(f"{path} is damaged or missing: {error}.") from error
        return clamp_noise(found.float(), self.manifest.eps)

    def all(self) -> Float[Tensor, "n c h w"]:
        """Return all noise at once."""
        return torch.stack([self[row] for row in range(len(self))])


def export_noise(
    generator: TextConditionedNoiseGenerator,
    embed: Texts,
    captions: Sequence[str] | Mapping[str, str],
    out: str | Path,
    *,
    seed: int = 0,
    kind: Kind = "sample-wise",
) -> NoiseFolder:
    """Write noise for captions into a folder, and open it. No picture is involved.

    Args:
        generator: a trained generator.
        embed: the text encoder that it was trained with.
        captions: one for each picture, or each class where the noise is class-wise: by the names of files or
            classes, or in the order of the pictures' paths.
        out: the folder.
        seed: of the random vectors; class-wise noise has one for all classes.
        kind: one noise for each picture, or for each class.

    Raises:
        ValueError: a caption is empty.
    """
    named = isinstance(captions, Mapping)
    texts = list(captions.values()) if named else list(captions)  # type: ignore[union-attr]
    names = tuple(captions) if named else tuple(map(str, range(len(texts))))
    check_captions(texts)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for start in range(0, len(texts), ROWS_A_FILE):
        with torch.no_grad():
            embeddings = embed(texts[start : start + ROWS_A_FILE])
        noise = make_noise(generator, embeddings, seed, one_vector=kind == "class-wise", start=start)
        written.append(f"noise-{start // ROWS_A_FILE:05d}.safetensors")
        stored = clamp_noise(noise.half(), generator.eps).contiguous()
        safetensors.torch.save_file({"noise": stored}, folder / written[-1])
    manifest = NoiseManifest(
        kind=kind,
        eps=generator.eps,
        size=generator.out_size,
        seed=seed,
        generator=weights_hash(generator),
        names=names,
        captions=tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts),
        files=tuple(written),
    )
    files.write_json(folder / MANIFEST, asdict(manifest))
    return NoiseFolder(folder)


def weights_hash(generator: TextConditionedNoiseGenerator) -> str:
    """Identify a generator by its weights and sizes."""
    state = hashlib.sha256(json.dumps(generator.settings, sort_keys=True).encode())
    for name, value in sorted(generator.state_dict().items()):
        state.update(name.encode())
        state.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:32]
