"""What a local directory can do to a store, and what the store makes of it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.core.contracts.errors import Transient
from services.core.storage.local import LocalBlobStore

pytestmark = pytest.mark.unit


@contextmanager
def no_more_files() -> Iterator[None]:
    """The process may open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open("/dev/null", os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_say_nothing_about_a_blob(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    ref = store.put(b"voxels", "a/b")
    store.put_named("runs/a", b"{}")
    with no_more_files():
        for attempt in (
            lambda: store.read(ref),
            lambda: store.put(b"others", "a/b"),
            lambda: store.read_named("runs/a"),
            lambda: list(store.list_named("runs/a")),
        ):
            with pytest.raises(Transient) as caught:
                attempt()
            assert caught.value.code == "STORE_UNAVAILABLE"
    assert store.read(ref) == b"voxels"


def test_names_in_folders_below_are_listed_too(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    for name in ("runs/a/deep/x", "runs/ab", "runs/b", "other"):
        store.put_named(name, b"{}")
    assert list(store.list_named("runs/a")) == ["runs/a/deep/x", "runs/ab"]
    assert list(store.list_named("")) == ["other", "runs/a/deep/x", "runs/ab", "runs/b"]
