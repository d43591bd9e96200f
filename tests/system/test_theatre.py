"""The operating room beside the ward: real processes, real Triton (identity networks), one phantom before and after."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from glioserve.navigation.v1 import answers_pb2, pose_service_pb2, pose_service_pb2_grpc

from services.cli.supervisor import SERVICES
from services.cli.theatre_client import Response, Series, TheatreClient
from services.core.contracts.errors import GlioServeError, Refused
from services.core.runtime.home import read_endpoints
from services.core.security.tls import TlsSettings, channel
from services.phantom import SMALL, after_resection, generate, invented_patient, write_dicom, write_nifti
from tests.servers.triton import require_triton
from tests.system.invariants import bytes_outside_the_vault
from tests.system.stack import QUICK, Stack, running, until

pytestmark = pytest.mark.system
PLAIN = TlsSettings(plain=True)
FINAL = answers_pb2.MASK_KIND_FINAL


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require_triton()
    with running(tmp_path_factory.mktemp("theatre"), given=QUICK, only=SERVICES) as started:
        yield started


@contextmanager
def session(stack: Stack, study: str = "", deadline_s: float = 25.0) -> Iterator[TheatreClient]:
    with TheatreClient(read_endpoints(stack.home)["navigation"]["grpc"], PLAIN) as client:
        client.start(study, deadline_s)
        yield client
        client.end()
        assert not last_words(client, 0)


def last_words(client: TheatreClient, count: int = 1) -> list[Response]:
    """The last words of so many series; of none: until the stream ends."""
    found: list[Response] = []
    for response in client.answers():
        body = response.WhichOneof("body")
        if body in ("degraded", "refused", "cancelled") or response.mask.kind == FINAL:
            found.append(response)
            if len(found) == count:
                break
    return found


def nifti(folder: Path, slot: str, name: str, *, changed: bool = False, deadline_s: float | None = None) -> Series:
    return Series(
        name=name,
        files=[folder / f"{slot}.nii.gz"],
        modality=slot,
        anatomy_changed=changed,
        deadline_s=deadline_s,
    )


def test_a_series_is_fused_with_the_study_of_the_ward_and_recorded_beside_it(theatre: Stack, tmp_path: Path) -> None:
    before = generate(61, SMALL)
    write_nifti(before, tmp_path / "before")
    study = theatre.submit(tmp_path / "before")
    theatre.wait_done(study)
    write_nifti(after_resection(before, days=1, seed=1), tmp_path / "after")
    with session(theatre, study) as client:
        assert list(client.accepted.modalities) == ["t1n", "t1c", "t2w", "t2f"]
        client.send(nifti(tmp_path / "after", "t1c", "checked"))
        [plain] = last_words(client)
        client.send(nifti(tmp_path / "after", "t2f", "changed", changed=True))
        [changed] = last_words(client)
    assert list(plain.mask.used) == ["t1n", "t1c", "t2w", "t2f"]
    assert list(changed.mask.used) == ["t2f"]
    assert list(changed.mask.unavailable) == ["t1n", "t1c", "t2w"]
    assert answers_pb2.REASON_ANATOMY_CHANGED in {limit.reason for limit in changed.mask.limits}
    assert changed.mask.completeness == answers_pb2.COMPLETENESS_DEGRADED

    def recorded() -> list[str]:
        found: list[str] = [mask["run_id"] for mask in theatre.study(study)["intraoperative"]]
        return found if len(found) == 2 else []

    until(recorded, 30, lambda: f"not recorded: {theatre.study(study)['intraoperative']}")
    assert set(recorded()) == {plain.mask.run_id, changed.mask.run_id}
    assert theatre.study(study)["version"] == 1


def test_poses_are_answered_once_there_is_a_mask(theatre: Stack, tmp_path: Path) -> None:
    write_nifti(generate(62, SMALL), tmp_path / "study")
    with session(theatre) as client:
        client.send(nifti(tmp_path / "study", "t2f", "seen"))
        last_words(client)
        pose = pose_service_pb2.TrackPosesRequest(
            resume_token=client.accepted.resume_token, number=7, pose=[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
        )
        pose.acquired_at.GetCurrentTime()

        def answered() -> pose_service_pb2.TrackPosesResponse | None:
            with channel(client.accepted.poses_address, PLAIN) as opened:
                [answer] = list(pose_service_pb2_grpc.PoseServiceStub(opened).TrackPoses(iter([pose])))
            return None if answer.HasField("limit") else answer

        answer = until(answered, 20, lambda: "no answer to a pose")
    assert answer.number == 7
    assert answer.tissue in {"BACKGROUND", "NCR", "SNFH", "ET", "RC", "OUTSIDE"}


def test_another_patients_series_is_refused_and_no_name_leaves_the_vault(theatre: Stack, tmp_path: Path) -> None:
    with session(theatre) as client:
        for number, name in enumerate(("mine", "other")):
            folder = tmp_path / name
            write_dicom(generate(63 + number, SMALL), folder, invented_patient(63 + number))
            files = sorted(path for path in folder.rglob("*") if path.is_file() and "t1c" in str(path).lower())
            client.send(Series(name=name, files=files))
        first, second = last_words(client, 2)
    assert first.mask.kind == FINAL
    assert second.refused.limit.reason == answers_pb2.REASON_OTHER_PATIENT
    stored = theatre.home.blobs / "named" / "runs" / first.mask.run_id
    until(stored.exists, 30, lambda: "the first series is still being copied to where identified instances lie")
    names = [invented_patient(number).name.encode() for number in (63, 64)]
    told = [place for place, data in bytes_outside_the_vault(theatre.home).items() if any(n in data for n in names)]
    assert not told


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ("cut", {"SERIES_UNREADABLE"}),
        ("thin", {"GEOMETRY_MISMATCH", "SERIES_UNREADABLE"}),
    ],
)
def test_a_series_that_does_not_fit_is_refused_and_the_next_is_answered(
    theatre: Stack, tmp_path: Path, change: str, reasons: set[str]
) -> None:
    write_nifti(generate(65, SMALL), tmp_path / "good")
    bad = tmp_path / "bad"
    bad.mkdir()
    wrong(tmp_path / "good" / "t1c.nii.gz", bad / "t1c.nii.gz", change)
    with session(theatre) as client:
        client.send(nifti(tmp_path / "good", "t2f", "first"))
        client.send(nifti(bad, "t1c", "bad"))
        client.send(nifti(tmp_path / "good", "t1c", "good"))
        words = last_words(client, 3)
    assert answers_pb2.Reason.Name(words[1].refused.limit.reason).removeprefix("REASON_") in reasons
    assert words[2].mask.kind == FINAL


@pytest.mark.parametrize("how", ["hung", "killed"])
def test_without_triton_the_last_word_still_comes_before_the_deadline(theatre: Stack, tmp_path: Path, how: str) -> None:
    write_nifti(generate(66, SMALL), tmp_path / "study")
    with session(theatre) as client:
        client.send(nifti(tmp_path / "study", "t2f", "before"))
        assert last_words(client)[0].mask.kind == FINAL
        triton = theatre.process("triton")
        triton.send_signal(signal.SIGSTOP if how == "hung" else signal.SIGKILL)
        try:
            client.send(nifti(tmp_path / "study", "t1c", "without", deadline_s=4.0))
            [word] = last_words(client)
        finally:
            if how == "hung":
                triton.send_signal(signal.SIGCONT)
        theatre.wait_ready()
        client.send(nifti(tmp_path / "study", "t1n", "again"))
        assert last_words(client)[0].mask.kind == FINAL
    if word.WhichOneof("body") == "degraded":  # a restart of Triton may be quicker than the deadline
        assert word.degraded.time_left.ToNanoseconds() > 0
        assert word.degraded.best.series == "before"
    else:
        assert word.mask.time_left.ToNanoseconds() > 0


def test_a_killed_navigation_loses_its_sessions_and_says_so(theatre: Stack, tmp_path: Path) -> None:
    write_nifti(generate(67, SMALL), tmp_path / "study")
    address = read_endpoints(theatre.home)["navigation"]["grpc"]
    with TheatreClient(address, PLAIN) as client:
        token = client.start(deadline_s=20.0).resume_token
        theatre.kill("navigation")
        with pytest.raises(GlioServeError):
            last_words(client, 0)
    theatre.wait_ready()
    with TheatreClient(read_endpoints(theatre.home)["navigation"]["grpc"], PLAIN, resume=(token, 0)) as again:
        with pytest.raises(Refused) as refusal:
            again.start()
        assert refusal.value.code == "SESSION_LOST"
    with session(theatre) as client:
        client.send(nifti(tmp_path / "study", "t2f", "fresh"))
        assert last_words(client)[0].mask.kind == FINAL


def test_the_ward_goes_on_once_the_theatre_has_its_mask(theatre: Stack, tmp_path: Path) -> None:
    write_nifti(generate(68, SMALL), tmp_path / "routine")
    write_nifti(generate(69, SMALL), tmp_path / "theatre")
    study = theatre.submit(tmp_path / "routine")
    with session(theatre) as client:
        for slot in ("t1c", "t2f"):
            client.send(nifti(tmp_path / "theatre", slot, slot))
        assert [word.mask.kind for word in last_words(client, 2)] == [FINAL, FINAL]
        assert theatre.wait_done(study)["state"] == "done"


def wrong(good: Path, bad: Path, change: str) -> None:
    """A file that ends early, or one slice of a volume."""
    if change == "cut":
        bad.write_bytes(good.read_bytes()[:5000])
        return
    import nibabel as nib
    import numpy as np

    whole = nib.load(good)
    assert isinstance(whole, nib.Nifti1Image)
    nib.save(nib.Nifti1Image(np.asarray(whole.dataobj)[:, :, 20:21], whole.affine), bad)
