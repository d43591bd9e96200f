"""The theatre's stages as processes behind gRPC: two series after a resection, cancelled calls, expired calls."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from services.core.contracts.documents import from_document
from services.core.contracts.enums import Modality, OutcomeStatus, SegmentStep, Stage
from services.core.contracts.events import ManifestRef
from services.core.contracts.facts import PrepareFacts, SegmentFacts
from services.core.contracts.manifest import Manifest
from services.core.runtime.home import read_endpoints
from services.core.runtime.stage import read_manifest
from services.core.runtime.stage_inputs import volume_of
from services.phantom import SMALL, after_resection, generate, write_nifti
from services.preprocessing.settings import PrepareSettings
from tests.integration.preprocessing.studies import Site
from tests.integration.theatre.processes import SESSION, Theatre, theatre
from tests.servers.triton import wait_until

pytestmark = pytest.mark.integration
T1C, T2F = Modality.T1C, Modality.T2F
PATIENT = {"GLIOSERVE_FUSION_SEGMENTATION__DEADLINES__THEATRE": "600"}  # so that only the caller ends a call


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person before and after the tumour's core was taken out."""
    folder = tmp_path_factory.mktemp("files")
    before = generate(61, SMALL)
    write_nifti(before, folder / "before")
    write_nifti(after_resection(before, days=1, seed=1), folder / "after")
    return folder


@pytest.fixture(scope="module")
def ward(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, ManifestRef]:
    """The ward's store and what it prepared of the study before."""
    site = Site(tmp_path_factory.mktemp("ward") / "blobs")
    request = site.nifti({slot: files / "before" / f"{slot}.nii.gz" for slot in (Modality.T1N, T1C, T2F)})
    return site, site.stored(site.prepare(request, PrepareSettings(n4=False)))


@pytest.fixture(scope="module")
def running(ward: tuple[Site, ManifestRef], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    study = read_manifest(ward[0].blobs, ward[1]).study
    with theatre(tmp_path_factory.mktemp("theatre"), study, PATIENT) as started:
        yield started


@pytest.fixture
def prepared(running: Theatre, ward: tuple[Site, ManifestRef]) -> ManifestRef:
    return running.taken_over(ward[0].blobs, ward[1])


def test_two_series_after_a_resection_are_answered_and_only_they_are_computed(
    running: Theatre, prepared: ManifestRef, files: Path
) -> None:
    flair = running.intake(T2F, files / "after" / "t2f.nii.gz", changed=True)
    first, first_manifest = running.result(running.request(Stage.PREPARE, flair, prepared))
    assert {name for name in first_manifest.outputs if name.startswith("volume/")} == {"volume/t2f"}
    masks(running, first, used=(T2F,))

    contrast = running.intake(T1C, files / "after" / "t1c.nii.gz")
    second, second_manifest = running.result(running.request(Stage.PREPARE, contrast, first))
    assert second_manifest.outputs["volume/t2f"] == first_manifest.outputs["volume/t2f"]
    assert second_manifest.outputs["brain_mask"] == first_manifest.outputs["brain_mask"]
    masks(running, second, used=(T1C, T2F))


def masks(running: Theatre, prepare: ManifestRef, used: tuple[Modality, ...]) -> None:
    """Coarse, then fine; both in the box of the preparation."""
    with running.blobs.within(SESSION):
        place = from_document(PrepareFacts, read_manifest(running.blobs, prepare).facts).canonical_affine
    coarse, coarse_manifest = running.result(running.request(Stage.SEGMENT, prepare, step=SegmentStep.COARSE))
    assert from_document(SegmentFacts, coarse_manifest.facts).used == used
    small = volume(running, coarse_manifest, "mask/coarse")
    assert small.shape == (80, 96, 80)
    assert volume(running, coarse_manifest, "vacuity/coarse").shape == small.shape
    _, fine = running.result(running.request(Stage.SEGMENT, prepare, coarse, step=SegmentStep.FINE))
    assert volume(running, fine, "mask/canonical").shape == (160, 192, 160)
    assert not {name for name in (*coarse_manifest.outputs, *fine.outputs) if name.startswith("mask/native")}
    assert from_document(SegmentFacts, fine.facts).volumes_ml.keys() >= {"WT", "TC", "ET"}
    with running.blobs.within(SESSION):
        lies = volume_of(running.blobs, fine, "mask/canonical").affine
    np.testing.assert_allclose(lies, np.array(place), atol=1e-4)


def volume(running: Theatre, manifest: Manifest, name: str) -> np.ndarray[Any, Any]:
    with running.blobs.within(SESSION):
        data: np.ndarray[Any, Any] = volume_of(running.blobs, manifest, name).data
    return data


def test_a_series_that_cannot_be_read_is_an_outcome_with_its_reason(
    running: Theatre, prepared: ManifestRef, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.nii.gz").write_bytes((files / "after" / "t2f.nii.gz").read_bytes()[:4000])
    outcome = running.run(running.request(Stage.PREPARE, running.intake(T2F, tmp_path / "cut.nii.gz"), prepared))
    assert outcome.status is OutcomeStatus.REFUSED
    assert outcome.problem is not None
    assert (outcome.problem.code, bool(outcome.problem.advice)) == ("SERIES_UNREADABLE", True)


def given_up(call: Any) -> None:
    call.cancel()


def expired(call: Any) -> None:
    assert call.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("ending", "within_s"), [(given_up, 600.0), (expired, 3.0)])
def test_a_call_that_nobody_waits_for_ends_even_while_triton_hangs(
    running: Theatre, prepared: ManifestRef, ending: Callable[[Any], None], within_s: float
) -> None:
    request = replace(running.request(Stage.SEGMENT, prepared, step=SegmentStep.COARSE), replay=int(within_s))
    before = set(running.documents())
    assert running.triton.process is not None
    running.triton.process.send_signal(signal.SIGSTOP)
    try:
        with running.calling(request, within_s) as call:
            wait_until(lambda: waits(running, before), "the call waits for Triton")
            ending(call)
            wait_until(lambda: ended(running, before), "the run ends")
        wait_until(lambda: pending(running) == 0, "nothing is asked of Triton any more")
    finally:
        running.triton.process.send_signal(signal.SIGCONT)
    wait_until(running.triton.http_ready, "Triton goes on")
    assert running.run(request).status is not OutcomeStatus.FAILED


def ended(running: Theatre, before: set[str]) -> bool:
    return any(name.endswith(".ended") for name in set(running.documents()) - before)


def waits(running: Theatre, before: set[str]) -> bool:
    return len(set(running.documents()) - before) == 1 and pending(running) >= 1


def pending(running: Theatre) -> float:
    """Calls of the segmentation that wait for the coarse network, its canary's included."""
    import httpx

    address = read_endpoints(running.home)["theatre_fusion_segmentation"]["health"]
    lines = httpx.get(f"http://{address}/metrics", timeout=10).text.splitlines()
    values = [float(line.split()[-1]) for line in lines if line.startswith('glioserve_triton_pending{model="fusion_c')]
    return sum(values)


def test_the_stages_say_in_their_logs_what_they_ran_and_no_path(running: Theatre) -> None:
    text = (running.home.logs / "theatre_fusion_segmentation.jsonl").read_text()
    ran = [line for line in map(json.loads, text.splitlines()) if line["event"] == "stage.ran"]
    assert {line["lane"] for line in ran} == {"theatre"}
