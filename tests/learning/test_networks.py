from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make learning` makes its environment")

from services.learning.network import (  # noqa: E402
    CLASSES,
    FINE_SLOTS,
    MARKERS,
    QUALITY,
    SLOTS,
    CoarseNet,
    CoarseWidths,
    FineNet,
    FusionMode,
    Gate,
)

pytestmark = pytest.mark.unit

SPACE = (16, 16, 16)
TINY = CoarseWidths(stem=2, levels=(4, 6, 8))


def inputs(slots: int = SLOTS, given: int = 4) -> tuple[Any, Any, Any]:
    draw = torch.Generator().manual_seed(3)
    image = torch.randn((1, slots, *SPACE), generator=draw)
    available = torch.zeros(1, slots)
    available[:, :given] = 1.0
    return image, available, torch.tensor([3.0, 0.1, 1.0]).expand(1, slots, QUALITY).clone()


@pytest.fixture
def net() -> CoarseNet:
    torch.manual_seed(0)
    return CoarseNet(TINY).eval()


@torch.no_grad()
def test_the_coarse_network_answers_as_the_contract_says(net: CoarseNet) -> None:
    evidence, markers, gates = net(*inputs())
    assert evidence.shape == (1, CLASSES, *SPACE)
    assert markers.shape == (1, MARKERS, 2)
    assert gates.shape == (1, SLOTS)
    assert float(evidence.min()) >= 0.0


@torch.no_grad()
def test_markers_have_no_evidence_at_all_until_they_are_trained(net: CoarseNet) -> None:
    _, markers, _ = net(*inputs())
    assert not markers.any()


@torch.no_grad()
@pytest.mark.parametrize("mode", list(FusionMode))
@pytest.mark.parametrize("attention", [True, False])
def test_every_fusion_answers_as_the_contract_says_and_ignores_missing_slots(mode: FusionMode, attention: bool) -> None:
    torch.manual_seed(0)
    net = CoarseNet(TINY, mode, attention=attention).eval()
    image, available, quality = inputs(given=3)
    evidence, markers, gates = net(image, available, quality)
    assert evidence.shape == (1, CLASSES, *SPACE)
    assert markers.shape == (1, MARKERS, 2)
    assert float(gates[0, :3].sum()) == pytest.approx(1.0, abs=1e-5)
    image[:, 3:] = 7.0
    torch.testing.assert_close(net(image, available, quality)[0], evidence, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_functional_maps_count_when_they_are_there(net: CoarseNet) -> None:
    image, available, quality = inputs(given=SLOTS)
    with_them = net(image, available, quality)[0]
    available[:, 4:] = 0.0
    assert not torch.allclose(net(image, available, quality)[0], with_them)


@torch.no_grad()
def test_a_trained_marker_head_says_less_the_smaller_the_tumour(net: CoarseNet) -> None:
    net.markers.trained.fill_(1.0)
    held, _, _ = net.summary(*inputs())
    evidence = [float(net.markers(held.habitat, held.bottom, torch.tensor([ml])).sum()) for ml in (0.0, 0.5, 50.0)]
    assert evidence[0] == 0.0
    assert evidence[0] < evidence[1] < evidence[2]


@torch.no_grad()
def test_the_faster_summary_is_the_summary_but_for_rounding(net: CoarseNet) -> None:
    exact, fast = net.summary(*inputs())[0], net.summary_at_half(*inputs())
    assert fast.habitat.dtype is torch.float32
    torch.testing.assert_close(fast.habitat, exact.habitat, rtol=0.1, atol=0.05)
    torch.testing.assert_close(fast.ml, exact.ml, rtol=0.1, atol=0.05)


@torch.no_grad()
def test_gates_are_shares_of_the_sequences_that_exist(net: CoarseNet) -> None:
    _, _, gates = net(*inputs(given=3))
    assert float(gates[0, :3].sum()) == pytest.approx(1.0, abs=1e-5)
    assert not gates[0, 3:].any()


@torch.no_grad()
def test_what_stands_in_a_missing_slot_has_no_influence(net: CoarseNet) -> None:
    image, available, quality = inputs(given=2)
    expected = net(image, available, quality)[0]
    image[:, 2:] = 1000.0
    quality[:, 2:] = 50.0
    torch.testing.assert_close(net(image, available, quality)[0], expected)


@torch.no_grad()
def test_training_on_four_slots_is_the_same_network_as_serving_ten(net: CoarseNet) -> None:
    image, available, quality = inputs()
    ten = net(image, available, quality)[0]
    four = net(image[:, :4], available[:, :4], quality[:, :4])[0]
    torch.testing.assert_close(four, ten, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_nothing_given_is_answered_with_finite_numbers(net: CoarseNet) -> None:
    image, available, quality = inputs(given=0)
    for value in net(image, available, quality):
        assert bool(torch.isfinite(value).all())


@torch.no_grad()
@pytest.mark.parametrize(("measure", "change"), [(0, -1.0), (1, 0.5), (2, 4.0)])
def test_a_worse_sequence_never_gains_weight(measure: int, change: float) -> None:
    torch.manual_seed(1)
    gate = Gate()
    for parameter in gate.parameters():
        parameter.add_(torch.randn_like(parameter))
    _, available, quality = inputs()
    before = gate(available, quality)[0, 1]
    quality[0, 1, measure] += change
    assert float(gate(available, quality)[0, 1]) <= float(before) + 1e-7


@torch.no_grad()
def test_the_fine_network_starts_by_trusting_the_coarse_evidence() -> None:
    net = FineNet().eval()
    draw = torch.Generator().manual_seed(5)
    coarse = torch.exp(6.0 * torch.rand((1, CLASSES, *SPACE), generator=draw) - 1.0)
    image = torch.randn((1, FINE_SLOTS, *SPACE), generator=draw)
    label, vacuity = net(image, torch.ones(1, FINE_SLOTS), coarse)
    assert label.dtype == vacuity.dtype == torch.uint8
    np.testing.assert_array_equal(label.numpy(), coarse.argmax(dim=1).numpy())
    expected = 255.0 * CLASSES / (coarse.sum(dim=1) + CLASSES)
    assert float((vacuity.float() - expected).abs().max()) < 1.5


@torch.no_grad()
def test_without_coarse_evidence_the_fine_network_says_it_does_not_know() -> None:
    coarse = torch.zeros((1, CLASSES, *SPACE))
    label, vacuity = FineNet().eval()(torch.zeros((1, FINE_SLOTS, *SPACE)), torch.ones(1, FINE_SLOTS), coarse)
    assert not label.any()
    assert int(vacuity.min()) >= 250
