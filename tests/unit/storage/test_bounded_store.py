"""What the theatre's store promises beyond the port: budgets, sessions that go with all they hold, many processes."""

from __future__ import annotations

import contextvars
import threading
from pathlib import Path

import pytest

from services.core.contracts.enums import BlobClass
from services.core.contracts.errors import Refused, Transient
from services.core.storage.bounded import COMMON, BoundedBlobStore, Budget, remove_bounded_store

pytestmark = pytest.mark.unit

PAGE = 4096
BUDGET = Budget(total=40 * PAGE, session=16 * PAGE)


@pytest.fixture
def store(tmp_path: Path) -> BoundedBlobStore:
    opened = BoundedBlobStore(tmp_path / "theatre", BUDGET)
    for session in ("one", "two", "three"):
        opened.begin(session)
    return opened


def pages(count: int, seed: str = "a") -> bytes:
    return seed.encode() * (count * PAGE)


def test_a_session_holds_no_more_than_its_part(store: BoundedBlobStore) -> None:
    with store.within("one"):
        store.put(pages(10), "a/b")
        with pytest.raises(Refused) as caught:
            store.put(pages(10, "b"), "a/b")
        assert caught.value.code == "SESSION_STORE_FULL"
        store.put(pages(6, "c"), "a/b")
    with store.within("two"):
        store.put(pages(10, "b"), "a/b")
    assert store.used_bytes("one") == 16 * PAGE


def test_all_sessions_together_hold_no_more_than_the_store(store: BoundedBlobStore) -> None:
    for session in ("one", "two"):
        with store.within(session):
            store.put(pages(15, session[0]), "a/b")
    with store.within("three"), pytest.raises(Transient) as caught:
        store.put(pages(15), "a/b")
    assert caught.value.code == "THEATRE_STORE_FULL"
    store.release("one")
    with store.within("three"):
        store.put(pages(15), "a/b")
    assert store.used_bytes() == 30 * PAGE


def test_a_session_keeps_what_it_is_told_to_keep_and_nothing_else(store: BoundedBlobStore) -> None:
    with store.within("two"):
        others = store.put(pages(3, "o"), "a/b")
    with store.within("one"):
        kept = [store.put(pages(2, seed), "a/b", blob_class) for seed, blob_class in zip("kl", BlobClass, strict=True)]
        dropped = store.put(pages(2, "d"), "a/b")
        store.put_named("runs/a", b"{}")
        with store.local_path(dropped) as path, path.open("rb") as mapped:
            store.keep_only("one", kept)
            assert mapped.read() == pages(2, "d")
        assert not store.exists(dropped)
        assert [store.read(ref) for ref in kept] == [pages(2, "k"), pages(2, "l")]
        assert store.read_named("runs/a") is None
        assert store.put(pages(2, "d"), "a/b") == dropped
    assert store.used_bytes("one") == 6 * PAGE
    with store.within("two"):
        assert store.exists(others)


def test_the_room_left_is_that_of_the_session_and_of_the_store(store: BoundedBlobStore) -> None:
    assert store.free_bytes() == 40 * PAGE
    with store.within("one"):
        store.put(pages(4), "a/b")
        assert store.free_bytes() == 12 * PAGE


def test_files_that_do_not_fit_together_leave_nothing(store: BoundedBlobStore, tmp_path: Path) -> None:
    sources = [tmp_path / str(number) for number in range(3)]
    for source in sources:
        source.write_bytes(pages(6, source.name))
    with store.within("one"):
        with pytest.raises(Refused):
            store.put_files(sources, "a/b", BlobClass.IDENTIFIED)
        assert store.used_bytes("one") == 0
        assert len(store.put_files(sources[:2], "a/b")) == 2


def test_a_released_session_takes_all_it_held_with_it(store: BoundedBlobStore) -> None:
    with store.within("one"):
        ref = store.put(pages(3), "a/b")
        store.put_named("runs/r", b"{}")
    with store.within("two"):
        assert not store.exists(ref)
        assert store.read_named("runs/r") is None
        store.put(pages(1), "a/b")
    store.release("one")
    store.release("one")
    assert store.used_bytes("one") == 0
    assert store.sessions() == [COMMON, "three", "two"]
    assert store.used_bytes() == PAGE


def test_a_late_writer_of_a_released_session_is_refused(store: BoundedBlobStore, tmp_path: Path) -> None:
    worker = BoundedBlobStore(tmp_path / "theatre", BUDGET)
    with worker.within("one"):
        ref = worker.put(b"early", "a/b")
        store.release("one")
        with pytest.raises(Refused) as caught:
            worker.put(b"late", "a/b")
        assert caught.value.code == "SESSION_OVER"
        with pytest.raises(Refused):
            worker.put_named("runs/late", b"{}")
        with pytest.raises((Transient, Refused)):
            worker.read(ref)
    assert "one" not in store.sessions()


def test_what_is_mapped_stays_readable_after_the_release(store: BoundedBlobStore) -> None:
    with store.within("one"):
        ref = store.put(b"mask", "a/b")
        with store.open(ref) as stream:
            store.release("one")
            assert stream.read() == b"mask"


def test_common_blobs_are_read_by_every_session(store: BoundedBlobStore) -> None:
    ref = store.put(b"of nobody", "a/b")
    with store.within("one"):
        assert store.exists(ref)
        assert store.read(ref) == b"of nobody"
        with store.local_path(ref) as path:
            assert path.read_bytes() == b"of nobody"


def test_a_context_carries_its_session_into_a_thread_that_is_given_it(store: BoundedBlobStore) -> None:
    with store.within("one"):
        inside = contextvars.copy_context()
    thread = threading.Thread(target=inside.run, args=(store.put, pages(2), "a/b"))
    thread.start()
    thread.join()
    assert store.used_bytes("one") == 2 * PAGE


def test_budgets_hold_while_many_write_at_once(tmp_path: Path, store: BoundedBlobStore) -> None:
    refused: list[str] = []

    def write(number: int) -> None:
        mine = BoundedBlobStore(tmp_path / "theatre", BUDGET)
        with mine.within("one"):
            for step in range(4):
                try:
                    mine.put(pages(1, chr(65 + 4 * number + step)), "a/b")
                except Refused as error:
                    refused.append(error.code)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.used_bytes("one") == BUDGET.session
    assert refused == ["SESSION_STORE_FULL"] * 8


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "x" * 81])
def test_a_session_name_that_could_leave_its_place_is_no_name(store: BoundedBlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a session"):
        store.begin(name)


def test_the_whole_store_can_be_removed(tmp_path: Path, store: BoundedBlobStore) -> None:
    remove_bounded_store(tmp_path / "theatre")
    remove_bounded_store(tmp_path / "theatre")
    assert not (tmp_path / "theatre").exists()
    assert store.used_bytes() == 0
