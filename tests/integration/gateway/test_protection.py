"""Who may call: loopback as it is, other addresses only with TLS and tokens, no browser on behalf of another site."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from services.core.runtime.settings import SettingsError
from services.core.security.tokens import new_token, token_line
from tests.integration.gateway.conftest import Start
from tests.integration.gateway.running import RunningGateway, four_sequences

pytestmark = pytest.mark.integration


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "1", "-subj", "/CN=gateway", "-out", str(paths[0]), "-keyout", str(paths[1])]
    try:
        subprocess.run([*command, *names], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed: apt-get install openssl")
    return paths


@pytest.fixture
def token(tmp_path: Path) -> tuple[str, Path]:
    made = new_token()
    path = tmp_path / "tokens"
    path.write_text(f"# who may call\n{token_line('pacs', made)}\n")
    return made, path


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_does_not_start_on_an_open_address_without_protection(start: Start, host: str) -> None:
    with pytest.raises(SettingsError, match="TLS"):
        start(host=host)


def test_tls_alone_or_tokens_alone_are_not_enough(
    start: Start, certificate: tuple[Path, Path], token: tuple[str, Path]
) -> None:
    with pytest.raises(SettingsError, match="token"):
        start(host="0.0.0.0", tls_certificate=certificate[0], tls_key=certificate[1])
    with pytest.raises(SettingsError, match="TLS"):
        start(host="0.0.0.0", tokens=token[1])


def test_an_open_address_serves_tls_to_those_with_a_token(
    start: Start, certificate: tuple[Path, Path], token: tuple[str, Path]
) -> None:
    gateway = start(host="0.0.0.0", tls_certificate=certificate[0], tls_key=certificate[1], tokens=token[1])
    assert gateway.url.startswith("https://")
    refused = gateway.http.get("/studies")
    assert (refused.status_code, refused.json()["code"]) == (401, "TOKEN_REQUIRED")
    assert refused.headers["www-authenticate"] == "Bearer"
    for wrong in ("Bearer nonsense", f"Basic {token[0]}", "Bearer"):
        assert gateway.http.get("/studies", headers={"Authorization": wrong}).status_code == httpx.codes.UNAUTHORIZED
    known = {"Authorization": f"Bearer {token[0]}"}
    assert gateway.http.get("/studies", headers=known).is_success
    assert gateway.http.get("/health/live").is_success


def test_pages_of_other_sites_cannot_use_a_browser_to_call(gateway: RunningGateway) -> None:
    cross = gateway.http.post("/studies", headers={"Origin": "https://evil.example"})
    assert (cross.status_code, cross.json()["code"]) == (403, "OTHER_ORIGIN")
    rebound = gateway.http.get("/studies", headers={"Host": "evil.example"})
    assert (rebound.status_code, rebound.json()["code"]) == (403, "OTHER_HOST")
    own = {"Origin": gateway.url}
    parts = [("files", (name, data)) for name, data in four_sequences().items()]
    assert gateway.http.post("/studies", files=parts, headers=own).is_success


@pytest.mark.parametrize(("header", "value"), [("Host", "[::1"), ("Origin", "http://[")])
def test_names_that_cannot_be_read_are_foreign_and_no_error_of_ours(
    gateway: RunningGateway, header: str, value: str
) -> None:
    assert gateway.http.get("/studies", headers={header: value}).status_code == httpx.codes.FORBIDDEN


def test_an_invented_method_makes_no_metric_of_its_own(gateway: RunningGateway) -> None:
    gateway.http.request("ZEBROWSKA", "/studies")
    text = httpx.get(f"http://{gateway.health}/metrics").text
    assert 'method="OTHER"' in text
    assert "ZEBROWSKA" not in text


def test_answers_carry_safe_headers(gateway: RunningGateway) -> None:
    answer = gateway.http.get("/studies")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/studies", "/openapi.json", "/health/live"])
def test_head_gives_the_headers_of_get(gateway: RunningGateway, path: str) -> None:
    asked = gateway.http.get(path)
    answer = gateway.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == asked.headers["content-type"]
    assert gateway.http.head("/nowhere").status_code == httpx.codes.NOT_FOUND
