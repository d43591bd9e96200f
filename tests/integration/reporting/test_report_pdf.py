"""The PDF as a reader gets it: texts, pages, the empty band, fonts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdf
import pytest

from services.core.contracts.enums import Completeness, Modality, Stage, Verdict
from services.core.contracts.events import ManifestRef, Problem
from services.core.contracts.facts import Decision, MarkerFacts, SubtypeFacts
from services.core.contracts.manifest import Reason
from services.core.contracts.result_model import DISCLAIMER, PDF_HEADER_BAND_PT, PDF_PAGE_PT
from services.core.storage.local import LocalBlobStore
from services.reporting.bootstrap import handler
from services.reporting.settings import ReportingSettings
from tests.builders import Head, Shelf, failed, followed_up, report_request, series_facts

pytestmark = pytest.mark.integration

LONG = "The field of view ends below the vertex, so that every volume in this report is a lower bound. " * 6
WORD = "x" * 300


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(blobs=LocalBlobStore(tmp_path))


def pdf(shelf: Shelf, inputs: list[ManifestRef], *problems: Problem) -> pypdf.PdfReader:
    made = handler(ReportingSettings(), shelf.blobs).handle(report_request(inputs, problems=problems), lambda: None)
    return pypdf.PdfReader(io.BytesIO(shelf.blobs.read(made.outputs["report.pdf"])), strict=True)


def texts(reader: pypdf.PdfReader) -> str:
    return "\n".join(page.extract_text() for page in reader.pages)


def everything_long(shelf: Shelf) -> list[ManifestRef]:
    native = shelf.head.native
    reasons = tuple(Reason(code=f"CODE_{n}_{WORD[:70]}", message=LONG) for n in range(5))
    series = [series_facts(Modality.T1C, native), *(series_facts(None, native, LONG + WORD) for _ in range(9))]
    markers = tuple(
        MarkerFacts(marker=f"marker_{n}", decision=Decision.ABSTAINED, probability=0.5, statement=LONG)
        for n in range(6)
    )
    facts = SubtypeFacts(markers=markers, who_2021=LONG, calibration_version="1")
    return [
        shelf.prepare(series=series, reasons=reasons, completeness=Completeness.DEGRADED),
        shelf.segment(),
        shelf.subtype(facts),
        shelf.compare(followed_up({"WT": (1.0, 2.0), WORD: (1.0, 2.0)})),
    ]


def positions(page: Any) -> Iterator[tuple[float, float, str]]:
    found: list[tuple[float, float, str]] = []

    def visit(text: str, cm: list[float], tm: list[float], _font: object, _size: float) -> None:
        if text.strip():
            x = tm[4] * cm[0] + tm[5] * cm[2] + cm[4]
            y = tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
            found.append((x, y, text))

    page.extract_text(visitor_text=visit)
    return iter(found)


def test_a_complete_report_says_what_it_must(shelf: Shelf) -> None:
    changed = shelf.compare(followed_up({"WT": (61.04, 74.2), "NCR": (0.0, 3.75)}))
    reader = pdf(shelf, [shelf.intake(), shelf.prepare(), shelf.segment(), shelf.subtype(), changed])
    text = texts(reader)
    mask = shelf.head.mask(shelf.head.native)
    millilitres = f"{(mask.data > 0).sum() * mask.grid.voxel_ml:.1f}"
    for expected in (
        "Glioma MRI report", "Complete", "Trusted", millilitres, "IDH mutation", "Negative", "Abstained",
        "Not available", "7 %", "T1 contrast, axial", "T2 FLAIR, sagittal", "2024-03-05 10:15", "+13.2", "+22",
        "fusion_coarse", "Provenance digest: sha256:", "5 cm",
    ):  # fmt: skip
        assert expected in text, expected


def test_no_number_stands_beside_an_abstention(shelf: Shelf) -> None:
    silent = MarkerFacts(marker="mgmt", decision=Decision.ABSTAINED, probability=0.913, statement="Not decided.")
    facts = SubtypeFacts(markers=(silent,), who_2021="None.", calibration_version="1")
    text = texts(pdf(shelf, [shelf.prepare(), shelf.segment(), shelf.subtype(facts), shelf.compare()]))
    assert "Abstained" in text
    assert "91 %" not in text


def test_every_page_is_a4_with_disclaimer_number_and_an_empty_band(shelf: Shelf) -> None:
    reader = pdf(shelf, everything_long(shelf))
    assert len(reader.pages) > 2
    for number, page in enumerate(reader.pages, start=1):
        assert (float(page.mediabox.width), float(page.mediabox.height)) == pytest.approx(PDF_PAGE_PT, abs=0.01)
        text = page.extract_text()
        assert DISCLAIMER in text
        assert f"Page {number} of {len(reader.pages)}" in text
        places = list(positions(page))
        assert places
        assert max(y for _, y, _ in places) < PDF_HEADER_BAND_PT.y - 4
        assert min(x for x, _, _ in places) >= PDF_HEADER_BAND_PT.x - 0.1


def test_long_texts_and_long_words_stay_within_the_page_and_are_kept_whole(shelf: Shelf) -> None:
    reader = pdf(shelf, everything_long(shelf))
    right = PDF_HEADER_BAND_PT.x + PDF_HEADER_BAND_PT.width
    assert all(x < right for page in reader.pages for x, _, _ in positions(page))
    assert texts(reader).count("lower bound") >= 5 * 6


def test_an_insufficient_report_is_one_page_with_the_reason_and_no_number(shelf: Shelf) -> None:
    broken = failed(Stage.SEGMENT, "MODEL_MISSING", "the network cannot be reached", "Ask for a replay.")
    reader = pdf(shelf, [shelf.intake(), shelf.prepare()], broken)
    text = texts(reader)
    assert len(reader.pages) == 1
    assert "Insufficient" in text
    assert "The segmentation of the tumour failed: the network cannot be reached. Ask for a replay." in text
    for absent in (" ml", "Tumour volumes", "Molecular markers", "Key images", "SNR", "%"):
        assert absent not in text


def test_a_flagged_report_says_so_and_a_degraded_one_names_its_reasons(shelf: Shelf) -> None:
    flagged = shelf.segment(
        verdict=Verdict.NEEDS_REVIEW, reasons=(Reason(code="UNSURE", message="The mask is unsure"),)
    )
    text = texts(pdf(shelf, [shelf.prepare(), flagged, shelf.compare()], failed(Stage.SUBTYPE)))
    for expected in ("Needs review", "Degraded", "The mask is unsure", "UNSURE", "Markers are not available."):
        assert expected in text


def test_a_report_without_tumour_shows_the_brain_and_says_so(tmp_path: Path) -> None:
    shelf = Shelf(blobs=LocalBlobStore(tmp_path), head=Head(radius_mm=0.0))
    text = texts(pdf(shelf, [shelf.prepare(), shelf.segment(), shelf.subtype(), shelf.compare()]))
    assert "No tumour was segmented" in text
    assert "middle of the brain" in text


def test_fonts_are_embedded_and_the_document_has_no_date(shelf: Shelf) -> None:
    reader = pdf(shelf, [shelf.prepare(), shelf.segment(), shelf.subtype(), shelf.compare()])
    fonts: dict[str, Any] = {}
    for page in reader.pages:
        resources: Any = page["/Resources"]
        fonts.update({name: ref.get_object() for name, ref in resources["/Font"].items()})
    assert fonts
    assert all("SourceSansPro" in str(font["/BaseFont"]) for font in fonts.values())
    assert all("/FontFile2" in font["/FontDescriptor"] for font in fonts.values())
    assert reader.metadata is not None
    assert "D:2000" in str(reader.metadata.get("/CreationDate"))
