"""C-STORE as scanners and archives send it: a real SCU and the gateway's listener (PS3.4 B, PS3.8)."""

from __future__ import annotations

import io
import socket
import ssl
import struct
import time
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from services.core.contracts.ids import derived_uid
from services.core.runtime.home import read_endpoints
from services.core.runtime.settings import SettingsError
from services.phantom import SMALL, generate, invented_patient, write_dicom
from tests.integration.gateway.conftest import Start
from tests.integration.gateway.dicom_files import CT, MR, mr_instance, mr_study
from tests.integration.gateway.running import RunningGateway, Stages, eventually, zipped
from tests.integration.gateway.senders import TITLE, VERIFICATION, Caller, stow
from tests.integration.gateway.test_protection import certificate

pytestmark = pytest.mark.integration
LISTENING = {"dicom__port": 0, "dicom__calling": f"OTHER, {TITLE}"}
NEVER = 3600
SUCCESS = 0x0000
__all__ = ["certificate"]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A phantom's study as a folder of files."""
    folder = tmp_path_factory.mktemp("phantom")
    files = write_dicom(generate(1, SMALL), folder, invented_patient(1))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def listening(start: Start) -> RunningGateway:
    return start(**LISTENING, quiet_s=NEVER)


def only_study(gateway: RunningGateway) -> str:
    (study,) = gateway.http.get("/studies").json()["studies"]
    return str(study["id"])


def closed(gateway: RunningGateway) -> list[int]:
    """Closes the only study; the number of instances of its versions."""
    study = only_study(gateway)
    assert gateway.http.post(f"/studies/{study}/close").is_success
    return [version["instances"] for version in gateway.study(study)["versions"]]


def test_a_sent_study_closes_after_its_quiet_period_and_gets_a_result(start: Start, phantom: dict[str, bytes]) -> None:
    gateway = start(**LISTENING, quiet_s=1.0)
    with Stages(gateway.home):
        assert set(Caller().store(gateway.home, phantom.values())) == {SUCCESS}
        gateway.done(only_study(gateway))
    study = gateway.study(only_study(gateway))
    assert study["versions"][-1]["instances"] == len(phantom)
    assert not gateway.leftovers()


def test_by_upload_stow_and_c_store_it_is_one_study(listening: RunningGateway, phantom: dict[str, bytes]) -> None:
    part = dict(list(phantom.items())[:30])
    sent = Caller().store(listening.home, part.values())
    assert sent == [SUCCESS] * 30
    uploaded = listening.post_zip(zipped(phantom)).json()
    assert uploaded["id"] == only_study(listening)
    assert uploaded["upload"]["duplicates"] == 30
    assert uploaded["upload"]["added"] == len(phantom) - 30
    assert stow(listening, part.values()).study == uploaded["id"]
    assert Caller().store(listening.home, part.values()) == [SUCCESS] * 30
    assert closed(listening) == [len(phantom)]


def test_more_instances_after_closing_make_a_new_version(listening: RunningGateway) -> None:
    Caller().store(listening.home, mr_study(2, 1).values())
    assert closed(listening) == [2]
    Caller().store(listening.home, mr_study(3, 1).values())
    assert closed(listening) == [2, 3]


def test_a_changed_pixel_under_a_known_uid_is_refused_and_what_is_stored_stays(listening: RunningGateway) -> None:
    assert Caller().store(listening.home, [mr_instance(1), mr_instance(2)]) == [SUCCESS, SUCCESS]
    before = listening.stored()
    with Caller().associated(listening.home) as association:
        answer = association.send_c_store(dcmread(io.BytesIO(mr_instance(2, seed=9))))
        assert answer.Status == 0x0111
        assert "known UID" in answer.ErrorComment
        assert association.send_c_store(dcmread(io.BytesIO(mr_instance(3)))).Status == SUCCESS
    assert len(listening.stored()) == len(before) + 1
    assert closed(listening) == [3]


def test_each_bad_instance_is_told_why_and_the_association_goes_on(listening: RunningGateway) -> None:
    contradictory = dcmread(io.BytesIO(mr_instance(2, Rows=99)))
    without_pixels = dcmread(io.BytesIO(mr_instance(3)))
    del without_pixels.PixelData
    with Caller().associated(listening.home) as association:
        assert association.send_c_store(contradictory).Status == 0xA900
        assert association.send_c_store(without_pixels).Status == 0xA900
        assert association.send_c_store(dcmread(io.BytesIO(mr_instance(4)))).Status == SUCCESS
    assert not listening.leftovers()
    assert closed(listening) == [1]


def test_a_request_that_names_another_instance_than_it_holds_is_refused(listening: RunningGateway) -> None:
    with Caller().associated(listening.home) as association:
        answers = [
            _sent_raw(association, mr_instance(1), derived_uid("another")),
            _sent_raw(association, mr_instance(2, SOPClassUID=CT), None),
        ]
    assert answers == [0xA900, 0x0122]
    assert not listening.leftovers()


def _sent_raw(association: Association, instance: bytes, name: str | None) -> int:
    """Sends a data set under a name of its own."""
    data_set = dcmread(io.BytesIO(instance))
    request = _request(data_set, name)
    (context,) = [c.context_id for c in association.accepted_contexts if c.abstract_syntax == MR]
    assert context is not None
    association._reactor_checkpoint.clear()  # as `send_c_store` does: else its own thread takes the answer
    eventually(lambda: association._is_paused)
    association.dimse.send_msg(request, context)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert isinstance(answer, C_STORE)
    assert answer.Status is not None
    return answer.Status


def _request(data_set: Dataset, name: str | None) -> C_STORE:
    encoded = encode(data_set, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = MR
    request.AffectedSOPInstanceUID = name or data_set.SOPInstanceUID
    request.DataSet = io.BytesIO(encoded)
    return request


def test_other_objects_and_transfer_syntaxes_are_not_negotiated(listening: RunningGateway) -> None:
    with Caller(classes=(CT, VERIFICATION)).associated(listening.home) as association:
        assert [str(c.abstract_syntax) for c in association.rejected_contexts] == [CT]
    with Caller(syntaxes=(JPEGBaseline8Bit, ImplicitVRLittleEndian)).associated(listening.home) as association:
        assert {str(c.transfer_syntax[0]) for c in association.accepted_contexts} == {ImplicitVRLittleEndian}


def test_compressed_instances_are_kept_as_they_came(listening: RunningGateway) -> None:
    data_set = dcmread(io.BytesIO(mr_instance(1)))
    data_set.compress(RLELossless)
    assert Caller(syntaxes=(RLELossless,), classes=(MR,)).store(listening.home, [data_set]) == [SUCCESS]
    assert closed(listening) == [1]


def test_an_echo_is_answered(listening: RunningGateway) -> None:
    with Caller().associated(listening.home) as association:
        assert association.send_c_echo().Status == SUCCESS


@pytest.mark.parametrize("caller", [Caller(calling="STRANGER"), Caller(called="ANYONE")], ids=["calling", "called"])
def test_titles_that_are_not_allowed_are_rejected(listening: RunningGateway, caller: Caller) -> None:
    assert caller.is_rejected(listening.home)
    assert Caller(calling="OTHER").store(listening.home, [mr_instance(1)]) == [SUCCESS]


def test_more_associations_than_allowed_are_rejected(start: Start) -> None:
    gateway = start(**LISTENING, dicom__associations=1)
    with Caller().associated(gateway.home):
        assert Caller().is_rejected(gateway.home)
    eventually(lambda: not Caller().is_rejected(gateway.home))


def test_limits_and_the_watermark_are_out_of_resources(start: Start) -> None:
    gateway = start(**LISTENING, file_bytes=2000, quiet_s=NEVER)
    sent = [mr_instance(1, edge=64), mr_instance(2)]
    assert Caller().store(gateway.home, sent) == [0xA700, SUCCESS]
    assert not gateway.leftovers()


def test_below_the_watermark_instances_wait_with_their_sender(start: Start) -> None:
    gateway = start(**LISTENING, free_bytes=1 << 60)
    assert Caller().store(gateway.home, [mr_instance(1)]) == [0xA700]
    assert not gateway.leftovers()


def _open(gateway: RunningGateway) -> socket.socket:
    host, _, port = read_endpoints(gateway.home)["gateway"]["dicom"].rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def _is_cut_off(stranger: socket.socket) -> bool:
    try:
        while stranger.recv(1000):
            pass
    except ConnectionResetError:
        return True
    return True


def test_who_speaks_no_dicom_or_too_much_of_it_is_cut_off(start: Start) -> None:
    gateway = start(**LISTENING, dicom__within_s=0.5)
    huge, slow = struct.pack(">BBL", 1, 0, 0xFFFFFFF0), struct.pack(">BBL", 1, 0, 500) + b"x"
    for what in (huge, slow, b"GET / HTTP/1.1\r\n\r\n", struct.pack(">BBL", 4, 0, 4) + b"abcd"):
        with _open(gateway) as stranger:
            stranger.sendall(what)
            assert _is_cut_off(stranger)
    assert Caller().store(gateway.home, [mr_instance(1)]) == [SUCCESS]


def test_an_instance_that_is_cut_off_leaves_nothing(listening: RunningGateway) -> None:
    with Caller().associated(listening.home) as association:
        _send_part(association, mr_instance(1, edge=256))
        eventually(listening.leftovers)
        association.abort()
    eventually(lambda: not listening.leftovers())
    assert listening.http.get("/studies").json()["studies"] == []
    assert Caller().store(listening.home, [mr_instance(1, edge=256)]) == [SUCCESS]


def _send_part(association: Association, instance: bytes) -> None:
    """The command and the first half of the data."""
    message = C_STORE_RQ()
    message.primitive_to_message(_request(dcmread(io.BytesIO(instance)), None))
    (context,) = [c.context_id for c in association.accepted_contexts if c.abstract_syntax == MR]
    assert context is not None
    pieces = list(message.encode_msg(context, 16_000))
    for piece in pieces[: len(pieces) // 2]:
        association.dul.send_pdu(piece)


def test_a_silent_association_does_not_keep_the_gateway_from_stopping(start: Start) -> None:
    gateway = start(**LISTENING, quiet_s=NEVER)
    silent = _open(gateway)
    association = Caller().request(gateway.home)
    _send_part(association, mr_instance(1, edge=256))
    eventually(gateway.leftovers)
    gateway.process.stop.set()
    began = time.monotonic()
    eventually(lambda: "gateway" not in read_endpoints(gateway.home))
    eventually(lambda: not gateway.leftovers())
    assert time.monotonic() - began < 20
    eventually(lambda: association.is_aborted)
    silent.close()


def test_without_settings_there_is_no_listener(gateway: RunningGateway) -> None:
    assert "dicom" not in read_endpoints(gateway.home)["gateway"]


@pytest.mark.parametrize(
    "settings",
    [
        {"dicom__port": 0},
        {"dicom__calling": TITLE},
        {**LISTENING, "dicom__calling": "A-TITLE-THAT-IS-TOO-LONG"},
        {**LISTENING, "dicom__host": "0.0.0.0"},
        {**LISTENING, "dicom__tls_certificate": "some.pem"},
        {
            **LISTENING,
            "dicom__tls_certificate": "none.pem",
            "dicom__tls_key": "none.pem",
            "dicom__tls_peers": "none.pem",
        },
    ],
    ids=["no titles", "no port", "no title", "open", "half of TLS", "no files"],
)
def test_half_of_the_settings_is_refused(start: Start, settings: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        start(**settings)


def test_beyond_loopback_only_callers_with_a_certificate_are_heard(
    start: Start, certificate: tuple[Path, Path]
) -> None:
    pem, key = certificate
    gateway = start(
        **LISTENING, dicom__host="0.0.0.0", dicom__tls_certificate=pem, dicom__tls_key=key, dicom__tls_peers=pem
    )
    known = ssl.create_default_context(cafile=pem)
    known.check_hostname = False
    stranger = ssl.create_default_context(cafile=pem)
    stranger.check_hostname = False
    known.load_cert_chain(pem, key)
    with _open(gateway) as plain:
        plain.sendall(struct.pack(">BBL", 1, 0, 500))
        assert _is_cut_off(plain)
    with _open(gateway) as plain, pytest.raises(ssl.SSLError), stranger.wrap_socket(plain) as wrapped:
        wrapped.recv(1000)
    assert Caller(tls=known).store(gateway.home, [mr_instance(1)]) == [SUCCESS]


def test_no_name_leaves_the_vault(listening: RunningGateway, capfd: pytest.CaptureFixture[str]) -> None:
    Caller().store(listening.home, [mr_instance(1), mr_instance(1, seed=3), mr_instance(2, Rows=99)])
    apart = (listening.home.vault, listening.home.blobs / "identified")
    texts = [
        path.read_bytes()
        for path in listening.home.root.rglob("*")
        if path.is_file() and not any(path.is_relative_to(folder) for folder in apart)
    ]
    written = capfd.readouterr()
    for text in (*texts, written.out.encode(), written.err.encode()):
        assert not any(name in text for name in (b"Sommerfeld", b"Adalbert", b"ID-4711", b"19501224"))
