"""What `core.storage.port.BlobStore` promises, for every adapter."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from services.core.contracts.enums import BlobClass
from services.core.contracts.errors import Permanent, Transient
from services.core.contracts.events import BlobRef
from services.core.contracts.ids import digest_of
from services.core.storage.port import BlobStore
from tests.contract.storage.conftest import Site

pytestmark = pytest.mark.contract


def test_a_stored_blob_reads_back_and_is_named_by_its_content(store: BlobStore) -> None:
    ref = store.put(b"voxels", "application/octet-stream")
    assert ref == BlobRef(digest=digest_of(b"voxels"), size=6, media_type="application/octet-stream")
    assert store.exists(ref)
    assert store.read(ref) == b"voxels"
    with store.open(ref) as stream:
        assert stream.read() == b"voxels"
    with store.local_path(ref) as path:
        assert path.read_bytes() == b"voxels"


def test_the_same_bytes_twice_are_one_blob(store: BlobStore) -> None:
    assert store.put(b"same", "a/b") == store.put(b"same", "a/b")


def test_an_identified_blob_is_not_found_among_the_derived(store: BlobStore) -> None:
    ref = store.put(b"instance", "application/dicom", BlobClass.IDENTIFIED)
    derived = BlobRef(digest=ref.digest, size=ref.size, media_type=ref.media_type)
    assert store.exists(ref)
    assert not store.exists(derived)


def test_files_are_stored_in_order_and_stay_where_they_are(store: BlobStore, tmp_path: Path) -> None:
    sources = [tmp_path / name for name in ("one", "two")]
    for source in sources:
        source.write_text(source.name)
    refs = store.put_files(sources, "text/plain", BlobClass.IDENTIFIED)
    assert [store.read(ref) for ref in refs] == [b"one", b"two"]
    assert all(source.exists() for source in sources)


def test_a_missing_blob_is_worth_another_try(store: BlobStore) -> None:
    absent = BlobRef(digest=digest_of(b"never stored"), size=12, media_type="a/b")
    assert not store.exists(absent)
    with pytest.raises(Transient):
        store.read(absent)
    with pytest.raises(Transient):
        store.open(absent)


def test_a_damaged_blob_is_never_given_out(store: BlobStore, site: Site) -> None:
    ref = store.put(b"intact", "a/b")
    site.damage(store, ref)
    with pytest.raises(Permanent) as caught:
        store.read(ref)
    assert caught.value.code == "BLOB_DAMAGED"


def test_a_blob_of_many_parts_comes_back_whole(store: BlobStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * (80 << 10) + b"an odd end"  # 20 MiB: above the size of one part
    source = tmp_path / "large"
    source.write_bytes(data)
    refs = (store.put(data, "a/b"), store.put_file(source, "a/b"), *store.put_files([source] * 2, "a/b"))
    assert {ref.digest for ref in refs} == {digest_of(data)}
    assert store.read(refs[0]) == data
    with store.local_path(refs[0]) as path, store.open(refs[0]) as stream:
        assert path.stat().st_size == len(data)
        stream.seek(-10, 2)
        assert stream.read() == b"an odd end"


def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    ref = store.put(b"", "a/b")
    assert ref.size == 0
    assert store.exists(ref)
    assert store.read(ref) == b""


def test_what_one_process_stored_another_finds(store: BlobStore, site: Site) -> None:
    ref = store.put(b"shared", "a/b")
    store.put_named("runs/r", b"first")
    other = site.open()
    assert other.read(ref) == b"shared"
    assert other.put_named("runs/r", b"second") == b"first"


def test_nothing_half_done_is_left_lying_about(store: BlobStore, site: Site, tmp_path: Path) -> None:
    source = tmp_path / "one"
    source.write_bytes(b"one")
    ref = store.put(b"voxels", "a/b")
    store.put_files([source], "a/b")
    store.put_named("runs/a", b"{}")
    with store.open(ref), store.local_path(ref):
        pass
    assert [path for folder in tmp_path.rglob("tmp") for path in folder.iterdir()] == []


def test_the_first_document_under_a_name_wins(store: BlobStore) -> None:
    assert store.read_named("runs/r1") is None
    assert store.put_named("runs/r1", b"first") == b"first"
    assert store.put_named("runs/r1", b"second") == b"first"
    assert store.read_named("runs/r1") == b"first"


def test_of_many_writers_of_one_name_all_see_one_winner(store: BlobStore) -> None:
    seen: list[bytes] = []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        seen.append(store.put_named("runs/raced", f"writer {number}".encode()))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert store.read_named("runs/raced") == seen[0]


def test_names_are_listed_by_prefix_and_deleted_one_by_one(store: BlobStore) -> None:
    for name in ("runs/a", "runs/a.attempt-1", "runs/b"):
        store.put_named(name, b"{}")
    assert list(store.list_named("runs/a")) == ["runs/a", "runs/a.attempt-1"]
    store.delete_named("runs/a.attempt-1")
    store.delete_named("runs/a.attempt-1")
    assert list(store.list_named("runs/")) == ["runs/a", "runs/b"]
    assert list(store.list_named("nothing/")) == []


@pytest.mark.parametrize("name", ["../escape", "/absolute", "runs//double", "runs/.hidden", "", "a b"])
def test_a_name_that_could_leave_its_place_is_refused(store: BlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a document name"):
        store.put_named(name, b"{}")
