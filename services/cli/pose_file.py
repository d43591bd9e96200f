"""Poses from a file, one a line, sent at the rate of a tracking camera."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from pathlib import Path

from glioserve.navigation.v1 import pose_service_pb2, pose_service_pb2_grpc

from services.core.contracts.errors import Refused
from services.core.security.tls import TlsSettings, channel

RATE_HZ = 20.0


def read_poses(path: Path) -> list[tuple[float, ...]]:
    """Lines of 3 numbers (the tip) or 16 (4 x 4, row by row), RAS mm. Raises Refused with the line that is neither."""
    poses = []
    with path.open(newline="") as handle:
        for number, row in enumerate(csv.reader(handle), start=1):
            values = [value for value in row if value.strip()]
            if not values or values[0].lstrip().startswith("#"):
                continue
            try:
                found = tuple(float(value) for value in values)
            except ValueError:
                found = ()
            if len(found) == 3:
                x, y, z = found
                found = (1, 0, 0, x, 0, 1, 0, y, 0, 0, 1, z, 0, 0, 0, 1)
            if len(found) != 16:
                raise Refused("BAD_POSE", f"line {number} of {path.name} has neither 3 nor 16 numbers")
            poses.append(found)
    return poses


def tracked(address: str, tls: TlsSettings, token: str, path: Path) -> Iterator[pose_service_pb2.TrackPosesResponse]:
    """The answer to each pose of the file. Raises Refused."""
    poses = read_poses(path)
    beat = threading.Event()

    def asked() -> Iterator[pose_service_pb2.TrackPosesRequest]:
        for number, pose in enumerate(poses, start=1):
            request = pose_service_pb2.TrackPosesRequest(resume_token=token, number=number, pose=pose)
            request.acquired_at.GetCurrentTime()
            yield request
            beat.wait(1 / RATE_HZ)

    with channel(address, tls) as opened:
        yield from pose_service_pb2_grpc.PoseServiceStub(opened).TrackPoses(asked())
