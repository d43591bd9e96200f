"""Opens the blob stores that settings name: the ward's `local` and `s3://bucket[/prefix]`, the theatre's `tmpfs:///dir`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.core.runtime.home import Home
from services.core.runtime.settings import SettingsError, load
from services.core.storage.bounded import BoundedBlobStore, Budget
from services.core.storage.local import LocalBlobStore
from services.core.storage.names import is_document_name
from services.core.storage.port import BlobStore
from services.core.storage.settings import S3Settings, TmpfsSettings

S3_SCHEME, TMPFS_SCHEME = "s3://", "tmpfs://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """What is passed around every durable write: a process's failpoints."""

    before: Callable[[], None] = _nothing
    after: Callable[[], None] = _nothing


def open_blobs(setting: str, home: Home, environ: Mapping[str, str], writes: Writes | None = None) -> BlobStore:
    """The ward's blob store, which is durable.

    Raises SettingsError on a setting that names none; Transient where an object store does not answer; Permanent
    where it does not keep what GlioServe builds on.
    """
    passed = writes or Writes()
    if setting == "local":
        return LocalBlobStore(home.blobs, passed.before, passed.after)
    if setting.startswith(S3_SCHEME):
        return _open_s3(setting, home, environ, passed)
    if setting.startswith(TMPFS_SCHEME):  # rule 1: what the ward acknowledges is durable
        raise SettingsError(f"GLIOSERVE_BLOBS: {setting!r} is for the theatre's processes alone")
    raise SettingsError(f"GLIOSERVE_BLOBS: {setting!r} is neither `local` nor `s3://bucket[/prefix]`")


def open_sessions(setting: str, environ: Mapping[str, str]) -> BoundedBlobStore:
    """The theatre's store at `tmpfs:///directory`. Raises SettingsError."""
    directory = Path(setting.removeprefix(TMPFS_SCHEME))
    if not setting.startswith(TMPFS_SCHEME) or not directory.is_absolute():
        raise SettingsError(f"GLIOSERVE_BLOBS: {setting!r} is not `tmpfs:///directory`")
    settings = load(TmpfsSettings, "tmpfs", environ)
    try:
        return BoundedBlobStore(directory, Budget(total=settings.total_bytes, session=settings.session_bytes))
    except OSError as error:
        raise SettingsError(f"GLIOSERVE_BLOBS: {error}") from error


def _open_s3(setting: str, home: Home, environ: Mapping[str, str], writes: Writes) -> BlobStore:
    bucket, _, prefix = setting.removeprefix(S3_SCHEME).partition("/")
    if not _BUCKET.fullmatch(bucket) or (prefix and not is_document_name(prefix)):
        raise SettingsError(f"GLIOSERVE_BLOBS: {setting!r} is not `s3://bucket[/prefix]`")
    settings = load(S3Settings, "s3", environ)
    try:
        from services.core.storage.s3 import S3BlobStore
        from services.core.storage.s3_client import Place, connect
    except ImportError as error:
        raise SettingsError(f"GLIOSERVE_BLOBS: the extra `s3` is not installed ({error})") from error
    try:
        client = connect(settings)
    except (OSError, ValueError) as error:
        raise SettingsError(f"GLIOSERVE_S3__*: {error}") from error
    scratch = home.blobs / "tmp"  # a supervisor empties it at its start
    store = S3BlobStore(client, Place(bucket=bucket, prefix=prefix), scratch, writes.before, writes.after)
    store.check()
    return store
