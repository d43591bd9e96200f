"""The page around the content: an empty band for the patient's name, rules, footer with disclaimer and page numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from typing import Any

from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

from services.core.contracts.result_model import DISCLAIMER, PDF_HEADER_BAND_PT, PDF_PAGE_PT
from services.reporting.adapters.pdf.style import BOLD, INK, REGULAR, RULE, SOFT

LEFT, WIDTH = PDF_HEADER_BAND_PT.x, PDF_HEADER_BAND_PT.width
_TOP = PDF_HEADER_BAND_PT.y - 4
_FOOTER_Y = 30.0
_BOTTOM = _FOOTER_Y + 22


class _NumberedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
    """Writes `page n of m`: keeps the pages back until their number is known."""

    def __init__(self, *args: Any, footer: str, **options: Any) -> None:
        super().__init__(*args, **{**options, "initialFontName": REGULAR})
        self._footer = footer
        self._kept: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802
        """Keeps the page back."""
        self._kept.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Adds rules and footers, then writes the document."""
        for number, page in enumerate(self._kept, start=1):
            self.__dict__.update(page)
            _draw_frame(self, self._footer, f"Page {number} of {len(self._kept)}")
            super().showPage()
        super().save()


def document(story: Sequence[Any], *, title: str, footer: str) -> bytes:
    """The story as a PDF, without any date of its own: equal stories give equal bytes."""
    buffer = io.BytesIO()
    frame = Frame(
        LEFT, _BOTTOM, WIDTH, _TOP - _BOTTOM, leftPadding=0, rightPadding=0, topPadding=6, bottomPadding=0, id="body"
    )
    template = BaseDocTemplate(
        buffer,
        pagesize=PDF_PAGE_PT,
        pageTemplates=[PageTemplate(id="page", frames=[frame])],
        title=title,
        author="GlioServe",
        subject=DISCLAIMER,
        creator="GlioServe reporting",
        lang="en",
        invariant=1,
        pageCompression=1,
    )
    template.build(list(story), canvasmaker=partial(_NumberedCanvas, footer=footer))
    return buffer.getvalue()


def _draw_frame(canvas: Any, footer: str, page: str) -> None:
    canvas.saveState()
    canvas.setLineWidth(0.5)
    canvas.setStrokeColor(RULE)
    canvas.line(LEFT, _TOP, LEFT + WIDTH, _TOP)
    canvas.line(LEFT, _FOOTER_Y + 14, LEFT + WIDTH, _FOOTER_Y + 14)
    canvas.setFillColor(INK)
    canvas.setFont(BOLD, 8)
    canvas.drawString(LEFT, _FOOTER_Y + 4, DISCLAIMER)
    canvas.setFillColor(SOFT)
    canvas.setFont(REGULAR, 7.5)
    canvas.drawString(LEFT, _FOOTER_Y - 6, footer)
    canvas.drawRightString(LEFT + WIDTH, _FOOTER_Y + 4, page)
    canvas.restoreState()
