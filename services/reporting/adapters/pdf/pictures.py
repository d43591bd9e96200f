"""Key images as flowables: grey slice, coloured overlay with outline, letters for the sides, scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from reportlab.lib.colors import black, white
from reportlab.lib.utils import ImageReader
from reportlab.platypus import Flowable

from services.core.imaging.labels import Label
from services.reporting.adapters.pdf.style import BOLD, LABEL_RGB, REGULAR, SOFT, label_colour
from services.reporting.adapters.pdf.words import REGION_NAMES, modality_name
from services.reporting.domain.key_images import KeyImage

ZOOM = 3
FILL = 0.16
RIM_PIXELS = 2
SCALE_BAR_MM = 50.0
_GAP = 6.0
_CAPTION = 12.0

Rgb = NDArray[np.uint8]


def composed(image: KeyImage, side_mm: float) -> Rgb:
    """The slice on a black square of `side_mm`, enlarged, labels filled pale and outlined: (rows, columns, 3)."""
    side = round(side_mm / image.pixel_mm)
    grey = _enlarged(_centred(image.grey, side)).astype(np.float32)
    labels = _centred(image.labels, side)
    picture = np.repeat(grey[..., None], 3, axis=2)
    for label in (Label.RC, Label.SNFH, Label.NCR, Label.ET):
        inside = _enlarged((labels == label).astype(np.uint8) * 255) > 127
        colour = np.array(LABEL_RGB[label], dtype=np.float32)
        picture[inside] = (1 - FILL) * picture[inside] + FILL * colour
        picture[inside & ~_shrunk(inside, RIM_PIXELS)] = colour
    rgb: Rgb = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return rgb


class ImageRow(Flowable):  # type: ignore[misc]  # reportlab has no types
    """One sequence: its slices side by side with captions, all at the same scale."""

    def __init__(self, images: Sequence[KeyImage], width: float, side_mm: float) -> None:
        super().__init__()
        self._images = images
        self._side_mm = side_mm
        self._tile = (width - _GAP * (len(images) - 1)) / len(images)
        self.width, self.height = width, self._tile + _CAPTION + 2

    def wrap(self, _width: float, _height: float) -> tuple[float, float]:
        """Its fixed size, points."""
        return self.width, self.height

    def draw(self) -> None:
        """Called by reportlab with the canvas placed at the lower left corner."""
        for number, image in enumerate(self._images):
            self._draw_tile(image, number * (self._tile + _GAP))

    def _draw_tile(self, image: KeyImage, x: float) -> None:
        tile, y = self._tile, _CAPTION
        reader = ImageReader(Image.fromarray(composed(image, self._side_mm)))
        self.canv.drawImage(reader, x, y, tile, tile)
        left, right = image.sides
        top = y + tile - 13
        self._letter(left, x + 5, top)
        self._letter(right, x + tile - 5 - self.canv.stringWidth(right, BOLD, 10), top)
        bar = SCALE_BAR_MM / self._side_mm * tile
        self.canv.setStrokeColor(white)
        self.canv.setLineWidth(1.2)
        self.canv.line(x + tile - 6 - bar, y + 7, x + tile - 6, y + 7)
        self._letter(f"{SCALE_BAR_MM / 10:.0f} cm", x + tile - 6 - bar, y + 10, size=6.5)
        self.canv.setFillColor(SOFT)
        self.canv.setFont(REGULAR, 7.5)
        caption = f"{modality_name(image.modality)}, {image.plane.lower()}, {image.position}"
        self.canv.drawString(x, 3, caption)

    def _letter(self, text: str, x: float, y: float, size: float = 10) -> None:
        for dx, dy, colour in ((0.6, -0.6, black), (0, 0, white)):
            self.canv.setFillColor(colour)
            self.canv.setFont(BOLD, size)
            self.canv.drawString(x + dx, y + dy, text)


class Legend(Flowable):  # type: ignore[misc]  # reportlab has no types
    """The overlay's colours with their names, on one line."""

    def __init__(self, labels: Sequence[Label], width: float) -> None:
        super().__init__()
        self._labels = labels
        self.width, self.height = width, 13.0

    def wrap(self, _width: float, _height: float) -> tuple[float, float]:
        """Its fixed size, points."""
        return self.width, self.height

    def draw(self) -> None:
        """Called by reportlab with the canvas placed at the lower left corner."""
        x = 0.0
        for label in self._labels:
            chip(self.canv, label, x, 3)
            self.canv.setFillColor(SOFT)
            self.canv.setFont(REGULAR, 7.5)
            self.canv.drawString(x + 11, 3.6, REGION_NAMES[label.name])
            x += 11 + self.canv.stringWidth(REGION_NAMES[label.name], REGULAR, 7.5) + 14


class Chip(Flowable):  # type: ignore[misc]  # reportlab has no types
    """A small square in a label's colour."""

    def __init__(self, label: Label) -> None:
        super().__init__()
        self._label = label
        self.width = self.height = 8.0

    def wrap(self, _width: float, _height: float) -> tuple[float, float]:
        """Its fixed size, points."""
        return self.width, self.height

    def draw(self) -> None:
        """Called by reportlab with the canvas placed at the lower left corner."""
        chip(self.canv, self._label, 0, 0)


def chip(canvas: Any, label: Label, x: float, y: float) -> None:
    """Draws a square of 8 points in the label's colour."""
    canvas.setFillColor(label_colour(label))
    canvas.setStrokeColor(SOFT)
    canvas.setLineWidth(0.4)
    canvas.rect(x, y, 8, 8, stroke=1, fill=1)


def _centred(slice_: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The slice in the middle of a square of zeros; what is larger than the square is cut evenly."""
    square = np.zeros((side, side), dtype=np.uint8)
    cut = [max(0, (extent - side) // 2) for extent in slice_.shape]
    shown = slice_[cut[0] : cut[0] + side, cut[1] : cut[1] + side]
    top, left = ((side - extent) // 2 for extent in shown.shape)
    square[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return square


def _enlarged(slice_: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = slice_.shape
    return np.asarray(Image.fromarray(slice_).resize((columns * ZOOM, rows * ZOOM), Image.Resampling.BICUBIC))


def _shrunk(inside: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The area without a rim of so many pixels (4-neighbourhood)."""
    for _ in range(pixels):
        padded = np.pad(inside, 1)
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside
