"""The bus of a cluster: Apache Kafka through kafka-python (at least 3.0.12).

Producers wait for all replicas and are idempotent; consumers commit by hand, after the output event. Plain membership,
not static: the processes of a stage have no stable names, and cooperative rebalances are cheap.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaProducer

from services.core.bus.errors import BusUnavailable
from services.core.bus.kafka_admin import KafkaAdmin
from services.core.bus.kafka_consumer import KafkaGroupConsumer
from services.core.bus.kafka_wire import CONNECTION, headers_to_wire, kafka_answers

DELIVERY_TIMEOUT_S = 20


class KafkaBus:
    """Opens clients of one cluster, named by its bootstrap servers (host:port)."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = list(servers)

    def producer(self) -> KafkaEventProducer:
        return KafkaEventProducer(self._servers)

    def consumer(self, group: str, topics: Sequence[str]) -> KafkaGroupConsumer:
        return KafkaGroupConsumer(self._servers, group, topics)

    def admin(self) -> KafkaAdmin:
        return KafkaAdmin(self._servers)


class KafkaEventProducer:
    """Implements `port.Producer`. After a failed delivery the next send opens a fresh client."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = list(servers)
        self._guard = threading.Lock()
        self._client: Any = None
        self._open()

    def send(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """See the port. Raises BusUnavailable; Permanent when the broker would never take so large a message."""
        client = self._open()
        try:
            with kafka_answers():
                future = client.send(topic, value=value, key=key.encode(), headers=headers_to_wire(headers or {}))
                future.get(timeout=DELIVERY_TIMEOUT_S + 5)
        except BusUnavailable:
            self._discard(client)
            raise

    def close(self) -> None:
        with self._guard:
            client, self._client = self._client, None
        if client is not None:
            client.close(timeout=5)

    def _open(self) -> Any:
        with self._guard:
            if self._client is None:
                with kafka_answers():
                    self._client = KafkaProducer(
                        bootstrap_servers=self._servers,
                        acks="all",
                        enable_idempotence=True,
                        linger_ms=0,
                        delivery_timeout_ms=DELIVERY_TIMEOUT_S * 1000,
                        max_block_ms=DELIVERY_TIMEOUT_S * 1000,
                        allow_auto_create_topics=False,
                        **CONNECTION,
                    )
            return self._client

    def _discard(self, client: Any) -> None:
        """An idempotent client that gave up on a batch may refuse all that follow."""
        with self._guard:
            if self._client is client:
                self._client = None
        client.close(timeout=0)
