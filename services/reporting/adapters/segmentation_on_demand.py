"""The writer of DICOM segmentations, loaded with the first study that needs it.

highdicom and the dictionaries behind it take a second of processor time to import: no start should wait for them.
"""

from __future__ import annotations

from services.reporting.domain.outputs import SegmentationSource, SegmentationWriter


class SegmentationOnDemand:
    """Adapter of `domain.outputs.SegmentationWriter`; the arguments are those of `HighdicomWriter`."""

    def __init__(self, *, settings_hash: str, writer: str, series_number: int) -> None:
        self._settings_hash = settings_hash
        self._writer = writer
        self._series_number = series_number
        self._loaded: SegmentationWriter | None = None

    def write(self, source: SegmentationSource) -> bytes:
        """See the port."""
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded.write(source)

    def _load(self) -> SegmentationWriter:
        from services.reporting.adapters.segmentation import HighdicomWriter

        return HighdicomWriter(
            settings_hash=self._settings_hash, writer=self._writer, series_number=self._series_number
        )
