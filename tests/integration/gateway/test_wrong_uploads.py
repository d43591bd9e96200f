"""Every wrong upload gets a clear answer, leaves nothing behind and harms nothing that was there."""

from __future__ import annotations

import gzip
import io
import socket
import zipfile
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.gateway.conftest import Start
from tests.integration.gateway.dicom_files import CT, mr_instance, mr_study
from tests.integration.gateway.running import RunningGateway, four_sequences, nifti, zipped

pytestmark = pytest.mark.integration
TWO_PATIENTS = {**mr_study(2, 1), "other.dcm": mr_instance(9, 2, PatientID="ID-9999")}
TWO_NAMES = {**mr_study(2, 1), "other.dcm": mr_instance(9, 2, PatientName="Someone^Else")}
TWO_STUDIES = {**mr_study(2, 1), "other.dcm": mr_instance(9, 2, StudyInstanceUID="1.2.3.4")}
CONTRADICTING = {"a.dcm": mr_instance(1, 1, Rows=400)}

WRONG: list[tuple[str, Mapping[str, bytes], int, str]] = [
    ("an empty image", {"t1c.nii.gz": b""}, 422, "EMPTY_FILE"),
    ("corrupt gzip", {"t1c.nii.gz": b"\x1f\x8b" + b"corrupt" * 50}, 422, "NIFTI_TRUNCATED"),
    ("gzip cut off", {"t1c.nii.gz": nifti()[:-300]}, 422, "NIFTI_TRUNCATED"),
    ("no NIfTI in gzip", {"t1c.nii.gz": gzip.compress(b"x" * 1000)}, 422, "NOT_NIFTI"),
    ("noise under an image's name", {"t1c.nii": b"noise" * 200}, 422, "NOT_NIFTI"),
    ("noise under a DICOM name", {"a.dcm": b"noise" * 200}, 422, "NOT_DICOM"),
    ("DICOM cut off", {"a.dcm": mr_instance(1)[:-100]}, 422, "DICOM_DAMAGED"),
    ("a header that contradicts itself", CONTRADICTING, 422, "CONTRADICTORY_HEADER"),
    ("a singular affine", {"t1c.nii.gz": nifti(singular=True)}, 422, "SINGULAR_AFFINE"),
    ("a time series", {"t1c.nii.gz": nifti(shape=(4, 4, 4, 3))}, 422, "NOT_THREE_DIMENSIONAL"),
    ("no image at all", {"notes.txt": b"hello", "a/b.json": b"{}"}, 422, "NO_IMAGES"),
    ("only segmentations", {"case-seg.nii.gz": nifti()}, 422, "NO_IMAGES"),
    ("an unknown name", {"t1c.nii.gz": nifti(), "scan.nii.gz": nifti(1)}, 422, "UNKNOWN_SEQUENCE_NAMES"),
    (
        "two files for a sequence",
        {"t1c.nii.gz": nifti(), "t1ce.nii.gz": nifti(1)},
        422,
        "TWO_FILES_FOR_ONE_SEQUENCE",
    ),
    ("DICOM and NIfTI", {"t1c.nii.gz": nifti(), "a.dcm": mr_instance(1)}, 422, "MIXED_UPLOAD"),
    ("two patients", TWO_PATIENTS, 422, "TWO_PATIENTS"),
    ("two names of one patient", TWO_NAMES, 422, "TWO_PATIENTS"),
    ("two studies", TWO_STUDIES, 422, "TWO_STUDIES"),
    ("only CT", {"a.dcm": mr_instance(1, SOPClassUID=CT)}, 422, "NOT_MR"),
    ("an archive among files", {"t1c.nii.gz": nifti(), "more.zip": zipped({"a": b"b"})}, 422, "NESTED_ARCHIVE"),
    ("a tar.gz", {"t1c.nii.gz": nifti(), "all.tar.gz": gzip.compress(b"x")}, 422, "NESTED_ARCHIVE"),
    ("a name that leads out", {"../../t1c.nii.gz": nifti()}, 422, "UNSAFE_NAME"),
    ("an absolute name", {"/etc/t1c.nii.gz": nifti()}, 422, "UNSAFE_NAME"),
    ("a drive letter", {"C:/t1c.nii.gz": nifti()}, 422, "UNSAFE_NAME"),
    ("folders too deep", {"/".join("abcdefghijklmnopqrstuvw") + "/t1c.nii.gz": nifti()}, 413, "TOO_DEEP"),
]


@pytest.mark.parametrize("as_zip", [False, True], ids=["multipart", "zip"])
def test_wrong_files_are_refused_with_a_reason_and_leave_nothing(gateway: RunningGateway, as_zip: bool) -> None:
    before = gateway.stored()
    for what, files, status, code in WRONG:
        answer = gateway.post_zip(zipped(files)) if as_zip else gateway.post_files(files)
        problem = answer.json()
        assert answer.is_client_error, what
        assert (answer.status_code, problem["code"]) == (status, code), (what, problem)
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["status"] == status
        assert problem["detail"]
        assert not gateway.leftovers(), what
    assert gateway.stored() == before
    assert gateway.http.get("/studies").json()["studies"] == []


def test_unknown_names_are_listed_to_the_sender_and_written_nowhere(gateway: RunningGateway) -> None:
    names = gateway.post_files({"Adalbert-Sommerfeld.nii.gz": nifti()}).json()["names"]
    assert names == ["Adalbert-Sommerfeld.nii.gz"]
    for path in gateway.home.root.rglob("*"):
        assert not path.is_file() or b"Sommerfeld" not in path.read_bytes()


def _zip_with(entry: zipfile.ZipInfo, data: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, data)
    return buffer.getvalue()


def _link() -> bytes:
    entry = zipfile.ZipInfo("t1c.nii.gz")
    entry.external_attr = 0o120777 << 16
    return _zip_with(entry, b"/etc/passwd")


def _encrypted() -> bytes:
    data = bytearray(zipped({"t1c.nii.gz": nifti()}, zipfile.ZIP_STORED))
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    data[local + 6] |= 1
    data[central + 8] |= 1
    return bytes(data)


def _lying_bomb() -> bytes:
    """Says in its directory that it unpacks to one byte."""
    data = bytearray(zipped({"t1c.nii": b"\0" * (64 << 20)}))
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = (1).to_bytes(4, "little")
    return bytes(data)


BAD_ZIPS = [
    ("not a zip", b"this is no archive at all", 422, "ARCHIVE_DAMAGED"),
    ("nothing", b"", 400, "EMPTY_UPLOAD"),
    ("an empty archive", zipped({}), 422, "NO_IMAGES"),
    ("cut off", zipped(four_sequences())[:-400], 422, "ARCHIVE_DAMAGED"),
    ("a link", _link(), 422, "UNSAFE_ENTRY"),
    ("a password", _encrypted(), 422, "ARCHIVE_ENCRYPTED"),
    ("bzip2", zipped({"t1c.nii.gz": nifti()}, zipfile.ZIP_BZIP2), 422, "UNSUPPORTED_COMPRESSION"),
    ("an archive in it", zipped({"more.zip": zipped({"a": b"b"})}), 422, "NESTED_ARCHIVE"),
    ("a bomb", zipped({"t1c.nii": b"\0" * (64 << 20)}), 413, "COMPRESSION_BOMB"),
]


@pytest.mark.parametrize(("what", "data", "status", "code"), BAD_ZIPS, ids=[bad[0] for bad in BAD_ZIPS])
def test_a_bad_zip_is_refused(gateway: RunningGateway, what: str, data: bytes, status: int, code: str) -> None:
    answer = gateway.post_zip(data)
    assert (answer.status_code, answer.json()["code"]) == (status, code), what
    assert not gateway.leftovers()


def test_a_bomb_that_lies_about_its_size_is_refused(gateway: RunningGateway) -> None:
    answer = gateway.post_zip(_lying_bomb())
    assert answer.json()["code"] in {"COMPRESSION_BOMB", "ARCHIVE_DAMAGED"}
    assert not gateway.leftovers()


def test_a_directory_that_would_fill_the_memory_is_refused_before_it_is_read(start: Start) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("t1c.nii.gz")
        entry.extra = b"\x99\x99" + (60_000).to_bytes(2, "little") + bytes(60_000)
        archive.writestr(entry, nifti())
    answer = start(upload_files=3).post_zip(buffer.getvalue())
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_MANY_FILES")


LIMITS = [
    ({"upload_bytes": 20_000}, "UPLOAD_TOO_LARGE"),
    ({"file_bytes": 500}, "FILE_TOO_LARGE"),
    ({"upload_files": 3}, "TOO_MANY_FILES"),
]


@pytest.mark.parametrize(("settings", "code"), LIMITS, ids=[limit[1] for limit in LIMITS])
def test_limits_are_kept_while_bytes_arrive(start: Start, settings: dict[str, int], code: str) -> None:
    gateway = start(**settings)
    files = {**four_sequences(), "more/t1.nii": bytes(50_000)}
    answer = gateway.post_files(files)
    assert (answer.status_code, answer.json()["code"]) == (413, code)
    assert not gateway.leftovers()


def test_too_little_free_space_is_507_and_running_studies_are_not_touched(start: Start) -> None:
    gateway = start(free_bytes=1 << 60)
    answer = gateway.post_files(four_sequences())
    assert (answer.status_code, answer.json()["code"]) == (507, "NO_SPACE")
    assert gateway.http.get("/studies").status_code == httpx.codes.OK


def test_a_body_that_is_not_what_it_says_is_refused(gateway: RunningGateway) -> None:
    kinds = [
        ("application/json", b"{}", 415, "UNSUPPORTED_UPLOAD"),
        ("multipart/form-data", b"", 400, "MALFORMED_MULTIPART"),
        ("multipart/form-data; boundary=x", b"no boundary here", 400, "MALFORMED_MULTIPART"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="files"; ', 400, None),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400, "EMPTY_UPLOAD"),
    ]
    for content_type, body, status, code in kinds:
        answer = gateway.http.post("/studies", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == status, answer.text
        assert code is None or answer.json()["code"] == code
        assert not gateway.leftovers()


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"lane": "theatre"}, "BAD_LANE"),
        ({"acquired": "yesterday"}, "BAD_DATE"),
        ({"acquired": "2024-02-30"}, "BAD_DATE"),
        ({"patient": "a\\b"}, "BAD_PATIENT"),
        ({"sequence": "t9=t1c.nii.gz"}, "BAD_SEQUENCE"),
        ({"sequence": "t1c=absent.nii.gz"}, "BAD_SEQUENCE"),
    ],
)
def test_wrong_statements_are_refused(gateway: RunningGateway, parameters: dict[str, str], code: str) -> None:
    answer = gateway.post_files({"t1c.nii.gz": nifti()}, **parameters)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_known_uid_with_other_pixels_is_a_conflict_and_what_is_stored_stays(gateway: RunningGateway) -> None:
    first = gateway.post_files(mr_study())
    assert first.status_code == httpx.codes.CREATED, first.text
    before = gateway.stored()
    answer = gateway.post_files({"a.dcm": mr_instance(1, seed=7)})
    assert (answer.status_code, answer.json()["code"]) == (409, "INSTANCE_CONFLICT")
    assert gateway.stored() == before
    assert gateway.study(first.json()["id"])["version"] == 1


def test_unknown_ids_and_routes_are_problem_documents(gateway: RunningGateway) -> None:
    for method, path in [
        ("GET", "/studies/unknown"),
        ("GET", "/studies/unknown/history"),
        ("GET", "/studies/unknown/events"),
        ("GET", "/studies/unknown/results"),
        ("GET", "/studies/unknown/results/report.pdf"),
        ("POST", "/studies/unknown/replay"),
        ("POST", "/studies/unknown/close"),
        ("GET", "/nowhere"),
    ]:
        answer = gateway.http.request(method, path)
        assert answer.status_code == httpx.codes.NOT_FOUND, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"]
    assert gateway.http.delete("/studies").json()["code"] == "METHOD_NOT_ALLOWED"
    assert gateway.http.get("/studies", params={"limit": "x"}).json()["code"] == "INVALID_PARAMETER"


def test_a_sender_that_announces_too_much_and_sends_little_gets_an_answer(gateway: RunningGateway) -> None:
    place = urlsplit(gateway.url)
    head = f"POST /studies HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/zip\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: 99999999999999\r\n\r\nxx".encode())
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")
