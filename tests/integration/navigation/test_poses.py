"""The pose process as a process: streams, slow readers, lost sessions, roles, health, drain."""

from __future__ import annotations

import itertools
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from glioserve.navigation.v1 import answers_pb2, pose_service_pb2, pose_service_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.core.runtime.home import publish_endpoints, read_endpoints
from services.core.security.development import make_certificates
from services.core.security.roles import Role
from services.core.security.tls import TlsSettings, channel
from services.navigation.domain.token import Token
from services.navigation.poses.folder import mark_outdated
from tests.integration.navigation.pose_site import (
    CAVITY_MM,
    CENTRE_MM,
    DIGEST,
    PLAIN,
    TOKEN,
    PoseSite,
    eventually,
    running_poses,
    state,
)

pytestmark = pytest.mark.integration

Request = pose_service_pb2.TrackPosesRequest
Response = pose_service_pb2.TrackPosesResponse
SERVICE = "glioserve.navigation.v1.PoseService"
HALF_MM = 0.8
MIB = 1 << 20
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1 << 16))


class Tool:
    """A stream of poses that a test sends one by one."""

    def __init__(self, link: grpc.Channel, token: str) -> None:
        self._poses: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._token = token
        self._sent = 0
        stub = pose_service_pb2_grpc.PoseServiceStub(link)
        self._answers = iter(stub.TrackPoses(iter(self._poses.get, None), timeout=120))

    def ask(self, *tip_mm: float, pose: list[float] | None = None, late_s: float = 0.0) -> Response:
        request = pose_at(self._sent, tip_mm, pose)
        request.acquired_at.FromNanoseconds(time.time_ns() - int(late_s * 1e9))
        if self._sent == 0:
            request.resume_token = self._token
        self._sent += 1
        self._poses.put(request)
        answer: Response = next(self._answers)
        assert answer.number == request.number
        return answer

    def end(self) -> None:
        self._poses.put(None)
        assert next(self._answers, None) is None


def pose_at(number: int, tip_mm: tuple[float, ...], pose: list[float] | None = None) -> Request:
    transform = np.eye(4)
    if tip_mm:
        transform[:3, 3] = tip_mm
    return Request(number=number, pose=transform.reshape(-1).tolist() if pose is None else pose)


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """Status and the reason of its ErrorInfo."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    trailing = {entry.key: entry.value for entry in caught.value.trailing_metadata() or ()}
    status = status_pb2.Status.FromString(bytes(trailing.get("grpc-status-details-bin", b"")))
    info = error_details_pb2.ErrorInfo()
    if status.details:
        status.details[0].Unpack(info)
    return caught.value.code(), info.reason


@contextmanager
def plain(site: PoseSite, *options: tuple[str, int]) -> Iterator[grpc.Channel]:
    with channel(site.address, TlsSettings(plain=True), options) as link:
        yield link


@pytest.fixture(name="site", scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoseSite]:
    """One process for all tests that do not end it; each has a session of its own."""
    with running_poses(tmp_path_factory.mktemp("poses") / "home") as site:
        yield site


@pytest.fixture(name="token")
def _token() -> str:
    return Token.new("127.0.0.1:1", "b0").text()


def still_asking(tool: Tool) -> None:
    """Asks a hundred times a second until something happens."""
    while True:
        tool.ask(*CENTRE_MM)
        time.sleep(0.01)


def counted(site: PoseSite, sample: str) -> float:
    """A sample of the process's metrics; 0 where there is none yet."""
    text = urllib.request.urlopen(f"http://{site.health}/metrics", timeout=10).read().decode()
    lines = (line.rpartition(" ") for line in text.splitlines())
    return sum(float(value) for name, _, value in lines if name == sample)


def test_every_pose_is_answered_in_order_with_what_is_at_the_tip(site: PoseSite, token: str) -> None:
    site.open(state(), token)
    names = ('glioserve_poses_total{result="fresh"}', "glioserve_pose_seconds_count")
    before = [counted(site, name) for name in names]
    with plain(site) as link:
        tool = Tool(link, token)
        for reach, tissue in ((3.0, "RC"), (12.0, "ET"), (22.0, "SNFH"), (50.0, "BACKGROUND"), (75.0, "OUTSIDE")):
            found = tool.ask(*(CENTRE_MM + np.array([reach, 0, 0])))
            assert found.tissue == tissue
            assert found.cavity_mm == pytest.approx(reach - CAVITY_MM, abs=HALF_MM)
            assert found.series_digest == DIGEST
            assert 0 <= found.mask_age.ToNanoseconds() < 120e9
            assert not found.stale
        tool.end()
    after = [counted(site, name) for name in names]
    assert [now - then for now, then in zip(after, before, strict=True)] == [5, 5]


def test_the_first_mask_a_newer_one_and_a_changed_anatomy_show_up_in_an_open_stream(site: PoseSite, token: str) -> None:
    site.open(token=token)
    with plain(site) as link:
        tool = Tool(link, token)
        waiting = tool.ask(*CENTRE_MM)
        assert waiting.limit.reason == answers_pb2.REASON_NO_MASK_YET
        assert not waiting.HasField("tumour_mm")
        assert not waiting.HasField("mask_age")
        site.open(state(2.0), token)
        eventually(lambda: tool.ask(*CENTRE_MM).tissue == "RC")
        mark_outdated(site.folder(token), time.monotonic())
        eventually(lambda: tool.ask(*CENTRE_MM).stale)
        changed = tool.ask(*CENTRE_MM)
        assert list(changed.stale_causes) == [pose_service_pb2.STALE_CAUSE_ANATOMY]
        assert changed.tissue == "RC"
        site.open(state(), token)
        eventually(lambda: not tool.ask(*CENTRE_MM).stale)


def test_what_is_no_pose_has_a_limit_and_the_next_pose_its_answer(site: PoseSite, token: str) -> None:
    site.open(state(2.0), token)
    with plain(site) as link:
        tool = Tool(link, token)
        for spoiled in ([math.nan] * 16, [math.inf] * 16, [0.0] * 16, [1.0, 2.0], []):
            found = tool.ask(pose=spoiled)
            assert found.limit.reason == answers_pb2.REASON_POSE_INVALID
            assert found.limit.advice
            assert found.tissue == ""
        assert tool.ask(*CENTRE_MM).tissue == "RC"


def test_a_clock_that_differs_makes_an_answer_stale(site: PoseSite, token: str) -> None:
    site.open(state(2.0), token)
    with plain(site) as link:
        tool = Tool(link, token)
        for late_s in (60.0, -60.0):
            found = tool.ask(*CENTRE_MM, late_s=late_s)
            assert list(found.stale_causes) == [pose_service_pb2.STALE_CAUSE_CLOCK]


def test_an_old_mask_is_stale(tmp_path: Path) -> None:
    settings = {"GLIOSERVE_NAVIGATION_POSES__MASK_STALE_S": "5", "GLIOSERVE_NAVIGATION_POSES__CLOCK_STALE_MS": "60000"}
    with running_poses(tmp_path / "home", {**PLAIN, **settings}) as site:
        site.open(state(2.0, arrived_at=time.monotonic() - 60))
        with plain(site) as link:
            found = Tool(link, TOKEN).ask(*CENTRE_MM)
    assert list(found.stale_causes) == [pose_service_pb2.STALE_CAUSE_MASK]
    assert found.mask_age.ToNanoseconds() >= 60e9


def test_a_token_of_no_session_and_a_session_that_ends_are_told_apart_from_trouble(site: PoseSite, token: str) -> None:
    site.open(state(2.0), token)
    with plain(site) as link:
        lost = (grpc.StatusCode.NOT_FOUND, "SESSION_LOST")
        assert refusal(lambda: Tool(link, token="unknown").ask(*CENTRE_MM)) == lost
        assert refusal(lambda: Tool(link, token="").ask(*CENTRE_MM)) == lost
        tool = Tool(link, token)
        assert tool.ask(*CENTRE_MM).tissue == "RC"
        site.close(token)
        assert refusal(lambda: still_asking(tool)) == lost


def test_a_slow_reader_fills_no_memory_and_delays_no_other_stream(site: PoseSite, token: str) -> None:
    site.open(state(), token)
    server = psutil.Process(site.process.pid)
    sent = itertools.count()
    asked = 0

    def endless() -> Iterator[Request]:
        nonlocal asked
        for number in sent:
            asked = number
            request = pose_at(number, tuple(CENTRE_MM))
            request.resume_token = token if number == 0 else ""
            yield request

    with plain(site, *SMALL_WINDOW) as slow, plain(site) as link:
        tool = Tool(link, token)
        tool.ask(*CENTRE_MM)
        before = server.memory_info().rss
        call = pose_service_pb2_grpc.PoseServiceStub(slow).TrackPoses(endless(), timeout=120)
        next(iter(call))
        _stands_still(lambda: asked)
        assert tool.ask(*CENTRE_MM).tissue == "RC"
        assert server.memory_info().rss - before < 16 * MIB


def _stands_still(value: Callable[[], int]) -> None:
    """Waits until a value has not moved for a second."""
    last, since = value(), time.monotonic()

    def resting() -> bool:
        nonlocal last, since
        if (now := value()) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1.0

    eventually(resting)


def test_only_a_navigation_systems_certificate_may_ask(tmp_path: Path) -> None:
    make_certificates(tmp_path / "certs")
    folder = tmp_path / "certs" / Role.STAGE
    environ = {
        "GLIOSERVE_TLS__CERTIFICATE": str(folder / "cert.pem"),
        "GLIOSERVE_TLS__KEY": str(folder / "key.pem"),
        "GLIOSERVE_TLS__AUTHORITIES": str(folder / "ca.pem"),
    }
    with running_poses(tmp_path / "home", environ) as site:
        site.open(state(2.0))
        for role in Role:
            mine = tmp_path / "certs" / role
            tls = TlsSettings(certificate=mine / "cert.pem", key=mine / "key.pem", authorities=mine / "ca.pem")
            with channel(site.address, tls) as link:
                if role is Role.NAVIGATION:
                    assert Tool(link, TOKEN).ask(*CENTRE_MM).tissue == "RC"
                else:
                    denied = refusal(Tool(link, TOKEN).ask)
                    assert denied == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")
        with plain(site) as link:
            assert refusal(Tool(link, TOKEN).ask)[0] is grpc.StatusCode.UNAVAILABLE


def test_it_has_real_time_priority_where_that_is_permitted_and_wanted(tmp_path: Path) -> None:
    ours = "import sys; from services.core.runtime.priority import take_real_time; sys.exit(not take_real_time())"
    permitted = subprocess.run([sys.executable, "-c", ours], check=False).returncode == 0
    for wanted in (True, False):
        setting = {"GLIOSERVE_NAVIGATION_POSES__REAL_TIME": str(wanted)}
        with running_poses(tmp_path / str(wanted), {**PLAIN, **setting}) as site:
            expected = os.SCHED_RR if wanted and permitted else os.SCHED_OTHER
            assert os.sched_getscheduler(site.process.pid) == expected


def test_it_does_not_start_in_the_clear_without_being_told_so(tmp_path: Path) -> None:
    for environ in ({}, {**PLAIN, "GLIOSERVE_NAVIGATION_POSES__HOST": "0.0.0.0"}):
        with pytest.raises(AssertionError, match=r"GLIOSERVE_TLS|loopback"), running_poses(tmp_path / "home", environ):
            pass


def test_a_connection_that_is_old_is_asked_to_come_again_and_the_session_goes_on(tmp_path: Path) -> None:
    ages = {
        "GLIOSERVE_NAVIGATION_POSES__CONNECTION_AGE_S": "1",
        "GLIOSERVE_NAVIGATION_POSES__CONNECTION_GRACE_S": "1",
    }
    with running_poses(tmp_path / "home", {**PLAIN, **ages}) as site:
        site.open(state(2.0))
        with plain(site) as link:
            tool = Tool(link, TOKEN)
            ended = refusal(lambda: still_asking(tool))
            assert ended[0] is grpc.StatusCode.UNAVAILABLE
            assert Tool(link, TOKEN).ask(*CENTRE_MM).tissue == "RC"


def test_a_process_that_was_killed_comes_back_to_the_sessions_that_are_there(tmp_path: Path) -> None:
    with running_poses(tmp_path / "home") as killed:
        killed.open(state(2.0))
        killed.process.kill()
        killed.process.wait()
        publish_endpoints(killed.home, "navigation_poses", None)
        with running_poses(tmp_path / "home") as site, plain(site) as link:
            assert Tool(link, TOKEN).ask(*CENTRE_MM).tissue == "RC"


def test_health_is_asked_and_watched_and_says_that_the_process_leaves_while_streams_go_on(tmp_path: Path) -> None:
    seen: list[int] = []
    changed = threading.Event()
    with running_poses(tmp_path / "home") as site, plain(site) as link, plain(site) as other:
        site.open(state(2.0))
        health = health_pb2_grpc.HealthStub(other)
        for name in ("", SERVICE):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60)

        def follow() -> None:
            for answer in watch:
                seen.append(answer.status)
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    changed.set()
                    return

        follower = threading.Thread(target=follow)
        follower.start()
        tool = Tool(link, TOKEN)
        tool.ask(*CENTRE_MM)
        site.process.send_signal(signal.SIGTERM)
        assert changed.wait(30)
        follower.join()
        assert seen == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
        assert tool.ask(*CENTRE_MM).tissue == "RC"
        tool.end()
        link.close()
        other.close()
        assert site.process.wait(60) == 0
        assert "navigation_poses" not in read_endpoints(site.home)
