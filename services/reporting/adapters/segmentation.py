"""DICOM Segmentation of the native mask (PS3.3 A.51, BINARY), written with highdicom.

Bytes depend on the segmentation run, the headers and the report settings only: dates are the study's, UIDs are derived
(rule 4). The patient is the pseudonym, whatever the headers say (rule 10).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import cast

import highdicom as hd
import numpy as np
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID
from pydicom.valuerep import DA, TM

from services.core.contracts.errors import Permanent
from services.core.contracts.ids import derived_uid
from services.core.contracts.manifest import ModelRef
from services.core.imaging.labels import Label
from services.reporting.adapters.headers import source_images
from services.reporting.adapters.segment_codes import PROPERTIES, Property
from services.reporting.domain.outputs import SegmentationSource
from services.reporting.domain.planes import frames_on
from services.reporting.errors import OutputNotPossible

_MAX_LO = 64  # characters of a VR LO


class HighdicomWriter:
    """Writes the segmentation. `settings_hash` is part of its UIDs; `writer` is the stated software version."""

    def __init__(self, *, settings_hash: str, writer: str, series_number: int) -> None:
        self._settings_hash = settings_hash
        self._writer = writer
        self._series_number = series_number

    def write(self, source: SegmentationSource) -> bytes:
        """A DICOM file, explicit VR little endian. Raises OutputNotPossible, or Permanent on unknown labels."""
        series = source_images(source.headers, source.patient)
        frames = frames_on(source.mask, series.planes)
        if int(frames.max()) >= len(Label):
            raise Permanent("UNKNOWN_LABEL", f"the mask holds the value {int(frames.max())}, which is no label")
        present = [label for label in Label if label and (frames == label).any()]
        if not present:
            raise OutputNotPossible("SEG_EMPTY", "No tumour was segmented, so there is no DICOM segmentation.")
        number_of = np.zeros(len(Label), np.uint8)
        number_of[present] = range(1, len(present) + 1)
        dataset = self._segmentation(source, series.images, number_of[frames], present)
        return _file_bytes(dataset)

    def _segmentation(
        self, source: SegmentationSource, images: Sequence[Dataset], numbers: NDArray[np.uint8], present: list[Label]
    ) -> Segmentation:
        first = images[0]
        day, time = _content_moment(first)
        dataset = Segmentation(
            source_images=images,
            pixel_array=numbers,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[
                self._description(source, number, label) for number, label in enumerate(present, start=1)
            ],
            series_instance_uid=self._uid("series", source),
            series_number=self._series_number,
            sop_instance_uid=self._uid("instance", source),
            instance_number=1,
            manufacturer="GlioServe",
            manufacturer_model_name="GlioServe fusion segmentation",
            software_versions=cast("tuple[str]", list(self._versions(source.models))),
            device_serial_number=self._settings_hash[:16],
            content_label="GLIOMA",
            content_description="Glioma regions. Research use; not for diagnosis",
            series_description="GlioServe glioma segmentation (research use)",
            content_date=day,
            content_time=time,
            series_date=day,
            series_time=time,
        )
        dataset.InstanceCreationDate, dataset.InstanceCreationTime = day, time
        for equipment in dataset.get("ContributingEquipmentSequence", []):
            equipment.ContributionDateTime = f"{dataset.ContentDate}{dataset.ContentTime}"
        organisation = self._uid("dimensions", source)
        for item in (*dataset.DimensionIndexSequence, *dataset.DimensionOrganizationSequence):
            item.DimensionOrganizationUID = organisation
        return dataset

    def _description(self, source: SegmentationSource, number: int, label: Label) -> SegmentDescription:
        meaning: Property = PROPERTIES[label]
        return SegmentDescription(
            segment_number=number,
            segment_label=meaning.label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=meaning.code,
            algorithm_type="AUTOMATIC",
            algorithm_identification=_algorithm(source.models),
            tracking_uid=self._uid(f"segment-{label.name}", source),
            tracking_id=f"glioma {label.name}",
            anatomic_regions=[codes.SCT.Brain],
            display_color=hd.color.CIELabColor(*meaning.cielab),
        )

    def _versions(self, models: Sequence[ModelRef]) -> tuple[str, ...]:
        return (f"writer {self._writer}", *(_lo(f"{model.name} {model.version}") for model in models))

    def _uid(self, part: str, source: SegmentationSource) -> str:
        return derived_uid("segmentation", part, source.run_id, self._settings_hash)


def _algorithm(models: Sequence[ModelRef]) -> hd.AlgorithmIdentificationSequence:
    names = ", ".join(model.name for model in models) or "unknown"
    versions = ", ".join(f"{model.name} {model.version}" for model in models) or "unknown"
    return hd.AlgorithmIdentificationSequence(
        name=_lo(f"GlioServe {names}"),
        family=codes.DCM.ArtificialIntelligence,
        version=_lo(versions),
        source="GlioServe",
        parameters={model.name: model.digest for model in models} or None,
    )


def _content_moment(image: Dataset) -> tuple[DA, TM]:
    """Date and time of the study's own content, never of this run: a second run gives the same bytes."""
    for kind in ("Content", "Acquisition", "Series", "Study"):
        day = image.get(f"{kind}Date")
        if day:
            return DA(day), TM(image.get(f"{kind}Time") or "000000")
    raise OutputNotPossible("SEG_NO_DATE", "The DICOM segmentation was not written: the study has no date.")


def _file_bytes(dataset: Segmentation) -> bytes:
    dataset.file_meta.ImplementationClassUID = UID(derived_uid("implementation", "glioserve"))
    dataset.file_meta.ImplementationVersionName = "GLIOSERVE"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _lo(text: str) -> str:
    return text if len(text) <= _MAX_LO else f"{text[: _MAX_LO - 3]}..."
