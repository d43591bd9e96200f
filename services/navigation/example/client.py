"""Sends one NIfTI series into a session, prints the answers. Uses the generated stubs and nothing else of GlioServe."""

from __future__ import annotations

import argparse
import hashlib
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import grpc
from glioserve.navigation.v1 import answers_pb2, navigation_service_pb2, navigation_service_pb2_grpc, series_pb2
from google.protobuf import duration_pb2

Request = navigation_service_pb2.SessionRequest
CHUNK = 1 << 20


def requests(path: Path, modality: str, seconds: int) -> Iterator[Request]:
    """A start, a header, the chunks."""
    data = path.read_bytes()
    yield Request(start=navigation_service_pb2.SessionStart(deadline=duration_pb2.Duration(seconds=seconds)))
    yield Request(
        header=series_pb2.SeriesHeader(
            series="first", format=series_pb2.SERIES_FORMAT_NIFTI, modality=modality, file_sizes=[len(data)]
        )
    )
    for number, start in enumerate(range(0, len(data), CHUNK)):
        part = data[start : start + CHUNK]
        last = start + CHUNK >= len(data)
        chunk = series_pb2.SeriesChunk(
            series="first",
            sequence=number,
            data=part,
            crc32c=google_crc32c.value(part),
            sha256=hashlib.sha256(data).digest() if last else b"",
        )
        yield Request(chunk=chunk)


def connected(options: argparse.Namespace) -> grpc.Channel:
    """Mutual TLS with certificates, plain text (loopback only) without."""
    if not options.ca:
        return grpc.insecure_channel(options.address)
    ca, key, certificate = (Path(name).read_bytes() for name in (options.ca, options.key, options.cert))
    return grpc.secure_channel(options.address, grpc.ssl_channel_credentials(ca, key, certificate))


def main() -> int:
    """0 with a final mask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("modality")
    parser.add_argument("file", type=Path)
    for name in ("--ca", "--cert", "--key"):
        parser.add_argument(name)
    options = parser.parse_args()
    with connected(options) as channel:
        stub = navigation_service_pb2_grpc.NavigationServiceStub(channel)
        for response in stub.Session(requests(options.file, options.modality, seconds=20)):
            body = response.WhichOneof("body")
            sys.stdout.write(f"{response.sequence} {body}\n")
            if body == "mask" and response.mask.kind == answers_pb2.MASK_KIND_FINAL:
                Path("mask.raw").write_bytes(zlib.decompress(response.mask.mask.labels_zlib))
                return 0
            if body in ("degraded", "refused"):
                sys.stdout.write(f"{getattr(response, body).limit}\n")
                return 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
