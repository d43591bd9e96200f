"""DICOM from outside: what intake learns of an instance, and how a series becomes a volume or a clear refusal."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from services.core.contracts.errors import Refused
from services.core.imaging.dicom_file import open_dicom
from services.core.imaging.dicom_frames import Frame
from services.core.imaging.dicom_header import inspect_dicom
from services.core.imaging.dicom_pixels import read_frames
from services.core.imaging.dicom_series import geometry_of, open_series, read_series
from services.core.imaging.volume import Volume
from tests.unit.imaging.images import instance, pixels, reference_data, rotation, save, save_series

pytestmark = pytest.mark.unit


def read(paths: list[Path]) -> Volume:
    series = open_series(paths)
    return read_series(series, geometry_of(series), "x")


def refusal(paths: list[Path]) -> str:
    with pytest.raises(Refused) as caught:
        read(paths)
    return caught.value.code


def test_intake_learns_what_it_needs_and_the_identity_prints_nothing(tmp_path: Path) -> None:
    header = inspect_dicom(save(instance(IssuerOfPatientID="HOSP"), tmp_path / "a.dcm"))
    assert (header.study_instance_uid, header.series_instance_uid) == ("1.2.3", "1.2.3.4")
    assert (header.rows, header.columns, header.frames, header.bits_allocated) == (16, 20, 1, 16)
    assert header.acquired_at == "2031-02-03T10:11:12"
    assert header.identity.patient_id == "PHX-1"
    assert header.identity.issuer_of_patient_id == "HOSP"
    assert "Zymbrant" not in repr(header)
    assert "PHX-1" not in repr(header) + repr(header.identity)


def test_the_pixel_digest_follows_pixels_and_geometry_and_not_the_byte_order(tmp_path: Path) -> None:
    plain = inspect_dicom(save(instance(), tmp_path / "a.dcm")).pixel_digest
    renamed = inspect_dicom(save(instance(PatientName="Other"), tmp_path / "b.dcm")).pixel_digest
    moved = inspect_dicom(save(instance(ImagePositionPatient=[0, 0, 9]), tmp_path / "c.dcm")).pixel_digest
    repainted = inspect_dicom(save(instance(PixelData=pixels(3).tobytes()), tmp_path / "d.dcm")).pixel_digest
    swapped = instance(0, ExplicitVRBigEndian, PixelData=pixels(0).byteswap().tobytes())
    big = inspect_dicom(save(swapped, tmp_path / "e.dcm")).pixel_digest
    assert plain == renamed == big
    assert len({plain, moved, repainted}) == 3


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("NOT_MR", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}),
        ("NOT_MR", {"Modality": "CT"}),
        ("BAD_UID", {"SeriesInstanceUID": None}),
        ("BAD_UID", {"SOPInstanceUID": ""}),
        ("CONTRADICTORY_HEADER", {"Rows": 17}),
        ("CONTRADICTORY_HEADER", {"Rows": 0}),
        ("CONTRADICTORY_HEADER", {"BitsStored": 20}),
        ("CONTRADICTORY_HEADER", {"PixelData": b"\0" * 10}),
        ("UNSUPPORTED_PIXELS", {"SamplesPerPixel": 3}),
        ("NO_PIXELS", {"PixelData": None}),
    ],
)
def test_an_instance_that_contradicts_itself_is_refused(tmp_path: Path, code: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        inspect_dicom(save(instance(**changes), tmp_path / "a.dcm"))
    assert caught.value.code == code


def test_a_uid_that_would_escape_a_folder_is_refused(tmp_path: Path) -> None:
    dataset = instance()
    dataset[0x0020000E]._value = UID("../../etc", validation_mode=0)
    with pytest.raises(Refused) as caught:
        inspect_dicom(save(dataset, tmp_path / "a.dcm"))
    assert caught.value.code == "BAD_UID"


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 128 + b"DICM", b"PK\3\4" + b"x" * 500, b"\0" * 128 + b"DICM" + b"\xff" * 900]
)
def test_what_is_no_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    with pytest.raises(Refused) as caught:
        inspect_dicom(path)
    assert caught.value.code in {"NOT_DICOM", "DICOM_DAMAGED"}


def test_a_cut_off_instance_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = save(instance(), tmp_path / "whole.dcm").read_bytes()
    for size in range(0, len(whole) - 1, 13):
        (tmp_path / "cut.dcm").write_bytes(whole[:size])
        with pytest.raises(Refused):
            inspect_dicom(tmp_path / "cut.dcm")


def test_damaged_bytes_never_raise_anything_but_a_refusal(tmp_path: Path) -> None:
    whole = save(instance(), tmp_path / "whole.dcm").read_bytes()
    rng = np.random.default_rng(2)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(132, len(whole) - 640, 4):
            damaged[place] = int(rng.integers(256))
        (tmp_path / "bad.dcm").write_bytes(damaged)
        try:
            read([tmp_path / "bad.dcm", save(instance(1), tmp_path / "good.dcm")])
        except Refused:
            continue


def test_a_deflated_file_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    dataset = instance(0, DeflatedExplicitVRLittleEndian)
    with pytest.raises(Refused) as caught:
        inspect_dicom(save(dataset, tmp_path / "a.dcm"))
    assert caught.value.code == "UNSUPPORTED_TRANSFER_SYNTAX"


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    whole = save(instance(), tmp_path / "a.dcm").read_bytes()
    start = whole.index(b"\x10\x00\x10\x00PN")
    nest = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    (tmp_path / "deep.dcm").write_bytes(whole[:start] + nest + whole[start:])
    with pytest.raises(Refused) as caught:
        inspect_dicom(tmp_path / "deep.dcm")
    assert caught.value.code == "DICOM_DAMAGED"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_series_in_any_order_becomes_a_ras_volume(tmp_path: Path, syntax: UID) -> None:
    paths = []
    for number in (3, 0, 2, 1):
        stored = pixels(number).byteswap() if syntax == ExplicitVRBigEndian else pixels(number)
        dataset = instance(number, syntax, PixelData=stored.tobytes(), RescaleSlope=2.0, RescaleIntercept=-5.0)
        paths.append(save(dataset, tmp_path / f"{number}.dcm"))
    volume = read(paths)
    assert volume.data.shape == (20, 16, 4)
    np.testing.assert_array_equal(volume.data[:, :, 2], pixels(2).T * 2.0 - 5.0)
    expected = np.array([[-1.25, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 3, 5], [0, 0, 0, 1]])
    np.testing.assert_allclose(volume.affine, expected)


def test_an_oblique_series_keeps_its_obliqueness(tmp_path: Path) -> None:
    turn = rotation(23.0)
    paths = [
        save(
            instance(
                number,
                ImageOrientationPatient=[*turn[:, 0].round(9), *turn[:, 1].round(9)],
                ImagePositionPatient=[*(turn[:, 2] * 3.0 * number).round(6)],
            ),
            tmp_path / f"{number}.dcm",
        )
        for number in range(5)
    ]
    volume = read(paths)
    expected = np.diag([-1.0, -1.0, 1.0]) @ turn @ np.diag([1.25, 1.5, 3.0])
    np.testing.assert_allclose(volume.affine[:3, :3], expected, atol=1e-5)


def test_signed_pixels_and_old_overlay_bits_are_understood(tmp_path: Path) -> None:
    stored = np.full((16, 20), 0xF000 | 0x0FFE, dtype=np.uint16)  # four overlay bits above the 12-bit value -2
    paths = [
        save(instance(n, PixelRepresentation=1, PixelData=stored.tobytes()), tmp_path / f"{n}.dcm") for n in range(3)
    ]
    assert (read(paths).data == -2).all()


def positions(*heights: float) -> list[dict[str, Any]]:
    return [{"ImagePositionPatient": [-10.0, -20.0, height]} for height in heights]


@pytest.mark.parametrize(
    ("code", "slices"),
    [
        ("ONE_SLICE", positions(0)),
        ("MISSING_SLICES", positions(0, 3, 6, 12, 15, 18)),
        ("DUPLICATE_SLICES", positions(0, 3, 3, 6, 9)),
        ("NOT_THREE_DIMENSIONAL", positions(0, 3, 6, 0, 3, 6)),
        ("UNEVEN_SLICES", positions(0, 3, 6, 9.8, 12, 15)),
        ("TWO_FRAMES_OF_REFERENCE", [{}, {"FrameOfReferenceUID": "9.9"}, {}]),
        ("MIXED_ORIENTATIONS", [{}, {"ImageOrientationPatient": [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]}, {}]),
        ("CONTRADICTORY_HEADER", [{}, {"PixelSpacing": [1.5, 2.0]}, {}]),
        ("CONTRADICTORY_HEADER", [{}, {"Rows": 8, "Columns": 40}, {}]),
        ("CONTRADICTORY_HEADER", [{}, {"ImagePositionPatient": None}, {}]),
        ("CONTRADICTORY_HEADER", [{}, {"ImageOrientationPatient": [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]}, {}]),
        ("CONTRADICTORY_HEADER", [{"NumberOfFrames": 2, "Rows": 8}, {}]),
        ("UNSUPPORTED_PIXELS", [{"PhotometricInterpretation": "MONOCHROME1"}] * 3),
        ("NOT_MR", [{}, {"Modality": "CT"}, {}]),
    ],
)
def test_a_series_that_is_no_regular_grid_is_refused(tmp_path: Path, code: str, slices: list[dict[str, Any]]) -> None:
    paths = [save(instance(number, **changes), tmp_path / f"{number}.dcm") for number, changes in enumerate(slices)]
    assert refusal(paths) == code


def test_gantry_tilt_is_refused(tmp_path: Path) -> None:
    tilted: list[dict[str, Any]] = [{"ImagePositionPatient": [-10.0, -20.0 + 0.5 * n, 3.0 * n]} for n in range(6)]
    paths = [save(instance(number, **changes), tmp_path / f"{number}.dcm") for number, changes in enumerate(tilted)]
    assert refusal(paths) == "SHEARED_GRID"


def test_a_stated_spacing_that_contradicts_the_positions_is_remarked(tmp_path: Path) -> None:
    series = open_series(save_series(tmp_path, 6, SpacingBetweenSlices=6.0))
    geometry = geometry_of(series)
    assert geometry.grid.spacing[2] == pytest.approx(3.0)
    assert "6.00 mm" in geometry.remarks[0]


ODD = {
    "MR-SIEMENS-DICOM-WithOverlays.dcm": None,
    "MR2_J2KI.dcm": None,
    "MR2_J2KR.dcm": None,
    "bad_sequence.dcm": "NOT_MR",
    "emri_small.dcm": None,
    "emri_small_RLE.dcm": None,
    "emri_small_big_endian.dcm": None,
    "emri_small_jpeg_2k_lossless.dcm": None,
    "emri_small_jpeg_2k_lossless_too_short.dcm": "PIXELS_DAMAGED",
    "emri_small_jpeg_ls_lossless.dcm": None,
    "explicit_VR-UN.dcm": "NOT_MR",
    "liver_expb.dcm": "NOT_MR",
    "liver_nonbyte_aligned.dcm": "NOT_MR",
    "parametric_map_double_float.dcm": "NOT_MR",
    "parametric_map_float.dcm": "NOT_MR",
    "vlut_04.dcm": "NOT_MR",
}


def _plane(rows: int, columns: int, index: int) -> Frame:
    return Frame(
        file=0,
        index=index,
        rows=rows,
        columns=columns,
        position=(0, 0, 0),
        along_row=(1, 0, 0),
        along_column=(0, 1, 0),
        spacing=(1, 1),
        thickness=0,
        spacing_between=0,
        slope=1,
        intercept=0,
    )


def stored_pixels(path: Path) -> np.ndarray:
    file = open_dicom(path)
    rows, columns = int(file.dataset.Rows), int(file.dataset.Columns)
    frames = [_plane(rows, columns, index) for index in range(int(file.dataset.get("NumberOfFrames", 1)))]
    return np.stack([found for _, found in read_frames([file], frames, lambda: None)])


def accepted(path: Path) -> np.ndarray:
    inspect_dicom(path)
    return stored_pixels(path)


@pytest.mark.parametrize("name", sorted(ODD))
def test_odd_files_are_read_or_refused_with_a_clear_code(name: str) -> None:
    path = reference_data("dicom", "odd", name)
    code = ODD[name]
    if code is not None:
        with pytest.raises(Refused) as caught:
            accepted(path)
        assert caught.value.code == code
        return
    found = accepted(path)
    assert found.max() > 0
    if name.startswith("emri_small"):
        np.testing.assert_array_equal(found, stored_pixels(path.with_name("emri_small.dcm")))


def test_an_enhanced_time_series_is_refused_as_not_three_dimensional(tmp_path: Path) -> None:
    packed = reference_data("dicom", "canon_dti_enhanced", "3000_DTI_PA-ortho_enhanced.dcm.gz")
    path = tmp_path / "enhanced.dcm"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    assert inspect_dicom(path).frames == 520
    assert refusal([path]) == "NOT_THREE_DIMENSIONAL"


def test_a_compressed_series_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    source = reference_data("dicom", "odd", "emri_small_jpeg_2k_lossless.dcm")
    dataset = pydicom.dcmread(source)
    dataset.Rows = 128
    assert dataset.file_meta.TransferSyntaxUID == JPEG2000Lossless
    with pytest.raises(Refused) as caught:
        stored_pixels(save(dataset, tmp_path / "lying.dcm"))
    assert caught.value.code in {"CONTRADICTORY_HEADER", "PIXELS_DAMAGED"}
