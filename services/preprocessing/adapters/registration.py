"""Rigid registration by elastix: mutual information on random samples, first at 2 mm, then on the voxels themselves.

Why elastix and why these steps: docs/adr/0005-registration-package.md.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk  # noqa: N813

from services.core.contracts.errors import Refused
from services.core.imaging.volume import Affine, Volume
from services.preprocessing.adapters.itk import head_of, moved, ras_matrix, shrunk, to_itk

COARSE_MM, FINE_MM = 2.0, 1.0
_SEED = "20261"


class ElastixRegistration:
    """The port `handlers.Registration`. One registration at a time in a process: ITK uses all its threads for it."""

    def __init__(self, threads: int, scratch: Path) -> None:
        self._threads = threads
        self._scratch = scratch
        self._one = threading.Lock()

    def align(self, fixed: Volume, moving: Volume, start: Affine, pulse: Callable[[], None]) -> Affine:
        """Rigid 4x4 from RAS mm of `fixed` to RAS mm of `moving`, found from `start` on. Calls `pulse` between steps.

        Raises Refused (REGISTRATION_FAILED) when elastix gives up, for example on images that do not overlap.
        """
        fixed_image, moving_image = head_of(fixed), head_of(moving)
        pulse()
        coarse = self._step(shrunk(fixed_image, COARSE_MM), shrunk(moving_image, COARSE_MM), start, _COARSE)
        pulse()
        fine = self._step(shrunk(fixed_image, FINE_MM), shrunk(moving_image, FINE_MM), coarse, _FINE)
        pulse()
        return fine

    def align_coarsely(self, fixed: Volume, moving: Volume, start: Affine) -> Affine:
        """The first step of `align` alone, 0.4 s of CPU: within 0.2 mm on phantoms. Raises as `align`."""
        images = [shrunk(to_itk(volume.data, volume.affine), COARSE_MM) for volume in (fixed, moving)]
        return self._step(images[0], images[1], start, _COARSE)

    def align_finely(self, fixed: Volume, moving: Volume, start: Affine) -> Affine:
        """The second step of `align` alone, from a start within a few mm. Raises as `align`."""
        images = [shrunk(head_of(volume), FINE_MM) for volume in (fixed, moving)]
        return self._step(images[0], images[1], start, _FINE)

    def _step(self, fixed: sitk.Image, moving: sitk.Image, start: Affine, steps: dict[str, list[str]]) -> Affine:
        """One elastix run. The start is put into the moving image's header, so that elastix begins at identity."""
        search = sitk.ElastixImageFilter()
        search.LogToConsoleOff()
        search.LogToFileOff()
        search.SetNumberOfThreads(self._threads)
        search.SetFixedImage(fixed)
        search.SetMovingImage(moved(moving, np.linalg.inv(start).astype(np.float64)))
        search.SetParameterMap(_parameters(steps))
        try:
            with self._one, _quiet_stdout(), self._output_folder() as folder:
                search.SetOutputDirectory(folder)
                search.Execute()
        except RuntimeError as error:
            raise Refused("REGISTRATION_FAILED", "the registration found no transform") from error
        found: Affine = start @ _found(search.GetTransformParameterMap()[0])
        return found

    @contextmanager
    def _output_folder(self) -> Iterator[str]:
        """Elastix always writes its result there; the image, which nobody reads, goes to the null device."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self._scratch, prefix="elastix-") as folder:
            Path(folder, "result.0.nii").symlink_to(os.devnull)
            yield folder


_COARSE = {"ImagePyramidSchedule": ["2"] * 3 + ["1"] * 3, "MaximumNumberOfIterations": ["150"], "Samples": ["2000"]}
_FINE = {"ImagePyramidSchedule": ["1"] * 3, "MaximumNumberOfIterations": ["60"], "Samples": ["4000"]}


def _parameters(steps: dict[str, list[str]]) -> sitk.ParameterMap:
    levels = len(steps["ImagePyramidSchedule"]) // 3
    parameters: sitk.ParameterMap = sitk.GetDefaultParameterMap("rigid", levels)
    chosen = {
        "ImagePyramidSchedule": steps["ImagePyramidSchedule"],
        "MaximumNumberOfIterations": steps["MaximumNumberOfIterations"],
        "NumberOfSpatialSamples": steps["Samples"],
        "FixedImagePyramid": ["FixedShrinkingImagePyramid"],
        "MovingImagePyramid": ["MovingShrinkingImagePyramid"],
        "NumberOfHistogramBins": ["32"],
        "ImageSampler": ["RandomCoordinate"],
        "NewSamplesEveryIteration": ["true"],
        "RandomSeed": [_SEED],
        "Interpolator": ["LinearInterpolator"],
        "AutomaticTransformInitialization": ["false"],
        "AutomaticScalesEstimation": ["true"],
        "ResultImageFormat": ["nii"],
        "ResultImagePixelType": ["unsigned char"],
        "ResampleInterpolator": ["FinalNearestNeighborInterpolator"],  # elastix resamples in any case
        "FinalBSplineInterpolationOrder": ["0"],
    }
    for name, values in chosen.items():
        parameters[name] = values
    return parameters


def _found(result: sitk.ParameterMap) -> Affine:
    angles_and_shift = [float(value) for value in result["TransformParameters"]]
    transform = sitk.Euler3DTransform()
    transform.SetComputeZYX(result["ComputeZYX"][0] == "true")
    transform.SetRotation(*angles_and_shift[:3])
    centre = np.array([float(value) for value in result["CenterOfRotationPoint"]])
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    return ras_matrix(rotation, np.array(angles_and_shift[3:]), centre)


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """The library prints to standard output whatever it is told; logs go to standard error and are not touched."""
    kept = os.dup(1)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(sink)
