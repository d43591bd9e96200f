"""What gateways on one PostgreSQL may count on: order per patient, one vault, nothing lost with a connection."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from services.core.contracts.errors import Transient
from services.core.contracts.ids import PatientKey, StudyKey
from services.gateway.adapters import schema
from services.gateway.adapters.database import Database, insert_new, open_postgres
from services.gateway.adapters.migrating import bring_up_to_date
from services.gateway.adapters.state import SqlStateStore
from services.gateway.adapters.vault import Vault
from services.gateway.domain.identity import Identity
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.contract
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def post(database: Database, *messages: str) -> None:
    """Messages `<patient> <number>` into the outbox, in this order."""
    with database.write() as connection:
        for message in messages:
            row = {"topic": "t", "key": message.split()[0], "value": message.encode(), "headers": {}}
            connection.execute(schema.outbox.insert().values(created_at=NOW, **row))


def claimed(store: SqlStateStore) -> list[str]:
    """What a claim holds, sent and marked."""
    with store.claim(10) as claim:
        for row in claim.rows:
            claim.mark(row, NOW)
        return [row.value.decode() for row in claim.rows]


def everything(store: SqlStateStore) -> list[str]:
    """What is sent until nothing is left."""
    sent: list[str] = []
    while found := claimed(store):
        sent += found
    return sent


def test_messages_of_a_patient_leave_in_order(database: Database) -> None:
    store = SqlStateStore(database)
    post(database, "a 1", "a 2", "b 1", "a 3", "b 2")
    sent = everything(store)
    assert [message for message in sent if message.startswith("a")] == ["a 1", "a 2", "a 3"]
    assert [message for message in sent if message.startswith("b")] == ["b 1", "b 2"]
    assert store.unsent(10) == []


def test_a_bus_that_goes_away_takes_no_mark_back(database: Database) -> None:
    store = SqlStateStore(database)
    post(database, "a 1", "b 1")

    def send_one() -> None:
        with store.claim(10) as claim:
            claim.mark(claim.rows[0], NOW)
            raise Transient("BUS_UNAVAILABLE", "away")

    with pytest.raises(Transient, match="away"):
        send_one()
    assert [row.value for row in store.unsent(10)] == [b"b 1"]


def test_a_failure_of_the_program_leaves_the_message_to_be_sent_again(database: Database) -> None:
    store = SqlStateStore(database)
    post(database, "a 1")
    with pytest.raises(RuntimeError), store.claim(10):
        raise RuntimeError
    assert everything(store) == ["a 1"]


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    made = postgres_server.database()
    with closing(open_postgres(made)) as database:
        bring_up_to_date(database)
    return made


def test_two_gateways_send_no_message_twice_and_none_out_of_order(url: str) -> None:
    with closing(open_postgres(url)) as one, closing(open_postgres(url)) as two:
        post(one, "a 1", "a 2", "b 1", "b 2")
        with SqlStateStore(one).claim(1) as claim:
            assert [row.value for row in claim.rows] == [b"a 1"]
            assert everything(SqlStateStore(two)) == ["b 1", "b 2"], "a 2 must wait for a 1"
            claim.mark(claim.rows[0], NOW)
        assert everything(SqlStateStore(two)) == ["a 2"]
        assert everything(SqlStateStore(one)) == []


def test_a_second_gateway_waits_for_the_patient_that_the_first_is_making(url: str) -> None:
    def impatient(database: Database) -> None:
        with database.write() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            connection.execute(insert_new(connection, schema.patients).values(patient="p", created_at=NOW))

    with closing(open_postgres(url)) as one, closing(open_postgres(url)) as two:
        with SqlStateStore(one).write() as transaction:
            transaction.lock(PatientKey("p"), NOW)
            with pytest.raises(Transient):
                impatient(two)
        with two.write() as connection:
            again = connection.execute(insert_new(connection, schema.patients).values(patient="p", created_at=NOW))
            assert again.rowcount == 0


def test_a_server_that_is_killed_is_away_for_a_while_and_loses_nothing(
    postgres_server: PostgresServer, url: str
) -> None:
    with closing(open_postgres(url)) as database:
        store = SqlStateStore(database)
        with store.write() as transaction:
            transaction.lock(PatientKey("kept"), NOW)
        postgres_server.kill()
        try:
            for attempt in (lambda: store.unsent(1), lambda: store.forget_sent(NOW)):
                with pytest.raises(Transient) as caught:
                    attempt()
                assert caught.value.code == "STATE_UNAVAILABLE"
        finally:
            postgres_server.start()
        with database.read() as connection:
            assert connection.scalars(select(schema.patients.c.patient)).all() == ["kept"]


def test_a_connection_that_is_cut_in_a_transaction_leaves_nothing_of_it(
    postgres_server: PostgresServer, url: str
) -> None:
    with closing(open_postgres(url)) as database:
        store = SqlStateStore(database)

        def cut() -> None:
            with store.write() as transaction:
                transaction.lock(PatientKey("p"), NOW)
                postgres_server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'glioserve-gateway'"
                )
                transaction.lock(PatientKey("q"), NOW)

        with pytest.raises(Transient):
            cut()
        with database.read() as connection:
            assert connection.scalars(select(schema.patients.c.patient)).all() == []


def test_a_wrong_password_is_worth_another_try_and_never_told(postgres_server: PostgresServer, url: str) -> None:
    wrong = url.replace(postgres_server.password, "not-the-password")
    with closing(open_postgres(wrong)) as database, pytest.raises(Transient) as caught:
        SqlStateStore(database).unsent(1)
    assert "not-the-password" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    ["mysql://u:secret@h/d", "postgresql://u:secret@h", "secret", "postgresql://u:secret@h/d?sslmode=allow"],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_secret(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"postgresql://|not a URL|sslmode") as caught:
        open_postgres(wrong)
    assert "secret" not in str(caught.value)


def test_a_server_without_tls_beyond_loopback_is_not_talked_to(url: str) -> None:
    with closing(open_postgres(f"{url}?sslmode=verify-full")) as database, pytest.raises(Transient):
        SqlStateStore(database).unsent(1)


def test_identities_of_two_gateways_are_in_one_vault(postgres_server: PostgresServer, tmp_path: Path) -> None:
    made, key = postgres_server.database(), b"k" * 32
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        (folder / "pseudonym.key").write_bytes(key)
    one, two = (Vault(folder, open_postgres(made)) for folder in folders)
    with closing(one), closing(two):
        patient = one.pseudonym("issuer", "4711")
        assert two.pseudonym("issuer", "4711") == patient
        one.remember(patient, Identity(patient_id="4711", issuer="issuer", name="Invented^One", birth_date=""), NOW)
        two.remember(
            patient,
            Identity(patient_id="4711", issuer="issuer", name="", birth_date="19700101"),
            NOW + timedelta(seconds=1),
        )
        found = one.identity(patient)
        assert found is not None
        assert (found.name, found.birth_date) == ("Invented^One", "19700101")
        assert two.study_module(StudyKey("s")).study_id == ""
