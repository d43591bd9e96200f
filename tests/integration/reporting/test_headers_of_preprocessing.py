"""The seam between two services: the header set that preparation writes is the one that the report can use."""

from __future__ import annotations

import io
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from services.core.contracts.enums import Modality
from services.core.contracts.ids import RunId
from services.phantom import SMALL, Vendor, generate, invented_patient, write_dicom
from services.preprocessing.domain.header_set import header_set
from services.reporting.adapters.segmentation import HighdicomWriter
from services.reporting.domain.outputs import SegmentationSource
from tests.builders import LPS, MODELS, STUDY

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("sagittal", [(), (Modality.T1C,)])
def test_truth_written_over_a_scanned_phantom_lies_where_its_tumour_is(
    tmp_path: Path, sagittal: tuple[Modality, ...]
) -> None:
    study = generate(11, SMALL)
    patient = invented_patient(11)
    files = [f for f in write_dicom(study, tmp_path, patient, Vendor.SIEMENS, sagittal) if "t1c" in str(f)]
    headers = header_set([pydicom.dcmread(file, stop_before_pixels=True) for file in reversed(files)])
    writer = HighdicomWriter(settings_hash="0" * 64, writer="1", series_number=9001)
    data = writer.write(
        SegmentationSource(
            mask=study.labels, headers=headers, patient=STUDY.patient, run_id=RunId("run"), models=MODELS
        )
    )
    volume = hd.seg.segread(io.BytesIO(data)).get_volume(combine_segments=True)
    filled = np.argwhere(volume.array > 0)
    positions = LPS @ volume.affine @ np.column_stack([filled, np.ones(len(filled))]).T
    voxels = np.rint((np.linalg.inv(study.labels.affine) @ positions)[:3]).astype(int)
    assert len(filled) == (study.labels.data > 0).sum() > 100
    assert (study.labels.data[tuple(voxels)] > 0).all()
    assert not [text for text in patient.identity if text.encode() in data]
