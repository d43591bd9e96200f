"""The report stage: manifests in, one result in all formats out. Which result it is, `domain.assemble` alone decides.

Outputs: report.json, report.pdf, provenance.json; with numbers also segmentation.nii.gz and key-images.png; for DICOM
segmentation.dcm.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Stage
from services.core.contracts.events import BlobRef, StageRequest, run_id_for
from services.core.contracts.facts import ReportFacts, Source
from services.core.contracts.ids import canonical_json
from services.core.contracts.manifest import Manifest, ModelRef, Reason
from services.core.contracts.result_model import (
    PROVENANCE_MEDIA_TYPE,
    REPORT_MEDIA_TYPE,
    REPORT_PDF_MEDIA_TYPE,
    SEGMENTATION_DICOM_MEDIA_TYPE,
)
from services.core.runtime.stage import StageResult, read_manifest
from services.core.runtime.stage_inputs import output_of, volume_of
from services.core.runtime.steps import Checkpoint
from services.core.storage.port import BlobStore
from services.reporting.domain.assemble import assemble
from services.reporting.domain.evidence import ROLES, Evidence, evidence_of
from services.reporting.domain.key_images import PREFERRED, KeyImage, Prepared, key_images
from services.reporting.domain.outputs import ReportRenderer, SegmentationSource, SegmentationWriter, SheetPainter
from services.reporting.domain.provenance import lineage_digest, lineage_of, provenance_document
from services.reporting.errors import OutputNotPossible

NIFTI, DICOM, JSON, PDF, PICTURE, PROVENANCE = (
    "segmentation.nii.gz",
    "segmentation.dcm",
    "report.json",
    "report.pdf",
    "key-images.png",
    "provenance.json",
)
NO_TUMOUR = "SEG_EMPTY"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPorts:
    """What the stage needs from outside."""

    blobs: BlobStore
    segmentation: SegmentationWriter
    renderer: ReportRenderer
    sheet: SheetPainter


class ReportHandler:
    """`StageHandler` of REPORT. It uses no model; `settings_hash` covers layout and object settings."""

    def __init__(self, ports: ReportPorts, *, settings_hash: str, with_images: bool = True) -> None:
        self._ports = ports
        self._settings_hash = settings_hash
        self._with_images = with_images

    @property
    def stage(self) -> Stage:
        """REPORT."""
        return Stage.REPORT

    @property
    def settings_hash(self) -> str:
        """Digest of the settings that affect results."""
        return self._settings_hash

    def models(self, _request: StageRequest) -> tuple[ModelRef, ...]:
        """None: the models of a report are those of the manifests that it renders."""
        return ()

    def handle(self, request: StageRequest, checkpoint: Checkpoint) -> StageResult:
        """Writes the result set. Raises Transient when a blob is not there yet, Permanent on a damaged manifest."""
        blobs = self._ports.blobs
        manifests = {role: read_manifest(blobs, ref) for role in ROLES if (ref := request.input(role)) is not None}
        evidence = evidence_of(request, manifests)
        lineage = lineage_of(request, manifests)
        checkpoint()
        outputs, lost, remarks = self._segmentations(evidence)
        checkpoint()
        result = assemble(request, evidence, lineage_digest(lineage), lost=lost, remarks=remarks)
        outputs[JSON] = blobs.put(canonical_json(to_document(result)), REPORT_MEDIA_TYPE)
        images = self._images(evidence, checkpoint)
        outputs[PDF] = blobs.put(self._ports.renderer.render(result, images), REPORT_PDF_MEDIA_TYPE)
        checkpoint()
        if images:
            outputs[PICTURE] = blobs.put(self._ports.sheet(images), "image/png")
        checkpoint()
        run_id = run_id_for(request, self._settings_hash, [])
        document = provenance_document(request, run_id, self._settings_hash, lineage, outputs)
        outputs[PROVENANCE] = blobs.put(document, PROVENANCE_MEDIA_TYPE)
        return StageResult(
            outputs=outputs,
            facts=to_document(ReportFacts(revision=result.revision, predecessor=result.predecessor)),
            completeness=result.completeness,
            verdict=result.verdict,
            reasons=result.reasons,
        )

    def _segmentations(self, evidence: Evidence) -> tuple[dict[str, BlobRef], tuple[Reason, ...], tuple[Reason, ...]]:
        """Mask files; what could not be written although it should (degrades); what is only worth a remark."""
        if evidence.prepare is None or evidence.segment is None:
            return {}, (), ()
        segment = evidence.manifests["segment"]
        outputs = {NIFTI: output_of(segment, "mask/native.nii.gz")}
        if evidence.prepare.source is not Source.DICOM:
            return outputs, (), ()
        try:
            outputs[DICOM] = self._ports.blobs.put(self._dicom(evidence, segment), SEGMENTATION_DICOM_MEDIA_TYPE)
        except OutputNotPossible as error:
            reason = (Reason(code=error.code, message=error.message),)
            return (outputs, (), reason) if error.code == NO_TUMOUR else (outputs, reason, ())
        return outputs, (), ()

    def _dicom(self, evidence: Evidence, segment: Manifest) -> bytes:
        prepare = evidence.manifests["prepare"]
        if "headers" not in prepare.outputs:
            raise OutputNotPossible("SEG_NO_HEADERS", "The DICOM segmentation was not written: no headers were kept.")
        return self._ports.segmentation.write(
            SegmentationSource(
                mask=volume_of(self._ports.blobs, segment, "mask/native"),
                headers=self._ports.blobs.read(prepare.outputs["headers"]),
                patient=segment.study.patient,
                run_id=segment.run_id,
                models=segment.models,
            )
        )

    def _images(self, evidence: Evidence, checkpoint: Checkpoint) -> tuple[tuple[KeyImage, ...], ...]:
        facts = evidence.segment
        if not self._with_images or facts is None or evidence.prepare is None:
            return ()
        prepare, segment = evidence.manifests["prepare"], evidence.manifests["segment"]
        names = [f"volume/{slot}" for slot in PREFERRED if f"volume/{slot}" in prepare.outputs]
        prepared = Prepared(
            sequences=tuple(volume_of(self._ports.blobs, prepare, name) for name in names[:2]),
            brain=volume_of(self._ports.blobs, prepare, "brain_mask"),
            mask=volume_of(self._ports.blobs, segment, "mask/canonical"),
        )
        checkpoint()
        images = key_images(prepared, facts.centroid_ras_mm)
        checkpoint()
        return images
