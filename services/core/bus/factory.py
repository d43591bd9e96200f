"""Opens the bus that a setting names: `embedded`, or `kafka://host:port[,host:port]`."""

from __future__ import annotations

from services.core.bus.port import Bus
from services.core.runtime.home import Home
from services.core.runtime.settings import SettingsError

KAFKA_SCHEME = "kafka://"


def open_bus(setting: str, home: Home) -> Bus:
    """The bus of this installation. Raises SettingsError on a setting that names none, Permanent or BusUnavailable."""
    if setting == "embedded":
        from services.core.bus.embedded import EmbeddedBus

        return EmbeddedBus(home.bus)
    if setting.startswith(KAFKA_SCHEME):
        from services.core.bus.kafka import KafkaBus

        servers = setting.removeprefix(KAFKA_SCHEME).split(",")
        if all(_is_address(server) for server in servers):
            return KafkaBus(servers)
    raise SettingsError(f"GLIOSERVE_BUS: {setting!r} is neither `embedded` nor `kafka://host:port[,host:port]`")


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isdigit()
