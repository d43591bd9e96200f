"""Which store a setting opens, and which settings open none."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.runtime.home import Home
from services.core.runtime.settings import SettingsError, load_shared
from services.core.storage.factory import open_blobs, open_sessions
from services.core.storage.local import LocalBlobStore
from services.core.storage.settings import S3Settings

pytestmark = pytest.mark.unit


def test_without_a_setting_blobs_lie_below_the_home(tmp_path: Path) -> None:
    store = open_blobs(load_shared({}).blobs, Home(tmp_path), {})
    assert isinstance(store, LocalBlobStore)
    store.put(b"x", "a/b")
    assert any((tmp_path / "blobs" / "derived").rglob("*"))


def test_the_theatre_has_a_bounded_store_with_its_budgets(tmp_path: Path) -> None:
    environ = {"GLIOSERVE_TMPFS__TOTAL_BYTES": "8192", "GLIOSERVE_TMPFS__SESSION_BYTES": "4096"}
    assert open_sessions(f"tmpfs://{tmp_path}/theatre", environ).free_bytes() == 8192


def test_the_ward_never_gets_a_store_that_is_not_durable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="theatre"):
        open_blobs(f"tmpfs://{tmp_path}/theatre", Home(tmp_path), {})
    with pytest.raises(SettingsError, match="GLIOSERVE_BLOBS"):
        open_sessions("tmpfs://relative", {})


@pytest.mark.parametrize(
    "setting", ["", "s3://", "s3://UPPER", "s3://bucket/../up", "s3://bucket//x", "tmpfs://relative", "gs://bucket"]
)
def test_a_setting_that_names_no_store_is_refused(setting: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="GLIOSERVE_BLOBS"):
        open_blobs(setting, Home(tmp_path), {})


def test_a_directory_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="GLIOSERVE_BLOBS"):
        open_sessions(f"tmpfs://{tmp_path}/file/theatre", {})


@pytest.mark.parametrize(
    "environ",
    [
        {"GLIOSERVE_S3__ACCESS_KEY_ID": "id"},
        {"GLIOSERVE_S3__CREDENTIALS": "/nowhere"},
        {"GLIOSERVE_S3__ENDPOINT": "s3.example"},
        {"GLIOSERVE_S3__UNKNOWN": "x"},
    ],
)
def test_half_a_key_or_an_unreadable_one_is_a_wrong_setting(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="GLIOSERVE_S3__"):
        open_blobs("s3://bucket", Home(tmp_path), environ)


def test_keys_do_not_show_in_settings() -> None:
    settings = S3Settings.model_validate({"access_key_id": "id", "secret_access_key": "very secret"})
    assert "very secret" not in f"{settings!r} {settings.model_dump_json()}"
    assert settings.key() == ("id", "very secret")
