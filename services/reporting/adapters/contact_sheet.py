"""The key images as one PNG: a row per sequence, letters for the sides. Same pictures as in the PDF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import resources

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from services.reporting.adapters.pdf.pictures import composed
from services.reporting.adapters.pdf.words import modality_name
from services.reporting.domain.key_images import KeyImage

TILE_PIXELS = 420
GAP_PIXELS = 8
LETTER_PIXELS, CAPTION_PIXELS = 20, 15


def contact_sheet(images: Sequence[Sequence[KeyImage]]) -> bytes:
    """A PNG of all rows at one scale, black between them."""
    side_mm = max(max(image.grey.shape) * image.pixel_mm for row in images for image in row)
    tiles = [[_tile(image, side_mm) for image in row] for row in images]
    width = max(len(row) for row in tiles) * (TILE_PIXELS + GAP_PIXELS) - GAP_PIXELS
    height = len(tiles) * (TILE_PIXELS + GAP_PIXELS) - GAP_PIXELS
    sheet = Image.new("RGB", (width, height))
    for line, row in enumerate(tiles):
        for column, tile in enumerate(row):
            sheet.paste(tile, (column * (TILE_PIXELS + GAP_PIXELS), line * (TILE_PIXELS + GAP_PIXELS)))
    target = io.BytesIO()
    sheet.save(target, format="PNG", optimize=False)
    return target.getvalue()


def _tile(image: KeyImage, side_mm: float) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(composed(image, side_mm)))
    tile = picture.resize((TILE_PIXELS, TILE_PIXELS), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(tile)
    left, right = image.sides
    letters, caption = _font(LETTER_PIXELS), _font(CAPTION_PIXELS)
    draw.text((8, 4), left, font=letters, fill="white")
    draw.text((TILE_PIXELS - 8, 4), right, font=letters, fill="white", anchor="ra")
    words = f"{modality_name(image.modality)}, {image.plane.lower()}, {image.position}"
    draw.text((8, TILE_PIXELS - 6), words, font=caption, fill="white", anchor="ls")
    return tile


def _font(size: int) -> ImageFont.FreeTypeFont:
    data = (resources.files("font_source_sans_pro") / "files" / "SourceSansPro-Semibold.ttf").read_bytes()
    return ImageFont.truetype(io.BytesIO(data), size)
