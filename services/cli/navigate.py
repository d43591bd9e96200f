"""`glioserve navigate`: sends series into a session of the operating room and shows what comes back."""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from glioserve.navigation.v1 import answers_pb2
from google.protobuf.json_format import MessageToDict
from rich.console import Console

from services.cli.exit_codes import Exit
from services.cli.pose_file import tracked
from services.cli.source import collect
from services.cli.theatre_client import Response, Series, TheatreClient
from services.cli.theatre_view import Documents, Lines, Show
from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused, Transient
from services.core.runtime.home import Home, read_endpoints
from services.core.runtime.settings import SharedSettings, load
from services.core.security.tls import TlsSettings

TRIES = 5


def navigate(shared: SharedSettings, environ: Mapping[str, str], options: argparse.Namespace) -> int:
    """Runs the command; 0 when every series got a final mask. Raises Refused and Transient as the client does."""
    tls = load(TlsSettings, "tls", environ)
    address = options.address or _local(shared)
    if tls.certificate is None and not options.address:
        tls = TlsSettings(plain=True)  # this home's own server, on loopback
    series = [_series(text, options) for text in options.series]
    show: Show = Documents() if options.json else Lines(Console())
    token, final = _sent(address, tls, series, options, show)
    if options.pose_file and final:
        for answer in tracked(token.poses_address, tls, token.resume_token, Path(options.pose_file)):
            show.pose(MessageToDict(answer, preserving_proto_field_name=True))
    if options.out:
        for mask in final.values():
            _written(mask, Path(options.out))
    return Exit.OK if len(final) == len(series) else Exit.NO_RESULT


def _sent(
    address: str, tls: TlsSettings, series: list[Series], options: argparse.Namespace, show: Show
) -> tuple[answers_pb2.Accepted, dict[str, answers_pb2.MaskAnswer]]:
    """Every series to its last word; a broken stream is taken up again."""
    final: dict[str, answers_pb2.MaskAnswer] = {}
    accepted, last = answers_pb2.Accepted(), 0
    waiting = {item.name: item for item in series}
    for attempt in range(1, TRIES + 1):
        with TheatreClient(address, tls, resume=(accepted.resume_token, last)) as client:
            try:
                accepted = client.start(options.study or "", options.deadline)
                show.answer(Response(accepted=accepted))
                for item in list(waiting.values()):
                    first = accepted.next_chunk if accepted.upload == item.name else 0
                    client.send(item, first)
                    for response in client.answers():
                        show.answer(response)
                        if response.mask.kind == answers_pb2.MASK_KIND_FINAL:
                            final[response.mask.series] = response.mask
                        if _last_word(response):
                            break
                    waiting.pop(item.name)
                if not options.pose_file:
                    client.end()
                break
            except Transient as error:
                last = client.last
                if attempt == TRIES:
                    raise
                show.answer(Response(ended=answers_pb2.SessionEnded(limit=answers_pb2.Limit(message=error.message))))
    return accepted, final


def _last_word(response: Response) -> bool:
    body = response.WhichOneof("body")
    return body in ("degraded", "refused", "cancelled", "ended") or (
        body == "mask" and response.mask.kind == answers_pb2.MASK_KIND_FINAL
    )


def _series(text: str, options: argparse.Namespace) -> Series:
    """`t1c=PATH` or `PATH`: a NIfTI file or a folder of DICOM instances."""
    slot, mark, rest = text.partition("=")
    path = Path(rest if mark else text)
    files = [file.path for file in collect(path)]
    modality = slot if mark else next((m for m in Modality if m in path.name.lower()), "")
    if files[0].name.lower().endswith((".nii", ".nii.gz")) and not modality:
        raise Refused("NO_SEQUENCE", f"{path.name} does not say its sequence", f"Write t1c={path} or the like.")
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in path.name.split(".")[0])[:60] or "series"
    return Series(name=name, files=files, modality=modality, anatomy_changed=options.anatomy_changed)


def _local(shared: SharedSettings) -> str:
    home = Home(shared.home.resolve())
    address = read_endpoints(home).get("navigation", {}).get("grpc")
    if address is None:
        raise Transient("UNREACHABLE", f"no navigation runs in the home {home.root}", "Start it: glioserve up")
    return address


def _written(answer: answers_pb2.MaskAnswer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    grid = answer.mask.grid
    labels = np.frombuffer(zlib.decompress(answer.mask.labels_zlib), np.uint8).reshape(grid.shape)
    image = nib.Nifti1Image(labels, np.array(grid.affine).reshape(4, 4))
    image.header["descrip"] = answer.mask.label_schema.encode()
    nib.save(image, folder / f"{answer.series}.nii.gz")
    print(folder / f"{answer.series}.nii.gz", file=sys.stderr)
