"""The files of an intake manifest as series: headers read and identified, voxels behind a call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.contracts.errors import Permanent, Refused
from services.core.contracts.events import BlobRef
from services.core.contracts.facts import IntakeFacts, IntakeSeries, Source
from services.core.contracts.manifest import Manifest, Reason
from services.core.imaging.dicom_file import guarded, is_uid
from services.core.imaging.dicom_header import acquired_at, text
from services.core.imaging.dicom_series import SeriesFiles, SeriesGeometry, geometry_of, open_series, read_series
from services.core.imaging.nifti import inspect_nifti, read_nifti
from services.core.imaging.volume import Volume
from services.core.storage.port import BlobStore
from services.preprocessing.adapters.dicom_traits import traits_of
from services.preprocessing.domain.header_set import header_set
from services.preprocessing.domain.identification import Identity, identify
from services.preprocessing.domain.series import Found, Pulse, Unreadable
from services.preprocessing.domain.traits import Extent


class FileIntake:
    """The port `handlers.Intake`: blobs as local files, files as series."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    @contextmanager
    def series(self, manifest: Manifest, facts: IntakeFacts, pulse: Pulse) -> Iterator[list[Found | Unreadable]]:
        """Every series of the intake, in order; their files stay readable while the context lasts.

        Raises Permanent when the manifest names blobs that it does not hold, Transient as `BlobStore.local_path`.
        """
        with ExitStack() as files:
            found: list[Found | Unreadable] = []
            for order, series in enumerate(facts.series):
                paths = [
                    files.enter_context(self._blobs.local_path(_output(manifest, name))) for name in series.outputs
                ]
                found.append(_find(facts.source, series, paths, order, pulse))
                pulse()
            yield found


def _output(manifest: Manifest, name: str) -> BlobRef:
    if name not in manifest.outputs:
        raise Permanent("OUTPUT_MISSING", f"the intake {manifest.run_id} names a blob that it does not hold")
    return manifest.outputs[name]


def _find(source: Source, series: IntakeSeries, paths: Sequence[Path], order: int, pulse: Pulse) -> Found | Unreadable:
    try:
        if source is Source.NIFTI:
            return _nifti(series, paths, order)
        return _dicom(series, paths, order, pulse)
    except Refused as error:
        return Unreadable(
            series=series.series, modality=series.modality, reason=Reason(code=error.code, message=error.message)
        )


def _nifti(series: IntakeSeries, paths: Sequence[Path], order: int) -> Found:
    if len(paths) != 1:
        raise Refused("CONTRADICTORY_HEADER", f"a NIfTI series has one file, not {len(paths)}")
    header = inspect_nifti(paths[0], whole=False)
    spacing = header.grid.spacing
    across = max(spacing)
    axis = max(number for number in range(3) if spacing[number] >= across - 0.05)
    identity = _named(series.modality)
    return Found(
        series=series.series,
        modality=identity.modality,
        reason=identity.reason,
        grid=header.grid,
        extent=Extent(slices=header.shape[axis], across_mm=across, within_mm=min(spacing)),
        slice_thickness_mm=across,
        load=partial(_load_nifti, paths[0], identity.modality or "not used"),
        order=order,
    )


def _dicom(series: IntakeSeries, paths: Sequence[Path], order: int, pulse: Pulse) -> Found:
    files = open_series(paths, pulse)
    with guarded():
        traits = traits_of(files.first.dataset)
        identity = identify(traits) if series.modality is None else _named(series.modality)
        acquired = acquired_at(files.first.dataset)
        _check_one_patient(files)
    try:
        geometry = geometry_of(files)
    except Refused as error:
        if identity.modality is not None:
            raise
        raise Refused("NOT_USED", f"{identity.reason} ({error.message})") from error
    spacing = geometry.grid.spacing
    return Found(
        series=series.series,
        modality=identity.modality,
        reason=identity.reason,
        grid=geometry.grid,
        extent=Extent(slices=geometry.shape[2], across_mm=spacing[2], within_mm=min(spacing[:2])),
        slice_thickness_mm=geometry.slice_thickness_mm,
        load=partial(_load_dicom, files, geometry, identity.modality or "not used"),
        space=geometry.frame_of_reference if is_uid(geometry.frame_of_reference) else "",
        acquired_at=acquired,
        three_d=traits.three_d,
        original=traits.original,
        order=order,
        remarks=geometry.remarks,
        headers=partial(_headers, files, geometry),
    )


def _check_one_patient(files: SeriesFiles) -> None:
    """Raises Refused (OTHER_PATIENT): a series whose instances name two people is nobody's."""
    people = {(text(file.dataset, "IssuerOfPatientID"), text(file.dataset, "PatientID")) for file in files.files}
    if len(people) > 1:
        raise Refused("OTHER_PATIENT", "the series holds instances of two patients")


def _named(modality: Modality | None) -> Identity:
    if modality is None:
        return Identity(modality=None, reason="not used: the sender did not say which sequence it is")
    if modality not in STRUCTURAL:
        return Identity(modality=None, reason=f"not used: {modality} maps are not prepared yet")
    return Identity(modality=modality, reason=f"{modality} as named by the sender")


def _load_nifti(path: Path, modality: Modality | str, pulse: Pulse) -> Volume:
    pulse()
    return read_nifti(path, modality)


def _load_dicom(files: SeriesFiles, geometry: SeriesGeometry, modality: Modality | str, pulse: Pulse) -> Volume:
    return read_series(files, geometry, modality, pulse)


def _headers(files: SeriesFiles, geometry: SeriesGeometry) -> bytes:
    """In slice order; an enhanced instance, which holds many slices, once."""
    order = dict.fromkeys(frame.file for frame in geometry.frames)
    with guarded():
        return header_set([files.files[number].dataset for number in order])
