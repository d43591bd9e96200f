"""Series and results in the theatre's memory-backed store. Nothing here survives the session."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from services.core.contracts.documents import to_document
from services.core.contracts.enums import BlobClass, Lane
from services.core.contracts.errors import Refused
from services.core.contracts.events import ManifestRef, StudyRef
from services.core.contracts.facts import IntakeFacts, IntakeSeries
from services.core.contracts.ids import BlobDigest, PatientKey, RunId, derived_uuid
from services.core.contracts.manifest import Manifest
from services.core.imaging.dicom_file import stated_instance
from services.core.imaging.dicom_header import inspect_dicom
from services.core.runtime.stage import read_manifest, store_manifest
from services.core.security.pseudonym import Pseudonyms
from services.core.storage.port import SessionStore
from services.navigation.adapters.masks import mask_answer, surroundings
from services.navigation.domain.answers import Fault, MaskAnswer, MaskKind, Reason
from services.navigation.domain.orders import Format, SeriesOrder
from services.navigation.domain.pose_state import Surroundings
from services.navigation.ports import Received

INTAKE, INCOMING = "intake", "incoming"
NIFTI_MEDIA_TYPE, DICOM_MEDIA_TYPE = "application/vnd.nifti", "application/dicom"


class TheatreMaterial:
    """The port `Material` over the store below `root`; what is coming in lies beside a session's blobs."""

    def __init__(self, blobs: SessionStore, root: Path, pseudonyms: Pseudonyms) -> None:
        self._blobs = blobs
        self._root = root
        self._pseudonyms = pseudonyms

    def begin(self, session: str) -> None:
        """Makes room for a session."""
        self._blobs.begin(session)

    def within(self, session: str) -> AbstractContextManager[None]:
        """What this context reads and writes is the session's."""
        return self._blobs.within(session)

    def held_bytes(self) -> int:
        """Memory that all sessions take."""
        return self._blobs.used_bytes()

    def uploads(self, session: str, series: str) -> Path:
        """A place for the files of a series."""
        return self._root / session / INCOMING / series

    def received(self, order: SeriesOrder, files: Sequence[Path], digest: BlobDigest, study: StudyRef) -> Received:
        """Files to blobs and an intake manifest; the files go. The same series gives the same manifest."""
        try:
            described = _Dicom(files, self._pseudonyms) if order.format is Format.DICOM else _Nifti(order)
        except Refused as error:
            raise Fault(Reason.SERIES_UNREADABLE, error.message, error.advice) from error
        refs = self._blobs.put_files(files, described.media_type, BlobClass.IDENTIFIED)
        shutil.rmtree(files[0].parent)
        names = described.names
        facts = IntakeFacts(
            source=order.format.source,
            study_uid=described.study_uid,
            acquired_at=described.acquired_at,
            series=(IntakeSeries(series=described.series, modality=order.modality, outputs=names),),
            anatomy_changed=order.anatomy_changed,
        )
        manifest = Manifest(
            run_id=RunId(derived_uuid(INTAKE, study.study, to_document(facts), digest)),
            stage=INTAKE,
            study=study,
            lane=Lane.THEATRE,
            settings_hash="",
            outputs=dict(zip(names, refs, strict=True)),
            facts=to_document(facts),
        )
        return Received(
            series=order.series,
            series_id=described.series,
            intake=store_manifest(self._blobs, INTAKE, manifest),
            manifest=manifest,
            digest=digest,
            acquired_at=described.acquired_at,
            patient=described.patient,
        )

    def manifest(self, ref: ManifestRef) -> Manifest:
        """The manifest behind a reference."""
        return read_manifest(self._blobs, ref)

    def answer(self, kind: MaskKind, received: Received, prepared: Manifest, result: ManifestRef) -> MaskAnswer:
        """The mask of a segmentation run, in the frame of the series."""
        return mask_answer(self._blobs, kind, received, prepared, result)

    def around(self, prepared: Manifest, coarse: ManifestRef) -> Surroundings:
        """Brain and tumour probability in the box of a coarse run's masks."""
        return surroundings(self._blobs, prepared, coarse)

    def discard(self, session: str, series: str) -> None:
        """Removes the files of a series that did not become blobs."""
        shutil.rmtree(self.uploads(session, series), ignore_errors=True)

    def tidy(self, session: str, prepared: ManifestRef | None, in_use: Sequence[ManifestRef]) -> None:
        """Frees earlier series, masks and evidence: all blobs but those of these runs and of the inputs of `in_use`."""
        with self._blobs.within(session):
            inputs = (ref for run in in_use for ref in self.manifest(run).inputs)
            runs = {*in_use, *inputs, *(() if prepared is None else (prepared,))}
            kept = [blob for run in runs for blob in (run.blob, *self.manifest(run).outputs.values())]
        self._blobs.keep_only(session, kept)

    def forget(self, session: str) -> None:
        """Frees everything that a session holds."""
        self._blobs.release(session)


class _Nifti:
    """A file that names nobody."""

    media_type = NIFTI_MEDIA_TYPE
    study_uid: str | None = None
    acquired_at: str | None = None
    patient: PatientKey | None = None

    def __init__(self, order: SeriesOrder) -> None:
        self.series = f"nifti-{order.series}"
        self.names: tuple[str, ...] = (f"nifti/{order.modality}",)


class _Dicom:
    """Instances of one series and one patient, as the first of them says; preprocessing reads all of them."""

    media_type = DICOM_MEDIA_TYPE

    def __init__(self, files: Sequence[Path], pseudonyms: Pseudonyms) -> None:
        first = inspect_dicom(files[0])
        stated = [stated_instance(path) for path in files]
        if None in stated:
            raise Refused("NOT_DICOM", "a file of the series is no DICOM instance")
        self.names: tuple[str, ...] = tuple(f"instance/{one[1]}" for one in stated if one is not None)
        if len(set(self.names)) != len(files):
            raise Refused("CONTRADICTORY_HEADER", "two files of the series are the same instance")
        self.series = first.series_instance_uid
        self.study_uid: str | None = first.study_instance_uid
        self.acquired_at: str | None = first.acquired_at or None
        who = first.identity
        self.patient = pseudonyms.of(who.issuer_of_patient_id, who.patient_id) if who.patient_id else None
