"""Studies put into a real blob store as the gateway would, and the stage run on them with its real adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from services.core.contracts.documents import from_document, to_document
from services.core.contracts.enums import BlobClass, Lane, Modality, Stage
from services.core.contracts.events import BlobRef, ManifestRef, StageRequest, StudyRef
from services.core.contracts.facts import IntakeFacts, IntakeSeries, PrepareFacts, SeriesFacts, Source
from services.core.contracts.ids import PatientKey, RequestId, RunId, StudyKey, derived_uuid
from services.core.contracts.manifest import Manifest
from services.core.imaging.codec import decode_volume
from services.core.imaging.volume import Volume
from services.core.runtime.stage import StageResult, store_manifest
from services.core.storage.local import LocalBlobStore
from services.preprocessing.bootstrap import tools
from services.preprocessing.handlers import PrepareHandler
from services.preprocessing.settings import PrepareSettings

_STUDY = StudyRef(patient=PatientKey("a" * 32), study=StudyKey(derived_uuid("study")), version=1)


class Site:
    """A blob store under `root` and the preparation over it."""

    def __init__(self, root: Path) -> None:
        self.blobs = LocalBlobStore(root)
        self.scratch = root.with_name("scratch")
        self.checkpoints = 0

    def nifti(self, files: Mapping[Modality, Path], *, name: str = "nifti", changed: bool = False) -> StageRequest:
        """A study of NIfTI files; `changed`: acquired after the anatomy had changed."""
        outputs = {
            f"nifti/{slot}": self.blobs.put_file(path, "application/gzip", BlobClass.IDENTIFIED)
            for slot, path in files.items()
        }
        series = [IntakeSeries(series=f"{name}-{slot}", modality=slot, outputs=(f"nifti/{slot}",)) for slot in files]
        return self._request(Source.NIFTI, outputs, series, changed=changed)

    def dicom(self, folders: list[list[Path]]) -> StageRequest:
        """A study of DICOM series, one list of instances each."""
        outputs: dict[str, BlobRef] = {}
        series = []
        for number, paths in enumerate(folders):
            names = tuple(f"instance/{number}.{place}" for place in range(len(paths)))
            refs = self.blobs.put_files(paths, "application/dicom", BlobClass.IDENTIFIED)
            outputs |= dict(zip(names, refs, strict=True))
            series.append(IntakeSeries(series=f"1.2.{number}", modality=None, outputs=names))
        return self._request(Source.DICOM, outputs, series)

    def prepare(self, request: StageRequest, settings: PrepareSettings | None = None) -> StageResult:
        """The stage's answer. Raises what the handler raises."""
        chosen = settings or PrepareSettings()
        handler = PrepareHandler(self.blobs, tools(self.blobs, chosen, self.scratch), chosen)
        return handler.handle(request, self._checkpoint)

    def add(self, intake: StageRequest, prepared: ManifestRef, settings: PrepareSettings | None = None) -> StageResult:
        """The theatre's answer: the series of the intake onto what is prepared. Raises what the handler raises."""
        return self.prepare(replace(intake, lane=Lane.THEATRE, inputs=(*intake.inputs, prepared)), settings)

    def stored(self, result: StageResult) -> ManifestRef:
        """The result as a run would store it."""
        manifest = Manifest(
            run_id=RunId(derived_uuid("prepare", result.facts, sorted(result.outputs))),
            stage=Stage.PREPARE,
            study=_STUDY,
            lane=Lane.ROUTINE,
            settings_hash="none",
            completeness=result.completeness,
            verdict=result.verdict,
            reasons=result.reasons,
            outputs=result.outputs,
            facts=result.facts,
        )
        return store_manifest(self.blobs, "prepare", manifest)

    def volume(self, result: StageResult, name: str) -> Volume:
        """An output as a volume."""
        return decode_volume(self.blobs.read(result.outputs[name]))

    def _checkpoint(self) -> None:
        self.checkpoints += 1

    def _request(
        self, source: Source, outputs: Mapping[str, BlobRef], series: list[IntakeSeries], *, changed: bool = False
    ) -> StageRequest:
        facts = IntakeFacts(
            source=source, study_uid=None, acquired_at="2031-02-03", series=tuple(series), anatomy_changed=changed
        )
        intake = Manifest(
            run_id=RunId(derived_uuid("intake", to_document(facts), sorted(ref.digest for ref in outputs.values()))),
            stage="intake",
            study=_STUDY,
            lane=Lane.ROUTINE,
            settings_hash="none",
            outputs=outputs,
            facts=to_document(facts),
        )
        return StageRequest(
            request_id=RequestId("r"),
            stage=Stage.PREPARE,
            study=_STUDY,
            lane=Lane.ROUTINE,
            inputs=(store_manifest(self.blobs, "intake", intake),),
            requested_at=datetime(2031, 2, 3, tzinfo=UTC),
        )


def facts_of(result: StageResult) -> PrepareFacts:
    """The typed facts of a preparation."""
    return from_document(PrepareFacts, result.facts)


def of_slot(result: StageResult, slot: Modality) -> SeriesFacts:
    """What is said of the series of a slot."""
    return next(series for series in facts_of(result).series if series.modality is slot)
