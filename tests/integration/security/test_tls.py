"""Mutual TLS between real gRPC peers: who is served, who is not, and what happens when the files change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from services.core.runtime.settings import SettingsError
from services.core.security.development import DevelopmentAuthority, Validity
from services.core.security.roles import Role, RoleNotAllowed, require_role, role_of
from services.core.security.tls import RenewedChannel, TlsSettings, channel, listen

pytestmark = pytest.mark.integration

HOST = "127.0.0.1"
METHOD = "/test.Peer/Role"
WEEK = Validity.days(7)
PAST = Validity(
    begins=datetime.now(UTC) - timedelta(days=2),
    ends=datetime.now(UTC) - timedelta(days=1),
)
PLAIN = TlsSettings(plain=True)


def tls_of(folder: Path) -> TlsSettings:
    return TlsSettings(certificate=folder / "cert.pem", key=folder / "key.pem", authorities=folder / "ca.pem")


def issued(authority: DevelopmentAuthority, folder: Path, role: str, validity: Validity | None = None) -> TlsSettings:
    authority.issue(folder, role, validity=validity)
    return tls_of(folder)


def _tell_role(request: bytes, context: grpc.ServicerContext) -> bytes:
    try:
        if request == b"theatre only":
            require_role(context, Role.NAVIGATION)
        return str(role_of(context)).encode()
    except RoleNotAllowed as error:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, error.code)
        raise AssertionError from error


def _tell_role_for_long(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    for request in requests:
        yield _tell_role(request, context)


@contextmanager
def served(tls: TlsSettings) -> Iterator[str]:
    """A server that tells its callers their role. Gives its address."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    handlers = {
        "Role": grpc.unary_unary_rpc_method_handler(_tell_role),
        "Long": grpc.stream_stream_rpc_method_handler(_tell_role_for_long),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Peer", handlers),))
    port = listen(server, tls, HOST, 0)
    server.start()
    try:
        yield f"{HOST}:{port}"
    finally:
        server.stop(grace=None).wait()


def ask(address: str, tls: TlsSettings, request: bytes = b"") -> str:
    with channel(address, tls) as peer:
        answer: bytes = peer.unary_unary(METHOD, None, None)(request, timeout=10)
        return answer.decode()


def refusal(address: str, tls: TlsSettings, request: bytes = b"") -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(address, tls, request)
    return caught.value.code(), caught.value.details()


@pytest.fixture(name="authority")
def _authority() -> DevelopmentAuthority:
    return DevelopmentAuthority(WEEK)


@pytest.fixture(name="server")
def _server(authority: DevelopmentAuthority, tmp_path: Path) -> Iterator[str]:
    with served(issued(authority, tmp_path / "server", Role.STAGE)) as address:
        yield address


@pytest.mark.parametrize("role", list(Role))
def test_a_peer_is_known_by_the_role_in_its_certificate(
    authority: DevelopmentAuthority, server: str, tmp_path: Path, role: Role
) -> None:
    assert ask(server, issued(authority, tmp_path / "client", role)) == role


def test_a_role_that_may_not_call_is_told_so(authority: DevelopmentAuthority, server: str, tmp_path: Path) -> None:
    client = issued(authority, tmp_path / "client", Role.OPERATIONS)
    assert refusal(server, client, b"theatre only") == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")


def test_a_certificate_with_a_role_that_does_not_exist_opens_nothing(
    authority: DevelopmentAuthority, server: str, tmp_path: Path
) -> None:
    assert refusal(server, issued(authority, tmp_path / "client", "surgeon")) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "ROLE_NOT_ALLOWED",
    )


def test_a_foreign_certificate_is_refused(server: str, authority: DevelopmentAuthority, tmp_path: Path) -> None:
    foreign = issued(DevelopmentAuthority(WEEK), tmp_path / "client", Role.NAVIGATION)
    (tmp_path / "client" / "ca.pem").write_bytes(authority.pem())  # it trusts the server; the server not it
    assert refusal(server, foreign)[0] is grpc.StatusCode.UNAVAILABLE


def test_an_expired_certificate_is_refused(authority: DevelopmentAuthority, server: str, tmp_path: Path) -> None:
    expired = issued(authority, tmp_path / "client", Role.NAVIGATION, PAST)
    assert refusal(server, expired)[0] is grpc.StatusCode.UNAVAILABLE


def test_a_client_refuses_an_expired_and_a_foreign_server(authority: DevelopmentAuthority, tmp_path: Path) -> None:
    client = issued(authority, tmp_path / "client", Role.NAVIGATION)
    expired = issued(authority, tmp_path / "expired", Role.STAGE, PAST)
    foreign = issued(DevelopmentAuthority(WEEK), tmp_path / "foreign", Role.STAGE)
    (tmp_path / "foreign" / "ca.pem").write_bytes(authority.pem())
    for tls in (expired, foreign):
        with served(tls) as address:
            assert refusal(address, client)[0] is grpc.StatusCode.UNAVAILABLE


def test_a_client_without_a_certificate_is_refused(
    authority: DevelopmentAuthority, server: str, tmp_path: Path
) -> None:
    with (
        grpc.secure_channel(server, grpc.ssl_channel_credentials(authority.pem())) as bare,
        pytest.raises(grpc.RpcError) as caught,
    ):
        bare.unary_unary(METHOD, None, None)(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refusal(server, PLAIN)[0] is grpc.StatusCode.UNAVAILABLE


def test_clients_may_have_an_authority_of_their_own(authority: DevelopmentAuthority, tmp_path: Path) -> None:
    hospital = DevelopmentAuthority(WEEK)
    server = issued(authority, tmp_path / "server", Role.STAGE)
    (tmp_path / "hospital.pem").write_bytes(hospital.pem())
    client = issued(hospital, tmp_path / "client", Role.NAVIGATION)
    (tmp_path / "client" / "ca.pem").write_bytes(authority.pem())
    inside = issued(authority, tmp_path / "inside", Role.STAGE)
    with served(server.model_copy(update={"client_authorities": tmp_path / "hospital.pem"})) as address:
        assert ask(address, client) == "navigation"
        assert refusal(address, inside)[0] is grpc.StatusCode.UNAVAILABLE


def test_new_files_count_from_the_next_connection_on_and_open_calls_go_on(
    authority: DevelopmentAuthority, tmp_path: Path
) -> None:
    former_client = issued(authority, tmp_path / "client", Role.NAVIGATION)
    renewed = DevelopmentAuthority(WEEK)
    with (
        served(issued(authority, tmp_path / "server", Role.STAGE)) as address,
        channel(address, former_client) as open_,
    ):
        requests: futures.Future[None] = futures.Future()

        def two_requests() -> Iterator[bytes]:
            yield b""
            requests.result(timeout=20)
            yield b""

        answers = iter(open_.stream_stream("/test.Peer/Long", None, None)(two_requests(), timeout=30))
        assert next(answers) == b"navigation"
        issued(renewed, tmp_path / "server", Role.STAGE)
        assert ask(address, issued(renewed, tmp_path / "new", Role.OPERATIONS)) == "operations"
        assert refusal(address, former_client)[0] is grpc.StatusCode.UNAVAILABLE
        requests.set_result(None)
        assert next(answers) == b"navigation"


def test_files_that_do_not_fit_together_leave_the_former_ones_in_use(
    authority: DevelopmentAuthority, server: str, tmp_path: Path
) -> None:
    client = issued(authority, tmp_path / "client", Role.NAVIGATION)
    other = tmp_path / "other"
    issued(authority, other, Role.STAGE)
    (other / "key.pem").replace(tmp_path / "server" / "key.pem")
    assert ask(server, client) == "navigation"
    (tmp_path / "server" / "cert.pem").unlink()
    assert ask(server, client) == "navigation"


def test_a_client_that_lives_long_takes_new_files_up(authority: DevelopmentAuthority, tmp_path: Path) -> None:
    async def both(address: str, tls: TlsSettings) -> list[bytes]:
        peer = RenewedChannel(address, tls)
        answers = [await peer.get().unary_unary(METHOD, None, None)(b"", timeout=10)]
        assert peer.get() is peer.get()
        issued(authority, tmp_path / "client", Role.OPERATIONS)
        answers.append(await peer.get().unary_unary(METHOD, None, None)(b"", timeout=10))
        await peer.close()
        return answers

    client = issued(authority, tmp_path / "client", Role.NAVIGATION)
    with served(issued(authority, tmp_path / "server", Role.STAGE)) as address:
        assert asyncio.run(both(address, client)) == [b"navigation", b"operations"]


def test_plain_text_on_loopback_has_no_role_and_may_everything() -> None:
    with served(PLAIN) as address:
        assert ask(address, PLAIN, b"theatre only") == "None"


def test_a_server_does_not_start_with_files_that_are_none(authority: DevelopmentAuthority, tmp_path: Path) -> None:
    tls = issued(authority, tmp_path / "server", Role.STAGE)
    (tmp_path / "server" / "cert.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match="no usable certificate"), served(tls):
        pass
