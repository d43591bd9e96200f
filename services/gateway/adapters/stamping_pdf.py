"""Puts a patient's name into the header band that every PDF page keeps empty (rule 10)."""

from __future__ import annotations

import io
from importlib import resources

from pypdf import PdfReader, PdfWriter
from pypdf.errors import PyPdfError
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from services.core.contracts.result_model import PDF_HEADER_BAND_PT, PDF_PAGE_PT
from services.gateway.domain.identity import Identity

FONT = "GlioServe-Stamp"
NAME_PT, DETAIL_PT = 12.0, 9.0


def stamped_pdf(stored: bytes, identity: Identity) -> bytes:
    """The document with name, id and birth date in the header band of every page. Same input, same bytes.

    Raises ValueError when it is no PDF.
    """
    try:
        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(stored)))
    except PyPdfError as error:
        raise ValueError("no PDF") from error
    band = PdfReader(io.BytesIO(_band(identity))).pages[0]
    for page in writer.pages:
        page.merge_page(band)
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def _band(identity: Identity) -> bytes:
    with resources.as_file(resources.files("font_source_sans_pro") / "files" / "SourceSansPro-Regular.ttf") as font:
        pdfmetrics.registerFont(TTFont(FONT, font))
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=PDF_PAGE_PT, invariant=1)
    box = PDF_HEADER_BAND_PT
    name = _fitting(_readable(identity.name), NAME_PT, box.width)
    details = "   ".join(
        part for part in (f"ID {identity.patient_id}", identity.issuer, _date(identity.birth_date)) if part
    )
    canvas.setFont(FONT, NAME_PT)
    canvas.drawString(box.x, box.y + box.height - NAME_PT - 2, name)
    canvas.setFont(FONT, DETAIL_PT)
    canvas.drawString(box.x, box.y + 4, _fitting(details, DETAIL_PT, box.width))
    canvas.save()
    return target.getvalue()


def _readable(name: str) -> str:
    """`FAMILY^GIVEN^MIDDLE` as FAMILY, GIVEN MIDDLE; only the first of the name's three groups (PS3.5 6.2.1.1)."""
    family, _, rest = name.partition("=")[0].partition("^")
    given = " ".join(part for part in rest.split("^") if part)
    text = f"{family}, {given}" if given else family
    face = pdfmetrics.getFont(FONT).face
    return "".join(letter if ord(letter) in face.charToGlyph else "\N{WHITE SQUARE}" for letter in text)


def _fitting(text: str, size: float, width: float) -> str:
    if pdfmetrics.stringWidth(text, FONT, size) <= width:
        return text
    while text and pdfmetrics.stringWidth(f"{text}…", FONT, size) > width:
        text = text[:-1]
    return f"{text}…"


def _date(digits: str) -> str:
    return f"born {digits[:4]}-{digits[4:6]}-{digits[6:8]}" if len(digits) == 8 and digits.isdigit() else ""
