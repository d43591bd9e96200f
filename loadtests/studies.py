"""What load tests send: phantom studies as ZIPs of NIfTI or DICOM, made once into a cache folder.

A NIfTI study becomes another one by the patient it is sent for; a DICOM study carries its patient, so each is a file of
its own. Seeds lie outside those of training and of every test set.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from services.core.contracts.enums import Modality
from services.phantom import PhantomSpec, after_resection, generate, invented_patient, write_dicom, write_nifti
from services.phantom.frozen import GENERATOR_VERSION

_Writer: TypeAlias = "Callable[[Path], None]"
CACHE = Path(__file__).parents[1] / ".cache" / "load"
FIRST_SEED = 6_000_000
PEOPLE = 3
"""Different brains; load does not need more, and one takes 15 s to make at 1 mm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TheatreCase:
    """One patient of the operating room: the study before (a ZIP), series during the operation by sequence, labels of
    the brain before and after. Files are NIfTI.
    """

    before: Path
    series_before: dict[Modality, Path]
    series_after: dict[Modality, Path]
    labels_before: Path
    labels_after: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Studies:
    """The cache for one voxel size (mm)."""

    spacing_mm: float = 1.0
    cache: Path = CACHE

    @property
    def folder(self) -> Path:
        """Everything of this voxel size and generator version."""
        return self.cache / f"v{GENERATOR_VERSION}-{self.spacing_mm:g}mm"

    def nifti(self, number: int) -> Path:
        """A ZIP of four NIfTI files; `number` may be any, the brains repeat."""
        person = number % PEOPLE
        return self._once(f"nifti-{person}.zip", lambda folder: self._write_nifti(person, folder))

    def dicom(self, number: int) -> Path:
        """A ZIP of a DICOM study of invented patient `number`."""

        def write(folder: Path) -> None:
            write_dicom(generate(self._seed(number % PEOPLE), self._spec), folder, invented_patient(70_000 + number))

        return self._once(f"dicom-{number}.zip", write)

    def theatre(self, person: int = 0) -> TheatreCase:
        """A case of the operating room, and what its images should show. Raises ValueError for a person who is not."""
        if not 0 <= person < PEOPLE:
            raise ValueError(f"person is 0 to {PEOPLE - 1}")
        folder = self.folder / f"theatre-{person}"
        if not folder.exists():
            fresh = self._fresh(folder.name)
            before = generate(self._seed(person), self._spec)
            write_nifti(before, fresh / "before", truth=True)
            write_nifti(after_resection(before, days=1, seed=1), fresh / "after", truth=True)
            fresh.rename(folder)

        def series(moment: str) -> dict[Modality, Path]:
            return {name: folder / moment / f"{name}.nii.gz" for name in self._spec.sequences}

        return TheatreCase(
            before=self.nifti(person),
            series_before=series("before"),
            series_after=series("after"),
            labels_before=folder / "before" / "truth" / "labels.nii.gz",
            labels_after=folder / "after" / "truth" / "labels.nii.gz",
        )

    @property
    def _spec(self) -> PhantomSpec:
        return PhantomSpec(spacing_mm=self.spacing_mm, volume_ml=60.0)

    @staticmethod
    def _seed(person: int) -> int:
        return FIRST_SEED + person

    def _write_nifti(self, person: int, folder: Path) -> None:
        write_nifti(generate(self._seed(person), self._spec), folder)

    def _once(self, name: str, write: _Writer) -> Path:
        target = self.folder / name
        if not target.exists():
            fresh = self._fresh(name)
            write(fresh)
            packed = fresh.with_suffix(".packed")
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
                for file in _files(fresh):
                    archive.write(file, file.relative_to(fresh))
            packed.rename(target)
            shutil.rmtree(fresh)
        return target

    def _fresh(self, name: str) -> Path:
        fresh = self.folder / f".{name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        return fresh


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
