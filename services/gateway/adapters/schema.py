"""Tables of the gateway's state. Names of patients, their ids and file names are in none of them (rule 10).

A change here needs a revision in `migrations/versions`: a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from services.gateway.adapters.database import UtcTime

metadata = MetaData()

patients = Table(
    "patients",
    metadata,
    Column("patient", String(32), primary_key=True),
    Column("created_at", UtcTime, nullable=False),
)
studies = Table(
    "studies",
    metadata,
    Column("study", String(36), primary_key=True),
    Column("patient", ForeignKey("patients.patient"), nullable=False, index=True),
    Column("source", String(8), nullable=False),
    Column("study_uid", String(64)),
    Column("acquired_at", String(32)),
    Column("lane", String(8), nullable=False),
    Column("version", Integer, nullable=False),  # 0: nothing closed yet
    Column("closes_at", UtcTime, index=True),  # set while instances wait for the next version
    Column("created_at", UtcTime, nullable=False),
)
versions = Table(
    "versions",
    metadata,
    Column("study", ForeignKey("studies.study"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("intake", JSON, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)
instances = Table(
    "instances",
    metadata,
    Column("study", ForeignKey("studies.study"), primary_key=True),
    Column("instance", String(80), primary_key=True),  # SOPInstanceUID, or the slot of a NIfTI file
    Column("series", String(80), nullable=False),
    Column("slot", String(8)),
    Column("fingerprint", String(71), nullable=False),  # of pixels and geometry
    Column("blob", JSON, nullable=False),
    Column("door", String(16), nullable=False),
    Column("version", Integer),  # the first version that holds it; none: not closed yet
    Column("accepted_at", UtcTime, nullable=False),
)
requests = Table(
    "requests",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("request_id", String(36), nullable=False, unique=True),
    Column("patient", ForeignKey("patients.patient"), nullable=False, index=True),
    Column("study", ForeignKey("studies.study"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("stage", String(8), nullable=False),
    Column("lane", String(8), nullable=False),
    Column("replay", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),  # the request as it travels
    Column("status", String(10), nullable=False, index=True),  # pending, or how it ended
    Column("outcome", LargeBinary),  # the outcome as it came
    Column("requested_at", UtcTime, nullable=False),
    Column("emitted_at", UtcTime, nullable=False),  # raised each time the reconciler sends it again
    Column("settled_at", UtcTime),
    Index("requests_of_study", "study", "version"),
)
results = Table(
    "results",
    metadata,
    Column("study", ForeignKey("studies.study"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("manifest", JSON, nullable=False),
    Column("completeness", String(16), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)
intraoperative = Table(  # what the theatre found; no version, no run of the ward
    "intraoperative",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("study", String(36), nullable=False, index=True),  # may be one that only the theatre knows
    Column("patient", String(32), nullable=False),
    Column("version", Integer, nullable=False),
    Column("manifest", JSON, nullable=False),
    Column("completeness", String(16), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("acquired_at", String(32)),
    Column("created_at", UtcTime, nullable=False),
)
history = Table(
    "history",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("study", ForeignKey("studies.study"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("event", String(40), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("at", UtcTime, nullable=False),
    Index("history_of_study", "study", "seq"),
)
outbox = Table(
    "outbox",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("topic", String(80), nullable=False),
    Column("key", String(32), nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("sent_at", UtcTime, index=True),
)
deliveries = Table(  # filled once results are sent to archive and record
    "deliveries",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("study", ForeignKey("studies.study"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("destination", String(80), nullable=False),
    Column("output", String(80), nullable=False),
    Column("digest", String(71), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("delivered_at", UtcTime),
    UniqueConstraint("destination", "output", "digest"),
)
