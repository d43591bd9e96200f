"""The prepared study as tensors: slot order, availability, measured and unmeasured quality, geometry checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Permanent
from services.core.contracts.facts import PrepareFacts
from services.core.imaging.codec import decode_volume
from services.core.imaging.volume import Volume
from services.core.runtime.stage import read_manifest
from services.core.runtime.stage_inputs import facts_of
from services.core.storage.local import LocalBlobStore
from services.fusion_segmentation.domain.box import Window
from services.fusion_segmentation.domain.study import PreparedStudy, assembled, coarse_inputs, fine_inputs
from tests.unit.fusion_segmentation.prepared import Spec, store_prepared, study_ref

pytestmark = pytest.mark.unit

T1C, T2F = 1, 3


@pytest.fixture
def parts(tmp_path: Path) -> tuple[PrepareFacts, Volume, dict[Modality, Volume]]:
    blobs = LocalBlobStore(tmp_path)
    prepared = store_prepared(blobs, study_ref(), Spec(slots=(Modality.T2F, Modality.T1C)))
    manifest = read_manifest(blobs, prepared)
    volumes = {name: decode_volume(blobs.read(ref)) for name, ref in manifest.outputs.items()}
    brain = volumes.pop("brain_mask")
    return facts_of(PrepareFacts, manifest), brain, {Modality(name.partition("/")[2]): v for name, v in volumes.items()}


@pytest.fixture
def study(parts: tuple[PrepareFacts, Volume, dict[Modality, Volume]]) -> PreparedStudy:
    return assembled(*parts)


def test_sequences_stand_in_their_slots_whatever_order_they_came_in(study: PreparedStudy) -> None:
    inputs = coarse_inputs(study)
    assert study.used == (Modality.T1C, Modality.T2F)
    np.testing.assert_array_equal(inputs["available"], [[0, 1, 0, 1, 0, 0, 0, 0, 0, 0]])
    assert inputs["image"][0, T1C].max() == 3.0
    assert inputs["image"][0, T2F].max() == 2.0
    assert not inputs["image"][0, [0, 2, *range(4, 10)]].any()


def test_quality_is_what_was_measured_and_neutral_where_nothing_was(study: PreparedStudy) -> None:
    quality = coarse_inputs(study)["quality"]
    np.testing.assert_allclose(quality[0, T1C], [3.0, 0.1, 3.0])
    assert not quality[0, [0, 2, *range(4, 10)]].any()


def test_the_fine_model_sees_the_window_of_the_same_volumes(study: PreparedStudy) -> None:
    window = Window((10, 20, 30), (58, 68, 78))
    coarse = np.zeros((5, 96, 96, 96), np.float16)
    inputs = fine_inputs(study, window, coarse)
    np.testing.assert_array_equal(inputs["image"][0, T1C], study.volumes[Modality.T1C].data[20:116, 40:136, 60:156])
    np.testing.assert_array_equal(inputs["available"], [[0, 1, 0, 1]])


def test_a_volume_off_the_canonical_grid_is_a_broken_contract(
    parts: tuple[PrepareFacts, Volume, dict[Modality, Volume]],
) -> None:
    facts, brain, volumes = parts
    moved = brain.affine.copy()
    moved[0, 3] += 1
    shifted = Volume(data=brain.data, affine=moved, modality="brain_mask", units="label")
    with pytest.raises(Permanent) as caught:
        assembled(facts, shifted, volumes)
    assert caught.value.code == "NOT_CANONICAL"
