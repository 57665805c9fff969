"""The composition and the clusters say what the code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docker.deployment import CLUSTERS, DOCKER, cluster, composition, of_kind, variables
from twinset_server.config import Settings, load, setting_names
from twinset_server.processes.supervisor import GRACE_S
from twinset_server.rpc.probes import LIVENESS, READINESS, STARTUP


@pytest.fixture(scope="module")
def settings() -> Settings:
    """Return the settings of the clusters, by the server's own reader."""
    return load({}, DOCKER / "kubernetes/base/twinset.toml")


@pytest.fixture(scope="module", params=CLUSTERS)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return cluster(request.param)


@pytest.fixture
def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = of_kind(objects, "StatefulSet", "twinset-server")["spec"]["template"]["spec"]
    return spec


def test_the_catalogue_has_one_home(objects: list[dict[str, Any]]) -> None:
    spec = of_kind(objects, "StatefulSet", "twinset-server")["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_a_node_can_be_drained(objects: list[dict[str, Any]]) -> None:
    for name in ("twinset-server", "twinset-triton"):
        spec = of_kind(objects, "PodDisruptionBudget", name)["spec"]
        assert spec["maxUnavailable"] == 1
        assert "minAvailable" not in spec


def test_the_pod_gets_the_time_that_the_server_takes(pod: dict[str, Any], settings: Settings) -> None:
    takes_s = settings.server.pause_s + settings.server.drain_s + 2 * GRACE_S
    assert pod["terminationGracePeriodSeconds"] > takes_s
    image = Settings(store={"path": Path("data")})
    for service in ("server-cpu", "server-gpu"):
        grace = composition()["services"][service]["stop_grace_period"]
        assert float(grace.removesuffix("s")) > image.server.pause_s + image.server.drain_s + 2 * GRACE_S


def test_probes_ask_for_what_the_server_tells(pod: dict[str, Any], settings: Settings) -> None:
    (container,) = pod["containers"]
    for probe, service in (("startupProbe", STARTUP), ("readinessProbe", READINESS), ("livenessProbe", LIVENESS)):
        assert container[probe]["grpc"] == {"port": settings.probes.port, "service": service}
    assert settings.probes.host == "0.0.0.0"


def test_ports_are_the_settings_and_the_services_lead_to_them(
    objects: list[dict[str, Any]], pod: dict[str, Any], settings: Settings
) -> None:
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "grpc": settings.server.port,
        "probes": settings.probes.port,
        "metrics": settings.metrics.port,
    }
    for port in of_kind(objects, "Service", "twinset-server")["spec"]["ports"]:
        assert (port["targetPort"], port["port"]) == (port["name"], ports[port["name"]])
    host, _, number = str(settings.triton.url).partition(":")
    triton = of_kind(objects, "Service", host)["spec"]["ports"]
    assert int(number) in [port["port"] for port in triton]


def test_files_that_settings_name_are_mounted(pod: dict[str, Any], settings: Settings) -> None:
    (container,) = pod["containers"]
    mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
    named = [settings.tls.certificate, settings.tls.key, settings.access.tokens, settings.store.path]
    named.append(Path(container["args"][-1]))
    for path in named:
        assert path is not None
        assert any(mount in path.parents for mount in mounts), path
    assert container["args"][:2] == ["serve", "--config"]


def test_secrets_are_named_and_not_given(objects: list[dict[str, Any]]) -> None:
    assert not [one for one in objects if one["kind"] == "Secret"]


def test_nobody_is_root_and_no_root_can_be_written(objects: list[dict[str, Any]]) -> None:
    for kind, name in (("StatefulSet", "twinset-server"), ("Deployment", "twinset-triton")):
        spec = of_kind(objects, kind, name)["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


def test_policies_name_pods_and_ports_that_there_are(objects: list[dict[str, Any]]) -> None:
    for name, kind in (("twinset-server", "StatefulSet"), ("twinset-triton", "Deployment")):
        spec = of_kind(objects, "NetworkPolicy", name)["spec"]
        template = of_kind(objects, kind, name)["spec"]["template"]
        chosen = spec["podSelector"]["matchLabels"]
        assert chosen.items() <= template["metadata"]["labels"].items()
        ports = {port["name"] for container in template["spec"]["containers"] for port in container["ports"]}
        assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} <= ports


def test_a_gpu_is_asked_for_on_clusters_of_gpus_alone() -> None:
    for name in CLUSTERS:
        (container,) = of_kind(cluster(name), "Deployment", "twinset-triton")["spec"]["template"]["spec"]["containers"]
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) is (name == "gpu")


def test_the_composition_starts_the_server_after_its_triton() -> None:
    services = composition()["services"]
    for profile in CLUSTERS:
        server = services[f"server-{profile}"]
        assert server["profiles"] == services[f"triton-{profile}"]["profiles"] == [profile]
        assert server["depends_on"][f"triton-{profile}"]["condition"] == "service_healthy"
        assert server["environment"]["TWINSET_TRITON__URL"] == f"triton-{profile}:8001"
        assert server["read_only"] is True
        (port,) = server["ports"]
        assert (port["host_ip"], port["target"]) == ("127.0.0.1", 50051)


def test_variables_of_the_composition_are_settings() -> None:
    for name, service in composition()["services"].items():
        given = service.get("environment", {}) if name.startswith("server") else {}
        for variable in given:
            assert variable.removeprefix("TWINSET_").lower().replace("__", ".") in setting_names()


def test_the_server_can_write_where_its_image_says() -> None:
    services = composition()["services"]
    path = Path(variables("server")["TWINSET_STORE__PATH"])
    for profile in CLUSTERS:
        (volume,) = services[f"server-{profile}"]["volumes"]
        assert Path(volume["target"]) in path.parents
