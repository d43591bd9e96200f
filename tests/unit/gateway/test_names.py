"""File names: what they may look like, and which sequence they state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused
from services.gateway.domain.names import checked_name, is_junk, is_label_name, is_nifti_name, slot_of
from services.gateway.errors import TooLarge

pytestmark = pytest.mark.unit

KNOWN = {
    "t1n.nii.gz": Modality.T1N,
    "T1.NII": Modality.T1N,
    "BraTS-GLI-00001-000-t1c.nii.gz": Modality.T1C,
    "BraTS20_Training_001_t1ce.nii.gz": Modality.T1C,
    "case.t1gd.nii.gz": Modality.T1C,
    "BraTS-GLI-00001-000-t2w.nii.gz": Modality.T2W,
    "BraTS20_Training_001_t2.nii": Modality.T2W,
    "BraTS-GLI-00001-000-t2f.nii.gz": Modality.T2F,
    "BraTS20_Training_001_flair.nii.gz": Modality.T2F,
    "sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz": Modality.T1N,
    "sub-01_ce-gadolinium_T1w.nii.gz": Modality.T1C,
    "sub-01_ce-none_T1w.nii.gz": Modality.T1N,
    "sub-01_T2w.nii.gz": Modality.T2W,
    "sub-01_FLAIR.nii.gz": Modality.T2F,
    "t1c.nii.gz/scan.nii.gz": None,
    "scan.nii.gz": None,
    "t1c.txt": None,
    "mt1c.nii.gz": None,
    "sub-01_dwi.nii.gz": None,
}


@pytest.mark.parametrize(("name", "slot"), KNOWN.items(), ids=list(KNOWN))
def test_names_state_sequences(name: str, slot: Modality | None) -> None:
    assert slot_of(name) == slot


def test_segmentations_and_junk_are_told_from_images() -> None:
    assert is_label_name("BraTS-GLI-00001-000-seg.nii.gz")
    assert is_label_name("outputs_segmentation.nii.gz")
    assert not is_label_name("t1c.nii.gz")
    assert is_nifti_name("a/b.nii")
    assert not is_nifti_name("a.nii/b.dcm")
    for name in ("DICOMDIR", "a/.DS_Store", "__MACOSX/a/b.dcm", "Thumbs.db", ".git/t1c.nii.gz"):
        assert is_junk(name)
    assert not is_junk("a/b.dcm")


@pytest.mark.parametrize("name", ["", "/a", "a/../b", "..", "C:/a", "c:a", "a\x00b", "a\nb", "\\a", "a" * 2000])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(Refused):
        checked_name(name, 16)


def test_depth_is_limited() -> None:
    assert checked_name("a/b/c", 3) == "a/b/c"
    with pytest.raises(TooLarge):
        checked_name("a/b/c/d", 3)


@given(st.text(max_size=60))
def test_a_checked_name_stays_below_its_folder(name: str) -> None:
    try:
        safe = checked_name(name, 16)
    except Refused:
        return
    assert not safe.startswith("/")
    assert ".." not in safe.split("/")
