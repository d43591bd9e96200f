"""Every name in the environment of a container is a setting of what runs in it, with a value that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.runtime.settings import PREFIX, ServiceSettings, load, load_shared
from services.core.runtime.stage_process import DoorSettings
from services.core.security.tls import TlsSettings
from services.core.storage.settings import S3Settings, TmpfsSettings
from services.fusion_segmentation.sentinel import SentinelSettings
from services.fusion_segmentation.settings import FusionSettings
from services.gateway.settings import GatewaySettings
from services.molecular_subtyping.settings import SubtypeSettings
from services.monitoring.settings import MonitoringSettings
from services.navigation.poses.settings import PoseSettings
from services.navigation.settings import NavigationSettings
from services.preprocessing.settings import PrepareSettings
from services.reporting.settings import ReportingSettings
from tests.chart.chart import VALUE_SETS, Container, containers, objects, of_kind

pytestmark = pytest.mark.integration

STAGE: dict[str, type[ServiceSettings]] = {
    "stage": DoorSettings,
    "tls": TlsSettings,
    "s3": S3Settings,
    "tmpfs": TmpfsSettings,
}
NOT_OURS = {"MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "POD_IP"}


READERS: dict[str, dict[str, type[ServiceSettings]]] = {
    "services.gateway": {"gateway": GatewaySettings, "tls": TlsSettings, "s3": S3Settings},
    "services.preprocessing": {"preprocessing": PrepareSettings, **STAGE},
    "services.fusion_segmentation": {"fusion_segmentation": FusionSettings, **STAGE},
    "services.fusion_segmentation.sentinel": {"sentinel": SentinelSettings},
    "services.molecular_subtyping": {"molecular_subtyping": SubtypeSettings, **STAGE},
    "services.monitoring": {"monitoring": MonitoringSettings, **STAGE},
    "services.reporting": {"reporting": ReportingSettings, **STAGE},
    "services.navigation": {
        "navigation": NavigationSettings,
        "tls": TlsSettings,
        "s3": S3Settings,
        "tmpfs": TmpfsSettings,
    },
    "services.navigation.poses": {"navigation_poses": PoseSettings, "tls": TlsSettings},
}
"""What each process reads, by prefix: shared groups and its own."""


def ours(values: str) -> list[Container]:
    return [c for c in containers(objects(values)) if c.spec["command"][0].endswith("/python") and c.spec.get("env")]


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_name_is_a_setting_with_a_value_that_it_takes(values: str) -> None:
    for container in ours(values):
        env = {name: value.replace("$(POD_IP)", "192.0.2.1") for name, value in container.env().items()}
        settings = READERS[container.spec["command"][2]]
        load_shared(env)
        for service, model in settings.items():
            load(model, service, env)
        groups = {name.removeprefix(PREFIX).partition("__")[0].lower() for name in env if "__" in name}
        assert groups <= set(settings), container.name
        assert {name for name in env if not name.startswith(PREFIX)} <= NOT_OURS, container.name


@pytest.mark.parametrize("values", VALUE_SETS)
def test_health_is_reachable_from_outside_on_the_port_that_is_probed(values: str) -> None:
    for container in ours(values):
        env = container.env()
        host = next(value for name, value in env.items() if name.endswith("__HEALTH_HOST"))
        port = next(value for name, value in env.items() if name.endswith("__HEALTH_PORT"))
        assert (host, int(port)) == ("0.0.0.0", container.spec["livenessProbe"]["httpGet"]["port"]), container.name


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_file_that_a_setting_names_is_mounted_from_a_secret(values: str) -> None:
    for container in ours(values):
        mounted = {m["mountPath"]: m["name"] for m in container.spec["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in container.pod["volumes"]}
        for name, value in container.env().items():
            if not value.startswith("/secrets/"):
                continue
            folder = value if value in mounted else str(Path(value).parent)
            assert "secret" in volumes[mounted[folder]], (container.name, name)
            assert volumes[mounted[folder]]["secret"]["secretName"], (container.name, name)
        unused = {path for path in mounted if path.startswith("/secrets/")} - {
            prefix for value in container.env().values() for prefix in (value, str(Path(value).parent))
        }
        assert not unused, container.name


def test_secrets_are_only_named_never_held() -> None:
    for values in VALUE_SETS:
        found = objects(values)
        assert not of_kind(found, "Secret")
        for container in containers(found):
            assert not {"TOKEN", "PASSWORD", "SECRET"} & {
                part for name in container.env() for part in name.split("_") if name != "GLIOSERVE_GATEWAY__TOKENS"
            }


def test_identity_stays_where_it_belongs() -> None:
    """The key of the pseudonyms and the gateway's own secrets go to the gateway and navigation, to nobody else."""
    for values in VALUE_SETS:
        for container in containers(objects(values)):
            mounted = {m["name"] for m in container.spec["volumeMounts"]}
            if container.spec["name"] != "gateway":
                assert not mounted & {"gateway-tls", "gateway-tokens", "dicom-tls", "postgresql", "vault"}, (
                    container.name
                )
            if container.spec["name"] not in {"gateway", "navigation"}:
                assert "pseudonym-key" not in mounted, container.name
