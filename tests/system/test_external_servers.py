"""The path of the demo with everything that a cluster has outside: Kafka, PostgreSQL and an object store, all real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, Row, select

from services.gateway.adapters.database import open_postgres
from services.phantom import SMALL, generate, invented_patient, write_dicom
from tests.servers import kafka, postgres, s3
from tests.servers.require import require
from tests.servers.triton import require_triton
from tests.system.invariants import assert_one_current_result, unpacked
from tests.system.stack import running

pytestmark = pytest.mark.system


def test_a_dicom_study_goes_through_kafka_postgresql_and_s3(tmp_path: Path) -> None:
    require("kafka", kafka.missing())
    require("postgres", postgres.missing())
    require("s3", s3.missing())
    require_triton()
    patient = invented_patient(21)
    write_dicom(generate(21, SMALL), tmp_path / "study", patient)
    with (
        kafka.KafkaBroker(tmp_path / "kafka") as broker,
        postgres.PostgresServer() as database,
        s3.S3Server(tmp_path / "s3") as store,
    ):
        state, vault = database.database(), database.database()
        outside = {
            "GLIOSERVE_BUS": broker.setting,
            "GLIOSERVE_GATEWAY__STATE__URL": state,
            "GLIOSERVE_GATEWAY__VAULT__URL": vault,
            **store.environ,
        }
        with running(tmp_path, outside) as stack:
            study = stack.submit(tmp_path / "study")
            assert stack.wait_done(study)["state"] == "done"
            assert_one_current_result(stack, [study])
            kept = {path.relative_to(stack.home.root) for path in files(stack.home.root, "bus", "blobs", "state")}
        assert kept == set(), "nothing of a study stays on the machine"
        told = {**rows(state), **objects(store)}
        names = [name.encode() for name in patient.identity]
        assert {where for where, what in told.items() if any(name in what for name in names)} == set()
        assert any(patient.name.encode() in what for what in rows(vault).values())


def files(root: Path, *folders: str) -> Iterator[Path]:
    """All files in these folders of a home."""
    return (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())


def rows(url: str) -> dict[str, bytes]:
    """All that a database holds, by table."""
    tables = MetaData()
    with closing(open_postgres(url)) as database, database.read() as connection:
        tables.reflect(connection)
        return {
            name: b"".join(_bytes(row) for row in connection.execute(select(table)))
            for name, table in tables.tables.items()
        }


def _bytes(row: Row[Any]) -> bytes:
    return b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row)


def objects(server: s3.S3Server) -> dict[str, bytes]:
    """All that the bucket holds but the identified instances, packed files also unpacked."""
    client = server.client()
    found: dict[str, bytes] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=s3.BUCKET):
        for item in page["Contents"]:
            if "/identified/" not in item["Key"]:
                data: bytes = client.get_object(Bucket=s3.BUCKET, Key=item["Key"])["Body"].read()
                found[item["Key"]] = data + unpacked(data)
    return found
