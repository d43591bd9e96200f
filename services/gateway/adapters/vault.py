"""The vault: who is behind a pseudonym, and the key that makes pseudonyms (rule 10).

A database and a key file of their own, for the owner only. Nothing but this module reads them. Several gateways may
share the database where it is a PostgreSQL; then each must be given the same key file.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from sqlalchemy import Column, ColumnElement, MetaData, String, Table, select, update

from services.core.contracts.ids import PatientKey, StudyKey
from services.core.security.pseudonym import KEY_FILE, Pseudonyms
from services.gateway.adapters.database import Database, UtcTime, insert_new, open_sqlite
from services.gateway.domain.identity import Identity, StudyModule

metadata = MetaData()
identities = Table(
    "identities",
    metadata,
    Column("patient", String(32), primary_key=True),
    Column("patient_id", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("name", String, nullable=False),
    Column("birth_date", String, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
studies = Table(
    "studies",
    metadata,
    Column("study", String(36), primary_key=True),
    Column("accession_number", String, nullable=False),
    Column("study_id", String, nullable=False),
    Column("referring_physician", String, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)


class Vault:
    """Pseudonyms and identities of one home: in files of the folder, or with the given database and key."""

    def __init__(self, folder: Path, database: Database | None = None, key: Path | None = None) -> None:
        self._pseudonyms = Pseudonyms(key or folder / KEY_FILE)
        if database is None:
            path = folder / "identities.sqlite"
            path.touch(mode=0o600)
            database = open_sqlite(path)
        self._database = database
        with database.write() as connection:
            database.lock_all(connection)
            metadata.create_all(connection)

    def pseudonym(self, issuer: str, patient_id: str) -> PatientKey:
        """HMAC-SHA-256 of (issuer, PatientID), the first 128 bits. The same patient always gets the same one."""
        return self._pseudonyms.of(issuer, patient_id)

    def remember(self, patient: PatientKey, identity: Identity, now: datetime) -> None:
        """Keeps who it is; later, fuller statements replace empty ones and newer ones older ones. Durable."""
        self._keep(identities.c.patient, patient, identity.stored(), now)

    def remember_study(self, study: StudyKey, module: StudyModule, now: datetime) -> None:
        """Keeps what names people or orders in a study's headers, by the same rules. Durable."""
        self._keep(studies.c.study, study, module.stored(), now)

    def identity(self, patient: PatientKey) -> Identity | None:
        """Who is behind a pseudonym, for stamping results at download; None when it never had an identity."""
        with self._database.read() as connection:
            row = connection.execute(select(identities).where(identities.c.patient == patient)).first()
        if row is None:
            return None
        return Identity(patient_id=row.patient_id, issuer=row.issuer, name=row.name, birth_date=row.birth_date)

    def study_module(self, study: StudyKey) -> StudyModule:
        """What was kept of a study, for stamping results at download; empty when nothing was."""
        with self._database.read() as connection:
            row = connection.execute(select(studies).where(studies.c.study == study)).first()
        if row is None:
            return StudyModule()
        return StudyModule(
            accession_number=row.accession_number,
            study_id=row.study_id,
            referring_physician=row.referring_physician,
        )

    def _keep(self, key: Column[str], value: str, statement: dict[str, str], now: datetime) -> None:
        stated = {name: text for name, text in statement.items() if text}
        mine = key == value
        if self._known(key.table, mine, stated):  # most often: one patient sends hundreds of instances
            return
        every = {**statement, key.name: value, "updated_at": now}
        with self._database.write() as connection:
            if connection.execute(insert_new(connection, key.table).values(every)).rowcount == 0:
                connection.execute(update(key.table).where(mine).values(updated_at=now, **stated))

    def _known(self, table: Table, mine: ColumnElement[bool], stated: dict[str, str]) -> bool:
        with self._database.read() as connection:
            row = connection.execute(select(table).where(mine)).mappings().first()
        return row is not None and all(row[name] == text for name, text in stated.items())

    def close(self) -> None:
        """Closes its database."""
        self._database.close()
