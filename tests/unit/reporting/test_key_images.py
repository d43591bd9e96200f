from __future__ import annotations

import numpy as np
import pytest

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Permanent
from services.core.imaging.labels import Label
from services.core.imaging.volume import Volume
from services.reporting.adapters.pdf.pictures import composed
from services.reporting.adapters.pdf.style import LABEL_RGB
from services.reporting.domain.key_images import KeyImage, Prepared, key_images
from tests.builders import Head

pytestmark = pytest.mark.unit


def prepared(head: Head, *modalities: Modality) -> Prepared:
    return Prepared(
        sequences=tuple(head.sequence(m) for m in modalities), brain=head.brain(), mask=head.mask(head.canonical)
    )


def rows(image: KeyImage) -> float:
    """Centre of the lesion on the picture: row as a share of the height, 0 at the top."""
    return float(np.argwhere(image.labels > 0)[:, 0].mean() / image.labels.shape[0])


def columns(image: KeyImage) -> float:
    """The same along the width, 0 at the left."""
    return float(np.argwhere(image.labels > 0)[:, 1].mean() / image.labels.shape[1])


def test_a_lesion_on_the_right_in_front_and_on_top_is_shown_in_radiological_convention() -> None:
    head = Head(centre=(30.0, 40.0, 22.0), radius_mm=20.0)
    ((axial, coronal, sagittal),) = key_images(prepared(head, Modality.T1C), head.centre)
    assert (axial.plane, axial.sides, axial.position) == ("Axial", ("R", "L"), "S 22 mm")
    assert columns(axial) < 0.5  # the patient's right is on the left of the picture
    assert rows(axial) < 0.5  # the front is up
    assert coronal.sides == ("R", "L")
    assert columns(coronal) < 0.5
    assert rows(coronal) < 0.5  # the head is up
    assert sagittal.sides == ("A", "P")
    assert columns(sagittal) < 0.5  # the front is on the left
    assert rows(sagittal) < 0.5


def test_a_lesion_on_the_left_behind_and_below_is_on_the_other_sides() -> None:
    head = Head(centre=(-30.0, -40.0, -20.0), radius_mm=20.0)
    ((axial, coronal, sagittal),) = key_images(prepared(head, Modality.T2F), head.centre)
    assert columns(axial) > 0.5
    assert rows(axial) > 0.5
    assert columns(coronal) > 0.5
    assert rows(coronal) > 0.5
    assert columns(sagittal) > 0.5
    assert rows(sagittal) > 0.5
    assert (axial.position[0], coronal.position[0], sagittal.position[0]) == ("I", "P", "L")


def test_t1c_and_t2f_are_shown_where_they_exist() -> None:
    shown = key_images(prepared(Head(), Modality.T1N, Modality.T2W, Modality.T2F, Modality.T1C), None)
    assert [row[0].modality for row in shown] == [Modality.T1C, Modality.T2F]
    fallback = key_images(prepared(Head(), Modality.T2W, Modality.T1N), None)
    assert [row[0].modality for row in fallback] == [Modality.T1N, Modality.T2W]


def test_planes_that_would_miss_the_tumour_move_to_where_most_of_it_lies() -> None:
    head = Head(centre=(30.0, 40.0, 20.0), radius_mm=15.0)
    ((axial, coronal, sagittal),) = key_images(prepared(head, Modality.T1C), (-50.0, -60.0, -40.0))
    assert all(image.labels.any() for image in (axial, coronal, sagittal))


def test_without_a_tumour_the_planes_run_through_the_middle_of_the_brain() -> None:
    ((axial, *_),) = key_images(prepared(Head(radius_mm=0.0), Modality.T1C), None)
    assert not axial.labels.any()
    assert np.ptp(axial.grey) > 200


def test_the_window_comes_from_the_brain_and_not_from_what_lies_outside() -> None:
    volume = Head().sequence(Modality.T1C)
    bright = volume.data.copy()
    bright[0, 0, 0] = 60000.0
    head = Head()
    usual = key_images(prepared(head, Modality.T1C), head.centre)[0][0]
    odd = Prepared(sequences=(volume.with_data(bright),), brain=head.brain(), mask=head.mask(head.canonical))
    np.testing.assert_array_equal(key_images(odd, head.centre)[0][0].grey, usual.grey)


def test_volumes_on_different_or_oblique_grids_are_refused() -> None:
    head = Head()
    moved = head.canonical.affine.copy()
    moved[0, 3] += 1.0
    brain = head.brain()
    other = Volume(data=brain.data, affine=moved, modality="brain_mask", units="1")
    with pytest.raises(Permanent) as caught:
        key_images(Prepared(sequences=(), brain=other, mask=head.mask(head.canonical)), None)
    assert caught.value.code == "GRIDS_DIFFER"
    flipped = head.canonical.affine.copy()
    flipped[0, 0] *= -1
    turned = Volume(data=brain.data, affine=flipped, modality="mask", units="label")
    with pytest.raises(Permanent) as caught:
        key_images(Prepared(sequences=(), brain=turned, mask=turned), None)
    assert caught.value.code == "NOT_CANONICAL"


def test_a_label_is_outlined_in_its_colour_and_its_inside_stays_readable() -> None:
    labels = np.zeros((40, 30), np.uint8)
    labels[10:30, 8:24] = Label.ET
    grey = np.full((40, 30), 100, np.uint8)
    image = KeyImage(
        modality=Modality.T1C,
        plane="Axial",
        position="S 0 mm",
        sides=("R", "L"),
        grey=grey,
        labels=labels,
        pixel_mm=1.0,
    )
    picture = composed(image, 40.0)
    assert picture.shape == (120, 120, 3)
    assert (picture.reshape(-1, 3) == LABEL_RGB[Label.ET]).all(axis=1).any()
    middle = picture[60, 60].astype(int)
    assert abs(middle - 100).max() < 40
    assert (picture[60, 2] == 0).all()  # beside the slice the square is black
