"""What `assay run t2ue` keeps: the generator with its text encoder, and protected pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from assay import files
from assay.artefact import Artefact
from assay.errors import InputError
from assay.models import ModelSource
from assay.papers.privacy.t2ue.method import EncoderKind, TextConditionedNoiseGenerator, Texts, text_encoder

LISTING = "protected.json"


@dataclass(frozen=True)
class NoiseProvider(Artefact):
    """A trained generator with the text encoder that it was trained with: from captions to noise."""

    generator: TextConditionedNoiseGenerator
    """The generator, in evaluation mode."""
    encoder: ModelSource
    """Its text encoder."""
    kind: EncoderKind
    """Whether that is a sentence encoder or a text tower."""
    fingerprint: str
    """Identifies the encoder's weights."""

    @cached_property
    def embed(self) -> Texts:
        """Return the text encoder, loaded at first use.

        Raises:
            InputError: it is another one than the generator was trained with.
        """
        if self.encoder.fingerprint() != self.fingerprint:
            raise InputError(
                f"The generator was trained with another text encoder than {self.encoder} is now"
                f" ({self.fingerprint}, not {self.encoder.fingerprint()}). Train a generator with this one."
            )
        return text_encoder(self.encoder, self.kind)

    @classmethod
    def of_run(cls, folder: str | Path) -> NoiseProvider:
        """Load what `assay run t2ue train` wrote.

        Raises:
            InputError: the folder holds no generator.
        """
        try:
            return cls.load(inner_folder(files.user_path(folder), "provider", "record.json"))
        except InputError as error:
            raise InputError(
                f"{folder} holds no generator: {error} Give a folder that `assay run t2ue train` wrote."
            ) from None


@dataclass(frozen=True)
class ProtectedPictures:
    """Protected pictures in a folder."""

    folder: Path
    """Where they are."""
    files: tuple[str, ...]
    """PNG files, relative to the folder."""
    notes: tuple[str, ...] = ()
    """What their user should know."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(self.folder / name for name in self.files)

    def save(self, folder: str | Path) -> None:
        """Write the listing beside the files, which are there already."""
        files.write_json(Path(folder) / LISTING, {"files": self.files, "notes": self.notes})

    @classmethod
    def load(cls, folder: str | Path) -> ProtectedPictures:
        """Read what `save` wrote."""
        listing = files.read_json(Path(folder) / LISTING)
        return cls(Path(folder), tuple(listing["files"]), tuple(listing["notes"]))


def inner_folder(path: Path, name: str, file: str) -> Path:
    """Return `path/name` where that holds the file and `path` itself does not."""
    return path / name if not (path / file).exists() and (path / name / file).exists() else path
