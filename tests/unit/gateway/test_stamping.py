"""Identity enters a result when it leaves, and only there."""

from __future__ import annotations

import io

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SegmentationStorage
from pypdf import PdfReader
from reportlab.pdfgen.canvas import Canvas

from services.core.contracts.result_model import PDF_PAGE_PT
from services.gateway.adapters.stamping import stamped_dicom
from services.gateway.adapters.stamping_pdf import stamped_pdf
from services.gateway.domain.identity import Identity, StudyModule

pytestmark = pytest.mark.unit
ORDER = StudyModule(accession_number="ACX7", study_id="S1", referring_physician="Drosselmyx^B")
WHO = Identity(patient_id="PHX1", issuer="WURZEL", name="Quorvexilholt^Zefronya^M", birth_date="19700131")


def pdf(pages: int) -> bytes:
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=PDF_PAGE_PT, invariant=1)
    for number in range(pages):
        canvas.drawString(100, 400, f"page {number}")
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def dicom() -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    dataset.SOPClassUID, dataset.SOPInstanceUID = SegmentationStorage, "2.25.1"
    dataset.PatientID, dataset.PatientName = "pseudonym", ""
    dataset.PixelData = b"\x01\x02"
    dataset["PixelData"].VR = "OB"
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def test_every_page_of_a_pdf_names_the_patient_and_keeps_its_text() -> None:
    pages = PdfReader(io.BytesIO(stamped_pdf(pdf(3), WHO))).pages
    assert len(pages) == 3
    for number, page in enumerate(pages):
        text = page.extract_text()
        for part in ("Quorvexilholt, Zefronya M", "ID PHX1", "WURZEL", "born 1970-01-31", f"page {number}"):
            assert part in text


def test_a_pdf_is_stamped_to_the_same_bytes_each_time() -> None:
    assert stamped_pdf(pdf(1), WHO) == stamped_pdf(pdf(1), WHO)


def test_a_long_name_is_cut_and_an_unknown_letter_is_shown_as_a_box() -> None:
    long = Identity(patient_id="X" * 200, name="A" * 400 + "^B")
    assert "…" in PdfReader(io.BytesIO(stamped_pdf(pdf(1), long))).pages[0].extract_text()
    foreign = Identity(patient_id="X", name="\u4e2d^B")
    assert ", B" in PdfReader(io.BytesIO(stamped_pdf(pdf(1), foreign))).pages[0].extract_text()


def test_a_dicom_object_gets_its_patient_and_keeps_its_uids_and_pixels() -> None:
    stamped = dcmread(io.BytesIO(stamped_dicom(dicom(), WHO, ORDER)))
    assert (stamped.PatientID, str(stamped.PatientName), stamped.PatientBirthDate) == ("PHX1", WHO.name, "19700131")
    assert stamped.IssuerOfPatientID == "WURZEL"
    assert (stamped.AccessionNumber, stamped.StudyID) == ("ACX7", "S1")
    assert str(stamped.ReferringPhysicianName) == ORDER.referring_physician
    assert (stamped.SOPInstanceUID, stamped.PixelData) == ("2.25.1", b"\x01\x02")
