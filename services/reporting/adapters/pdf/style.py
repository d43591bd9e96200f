"""Fonts, colours and measures of the PDF. Colours are of the Okabe-Ito palette, which colour-blind readers tell apart.

Source Sans Pro (SIL Open Font License) is embedded, so the page looks the same in every viewer and archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph

from services.core.contracts.enums import Completeness, Verdict
from services.core.imaging.labels import Label

REGULAR, BOLD = "GlioServe-Regular", "GlioServe-Bold"
_FILES = {REGULAR: "SourceSansPro-Regular.ttf", BOLD: "SourceSansPro-Semibold.ttf"}

INK, SOFT, RULE, SHADE = (HexColor(code) for code in ("#1b1f24", "#59636e", "#c9d1d9", "#f3f5f7"))
LABEL_RGB: Mapping[Label, tuple[int, int, int]] = MappingProxyType(
    {
        Label.NCR: (0xF0, 0xE4, 0x42),
        Label.SNFH: (0x56, 0xB4, 0xE9),
        Label.ET: (0xD5, 0x5E, 0x00),
        Label.RC: (0xCC, 0x79, 0xA7),
    }
)
_GREEN, _AMBER, _RED = HexColor("#007a5a"), HexColor("#b36b00"), HexColor("#b23a00")
COMPLETENESS_COLOUR = MappingProxyType(
    {Completeness.COMPLETE: _GREEN, Completeness.DEGRADED: _AMBER, Completeness.INSUFFICIENT: _RED}
)
VERDICT_COLOUR = MappingProxyType({Verdict.TRUSTED: _GREEN, Verdict.NEEDS_REVIEW: _RED})


def label_colour(label: Label) -> Color:
    """Colour of a label in overlay, legend and tables."""
    red, green, blue = LABEL_RGB[label]
    return Color(red / 255, green / 255, blue / 255)


def tint(colour: Color) -> Color:
    """A pale version for backgrounds."""
    share = 0.1
    return Color(*(1 - share * (1 - part) for part in (colour.red, colour.green, colour.blue)))


class Type:
    """Paragraphs in the report's type. Making one registers the fonts with reportlab, which keeps them by name."""

    def __init__(self) -> None:
        files = resources.files("font_source_sans_pro") / "files"
        self._glyphs: set[int] = set()
        for name, file in _FILES.items():
            with resources.as_file(files / file) as path:
                font = TTFont(name, str(path))
            pdfmetrics.registerFont(font)
            self._glyphs = set(font.face.charToGlyph)
        pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)
        body = ParagraphStyle("body", fontName=REGULAR, fontSize=9, leading=11.4, textColor=INK, splitLongWords=1)
        self._styles = {
            "body": body,
            "soft": ParagraphStyle("soft", parent=body, fontSize=8, leading=10, textColor=SOFT),
            "cell": ParagraphStyle("cell", parent=body, fontSize=8.5, leading=10.6),
            "cell-bold": ParagraphStyle("cell-bold", parent=body, fontSize=8.5, leading=10.6, fontName=BOLD),
            "cell-soft": ParagraphStyle("cell-soft", parent=body, fontSize=8.5, leading=10.6, textColor=SOFT),
            "code": ParagraphStyle("code", parent=body, fontSize=7.5, leading=10.6, textColor=SOFT, alignment=TA_RIGHT),
            "number": ParagraphStyle("number", parent=body, fontSize=8.5, leading=10.6, alignment=TA_RIGHT),
            "number-bold": ParagraphStyle(
                "number-bold", parent=body, fontSize=8.5, leading=10.6, alignment=TA_RIGHT, fontName=BOLD
            ),
            "head": ParagraphStyle("head", parent=body, fontSize=7.5, leading=9.5, textColor=SOFT, fontName=BOLD),
            "head-number": ParagraphStyle(
                "head-number", parent=body, fontSize=7.5, leading=9.5, textColor=SOFT, fontName=BOLD, alignment=TA_RIGHT
            ),
            "title": ParagraphStyle("title", parent=body, fontName=BOLD, fontSize=19, leading=23),
            "section": ParagraphStyle("section", parent=body, fontName=BOLD, fontSize=11, leading=14, spaceAfter=3),
            "state": ParagraphStyle("state", parent=body, fontName=BOLD, fontSize=13, leading=16),
        }

    def paragraph(self, text: str, style: str = "body", colour: Color | None = None) -> Any:
        """Plain text as a paragraph that wraps, breaks over-long words, and never fails on a character."""
        chosen = self._styles[style]
        if colour is not None:
            chosen = ParagraphStyle(f"{style}-coloured", parent=chosen, textColor=colour)
        return Paragraph(escape(self.printable(text)), chosen)

    def printable(self, text: str) -> str:
        """The text with what the font cannot draw replaced by a question mark."""
        return "".join(sign if ord(sign) in self._glyphs or sign == "\n" else "?" for sign in text)
