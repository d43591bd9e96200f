"""The sections of the report, each a function from the result to flowables. Texts wrap, tables break over pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reportlab.platypus import KeepTogether, Spacer, Table, TableStyle

from services.core.contracts.enums import Completeness, Verdict
from services.core.contracts.facts import CompareFacts, Decision, MarkerFacts
from services.core.contracts.result_model import Sequence as ResultSequence
from services.core.contracts.result_model import StudyResult
from services.core.imaging.labels import Label
from services.reporting.adapters.pdf import words
from services.reporting.adapters.pdf.page import WIDTH
from services.reporting.adapters.pdf.pictures import Chip, ImageRow, Legend
from services.reporting.adapters.pdf.style import (
    COMPLETENESS_COLOUR,
    REGULAR,
    RULE,
    SHADE,
    SOFT,
    VERDICT_COLOUR,
    Type,
    tint,
)
from services.reporting.domain.key_images import KeyImage

_SPACE = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: its head, its width in points, and whether it holds numbers (aligned right)."""

    head: str
    width: float
    numeric: bool = False


class Sections:
    """All sections in one type."""

    def __init__(self, type_: Type) -> None:
        self._type = type_

    def heading(self, result: StudyResult) -> list[Any]:
        """Title and identity of the study, by pseudonym."""
        p = self._type.paragraph
        reference = words.modality_name(result.reference) if result.reference else "none"
        cells = [
            ("Patient (pseudonym)", result.patient),
            ("Acquired", words.moment(result.acquired_at)),
            ("Reference sequence", reference),
            ("Study", result.study),
            ("Study version", str(result.version)),
            ("Report revision", str(result.revision)),
        ]
        boxes = [[p(head, "head"), p(value, "cell")] for head, value in cells]
        grid = Table([boxes[:3], boxes[3:]], colWidths=[WIDTH - 230, 115, 115], style=_plain(bottom=3))
        return [p("Glioma MRI report", "title"), Spacer(0, 3), grid, Spacer(0, 6)]

    def banner(self, result: StudyResult) -> list[Any]:
        """Completeness and verdict, by word and colour."""
        states = [
            (*words.COMPLETENESS[result.completeness], COMPLETENESS_COLOUR[result.completeness]),
            (*words.VERDICTS[result.verdict], VERDICT_COLOUR[result.verdict]),
        ]
        if result.volumes_ml is None and result.verdict is Verdict.TRUSTED:
            states[1] = (states[1][0], words.NOTHING_TO_CHECK, SOFT)
        gap, bar = 8.0, 4.0
        box = (WIDTH - gap) / 2 - bar
        boxes = [
            [self._type.paragraph(word, "state", colour), self._type.paragraph(text, "cell")]
            for word, text, colour in states
        ]
        style = TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("FONTNAME", (0, 0), (-1, -1), REGULAR),
                ("LEFTPADDING", (0, 0), (-1, -1), 8),
            ]
        )
        for column, (_, _, colour) in zip((0, 3), states, strict=True):
            style.add("BACKGROUND", (column, 0), (column, 0), colour)
            style.add("BACKGROUND", (column + 1, 0), (column + 1, 0), tint(colour))
        style.add("TOPPADDING", (0, 0), (-1, -1), 5)
        style.add("BOTTOMPADDING", (0, 0), (-1, -1), 7)
        cells = [["", boxes[0], "", "", boxes[1]]]
        return [Table(cells, colWidths=[bar, box, gap, bar, box], style=style), Spacer(0, _SPACE)]

    def reasons(self, result: StudyResult) -> list[Any]:
        """Why the result is as it is, in the order of the stages."""
        if not result.reasons:
            return []
        title = "Remarks" if result.completeness is Completeness.COMPLETE else "Reasons"
        rows = [[(reason.message, "cell"), (reason.code, "code")] for reason in result.reasons]
        columns = (Column(head="", width=WIDTH - 150), Column(head="", width=150))
        return self._section(title, [self._table(columns, rows)])

    def volumes(self, result: StudyResult) -> list[Any]:
        """Regions and their parts, ml, side by side."""
        if result.volumes_ml is None:
            return []
        gap = 16.0
        half = (WIDTH - gap) / 2
        left, right = (self._volume_table(result, names, half) for names in (("WT", "TC", "ET"), ("NCR", "SNFH", "RC")))
        both = Table([[left, "", right]], colWidths=[half, gap, half], style=_plain())
        note = "Counted on the reference sequence's own grid: number of voxels times voxel size."
        if result.mean_vacuity is not None:
            note += f" Mean uncertainty of the segmentation: {result.mean_vacuity:.2f} (0 certain, 1 unknown)."
        return self._section("Tumour volumes", [both, Spacer(0, 3), self._type.paragraph(note, "soft")])

    def pictures(self, images: Sequence[Sequence[KeyImage]]) -> list[Any]:
        """One row of slices per sequence, at one scale."""
        if not images:
            return []
        side_mm = max(max(image.grey.shape) * image.pixel_mm for row in images for image in row)
        rows: list[Any] = [ImageRow(row, WIDTH, side_mm) for row in images]
        present = {int(value) for row in images for image in row for value in set(image.labels.flat)}
        shown = [label for label in (Label.ET, Label.NCR, Label.SNFH, Label.RC) if label in present]
        note = "Radiological convention: the patient's right (R) is on the left of the picture. Not for measuring."
        if not shown:
            note += " No tumour was segmented; the planes run through the middle of the brain."
        last = [*([Legend(shown, WIDTH)] if shown else []), self._type.paragraph(note, "soft")]
        first = KeepTogether([self._type.paragraph("Key images", "section"), rows[0]])
        return [first, *rows[1:-1], KeepTogether([*rows[1:][-1:], *last]), Spacer(0, _SPACE)]

    def markers(self, result: StudyResult) -> list[Any]:
        """Markers with their abstentions, and the WHO wording that they allow."""
        if result.volumes_ml is None or not result.markers:
            return []
        columns = (
            Column(head="Marker", width=118),
            Column(head="Decision", width=66),
            Column(head="Probability", width=56, numeric=True),
            Column(head="", width=8),
            Column(head="Statement", width=WIDTH - 248),
        )
        rows = [self._marker_row(marker) for marker in result.markers]
        parts: list[Any] = [self._table(columns, rows)]
        if result.who_2021:
            parts += [Spacer(0, 4), self._type.paragraph(f"WHO 2021: {result.who_2021}")]
        note = "Estimated from images alone; a probability is not a test result. Tissue decides."
        return self._section("Molecular markers", [*parts, Spacer(0, 2), self._type.paragraph(note, "soft")])

    def comparison(self, result: StudyResult) -> list[Any]:
        """Then and now."""
        if result.comparison is None:
            return []
        facts = result.comparison
        parts: list[Any] = [self._type.paragraph(facts.statement)]
        if facts.changes:
            parts += [Spacer(0, 4), self._change_table(facts, words.day(result.acquired_at))]
        return self._section("Comparison over time", parts)

    def sequences(self, result: StudyResult) -> list[Any]:
        """What was received, what was used, and how good it is."""
        if not result.sequences:
            return []
        measured = any(item.log_snr is not None or item.spacing_mm for item in result.sequences)
        quality = (
            Column(head="Voxel, mm", width=86, numeric=True),
            Column(head="Slice, mm", width=46, numeric=True),
            Column(head="log SNR", width=42, numeric=True),
            Column(head="Motion", width=40, numeric=True),
            Column(head="", width=8),
        )
        numbers = quality if measured else ()
        rest = WIDTH - 74 - 32 - sum(column.width for column in numbers)
        columns = (
            Column(head="Sequence", width=74),
            Column(head="Used", width=32),
            *numbers,
            Column(head="Series and reason", width=rest),
        )
        rows = [self._sequence_row(item, measured=measured) for item in result.sequences]
        note = "Motion: 0 none to 1 severe. Log SNR: natural logarithm of the signal-to-noise ratio."
        notes = [Spacer(0, 2), self._type.paragraph(note, "soft")] if measured else []
        return self._section("Sequences", [self._table(columns, rows), *notes])

    def origin(self, result: StudyResult) -> list[Any]:
        """Models with versions and digests, and the digest of everything the result rests on."""
        columns = (
            Column(head="Model", width=120),
            Column(head="Version", width=50),
            Column(head="Digest", width=WIDTH - 170),
        )
        rows = [[(model.name, "cell"), (model.version, "cell"), (model.digest, "cell-soft")] for model in result.models]
        parts: list[Any] = [self._table(columns, rows), Spacer(0, 4)] if rows else []
        lines = [f"Provenance digest: {result.lineage or 'not available'}"]
        if result.predecessor:
            lines.append(f"This revision replaces the report of run {result.predecessor}.")
        parts += [self._type.paragraph(line, "soft") for line in lines]
        return self._section("Models and provenance", parts)

    def _volume_table(self, result: StudyResult, names: Iterable[str], width: float) -> Any:
        volumes = result.volumes_ml or {}
        columns = (
            Column(head="", width=14),
            Column(head="Region", width=width - 14 - 42),
            Column(head="ml", width=42, numeric=True),
        )
        rows: list[list[Any]] = []
        for name in names:
            mark = Chip(Label[name]) if name in Label.__members__ else ""
            text = [
                self._type.paragraph(words.REGION_NAMES[name], "cell-bold"),
                self._type.paragraph(words.REGION_PARTS[name], "soft"),
            ]
            value = words.millilitres(volumes[name]) if name in volumes else words.DASH
            rows.append([mark, text, (value, "number-bold")])
        return self._table(columns, rows)

    def _change_table(self, facts: CompareFacts, now: str) -> Any:
        columns = (
            Column(head="Region", width=WIDTH - 340),
            Column(head=f"{words.day(facts.prior_acquired_at)}, ml", width=95, numeric=True),
            Column(head=f"{now}, ml", width=95, numeric=True),
            Column(head="Change, ml", width=75, numeric=True),
            Column(head="Change, %", width=75, numeric=True),
        )
        rows = [
            [
                (words.REGION_NAMES.get(change.region, change.region), "cell-bold"),
                (words.millilitres(change.prior_ml), "number"),
                (words.millilitres(change.current_ml), "number"),
                (words.signed(change.current_ml - change.prior_ml, 1), "number"),
                (
                    words.DASH if change.change_percent is None else words.signed(change.change_percent, 0),
                    "number-bold",
                ),
            ]
            for change in facts.changes
        ]
        return self._table(columns, rows)

    def _marker_row(self, marker: MarkerFacts) -> list[Any]:
        decided = marker.decision in {Decision.POSITIVE, Decision.NEGATIVE}
        number = marker.probability if decided else None  # beside an abstention it would be read as an answer
        probability = words.DASH if number is None else f"{100 * number:.0f} %"
        return [
            (words.MARKER_NAMES.get(marker.marker, marker.marker), "cell-bold"),
            (words.DECISIONS[marker.decision], "cell-bold" if decided else "cell-soft"),
            (probability, "number"),
            "",
            (marker.statement, "cell"),
        ]

    def _sequence_row(self, item: ResultSequence, *, measured: bool) -> list[Any]:
        spacing = " \u00d7 ".join(f"{value:.2f}" for value in item.spacing_mm) if item.spacing_mm else words.DASH
        numbers: list[Any] = [
            (spacing, "number"),
            (words.number(item.slice_thickness_mm, 1), "number"),
            (words.number(item.log_snr, 1), "number"),
            (words.number(item.motion, 2), "number"),
            "",
        ]
        return [
            (words.modality_name(item.modality), "cell-bold" if item.used else "cell-soft"),
            ("yes" if item.used else "no", "cell" if item.used else "cell-soft"),
            *(numbers if measured else []),
            [self._type.paragraph(item.reason, "cell"), self._type.paragraph(item.series, "soft")],
        ]

    def _table(self, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> Any:
        """Cells are (text, style), or flowables as they are."""
        head = [
            self._type.paragraph(column.head, "head-number" if column.numeric else "head") if column.head else ""
            for column in columns
        ]
        body = [[self._type.paragraph(*cell) if isinstance(cell, tuple) else cell for cell in row] for row in rows]
        named = any(column.head for column in columns)
        style = TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("FONTNAME", (0, 0), (-1, -1), REGULAR),
                *([("BACKGROUND", (0, 0), (-1, 0), SHADE)] if named else [("LINEABOVE", (0, 0), (-1, 0), 0.4, RULE)]),
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
                ("LEFTPADDING", (0, 0), (-1, -1), 4),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                ("TOPPADDING", (0, 0), (-1, -1), 2.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
            ]
        )
        return Table(
            [*([head] if named else []), *body],
            colWidths=[column.width for column in columns],
            style=style,
            repeatRows=1 if named else 0,
            splitInRow=1,
        )

    def _section(self, title: str, parts: list[Any]) -> list[Any]:
        heading = self._type.paragraph(title, "section")
        return [KeepTogether([heading, *parts]), Spacer(0, _SPACE)]


def _plain(bottom: float = 0) -> TableStyle:
    return TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("FONTNAME", (0, 0), (-1, -1), REGULAR),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 0),
            ("BOTTOMPADDING", (0, 0), (-1, -1), bottom),
        ]
    )
