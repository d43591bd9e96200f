"""A result as an A4 document: the sections in the reader's order."""

from __future__ import annotations

from collections.abc import Sequence

from services.core.contracts.result_model import StudyResult
from services.reporting.adapters.pdf.page import document
from services.reporting.adapters.pdf.sections import Sections
from services.reporting.adapters.pdf.style import Type
from services.reporting.domain.key_images import KeyImage


class ReportlabRenderer:
    """Renders with reportlab; needs no system library and no system font."""

    def __init__(self) -> None:
        self._sections = Sections(Type())

    def render(self, result: StudyResult, images: Sequence[Sequence[KeyImage]]) -> bytes:
        """The PDF. It opens with what the result is worth, then its numbers, then what they rest on."""
        make = self._sections
        story = [
            *make.heading(result),
            *make.banner(result),
            *make.reasons(result),
            *make.volumes(result),
            *make.pictures(images),
            *make.markers(result),
            *make.comparison(result),
            *make.sequences(result),
            *make.origin(result),
        ]
        footer = f"GlioServe. Study {result.study}, version {result.version}, revision {result.revision}"
        return document(story, title="Glioma MRI report", footer=footer)
