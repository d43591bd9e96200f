"""N4 bias correction (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908) on a coarse grid: the field is smooth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk  # noqa: N813

from services.core.imaging.volume import Volume
from services.preprocessing.adapters.itk import shrunk, to_itk

MAX_LOG_RANGE = 1.4
"""A field beyond +-0.7 around its middle is no coil profile: the correction is then left out."""


class N4:
    """The port `handlers.BiasCorrection`."""

    def __init__(self, grid_mm: float, iterations: Sequence[int], threads: int) -> None:
        self._grid_mm = grid_mm
        self._iterations = list(iterations)
        self._threads = threads

    def correct(self, volume: Volume, brain: Volume) -> Volume | None:
        """The volume divided by its bias field inside `brain` (same grid); None when no plausible field was found."""
        image = to_itk(volume.data, volume.affine)
        small = shrunk(image, self._grid_mm)
        inside = shrunk(to_itk(brain.data, brain.affine), self._grid_mm)
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        n4.SetNumberOfThreads(self._threads)
        n4.SetMaximumNumberOfIterations(self._iterations)
        try:
            n4.Execute(sitk.Clamp(small, lowerBound=1e-3), inside > 0.5)
        except RuntimeError:
            return None
        field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
        values = field[brain.data > 0]
        if not np.isfinite(values).all() or float(np.ptp(np.percentile(values, (1, 99)))) > MAX_LOG_RANGE:
            return None
        return volume.with_data(volume.data / np.exp(field - float(values.mean())))
