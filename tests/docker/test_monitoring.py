"""Alerts and dashboard speak of metrics that there are, and each alert has been seen to fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from docker.deployment import CLUSTERS, DOCKER, ROOT, cluster, of_kind
from twinset_server.config import load

MONITORING = DOCKER / "monitoring"
OPERATIONS = (ROOT / "docs/operations.md").read_text()

# Of Triton 2.51, as its documentation lists them; its own port tells them.
OF_TRITON = {
    "nv_inference_request_success",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_infer_duration_us",
}


def rules() -> dict[str, dict[str, Any]]:
    (group,) = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def expressions() -> Iterator[str]:
    for rule in rules().values():
        yield rule["expr"]
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m")


def documented() -> dict[str, set[str]]:
    """Return the labels of each metric by the page on operations, which another test holds to a real scrape."""
    rows = re.findall(r"^\| `(twinset_\w+)` \|([^|]*)\|", OPERATIONS, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels.split(":")[0])) for name, labels in rows}


def series(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric that an expression reads, without a histogram's suffix, and the labels that it asks for."""
    line = [promql_parser.parse(expression)]
    while line:
        part = line.pop()
        if isinstance(part, promql_parser.VectorSelector):
            name = re.sub(r"_(bucket|sum|count)$", "", str(part.name))
            yield name, {matcher.name for matcher in part.matchers.matchers}
            continue
        inner = [getattr(part, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "args", "vs")]
        for one in inner:
            line += one if isinstance(one, list) else [one] if one is not None else []


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_an_expression_reads_metrics_that_there_are(expression: str) -> None:
    known, read = documented(), dict(series(expression))
    assert read
    for name, labels in read.items():
        if not name.startswith("nv_"):
            assert labels <= known[name], name
        else:
            assert name in OF_TRITON


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for expression in expressions() for name, _ in series(expression)}
    assert documented().keys() <= shown


def test_every_alert_was_made_to_fire_once_and_is_quiet_on_a_good_day() -> None:
    tests = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    fired, quiet = set(), set()
    for test in tests:
        for case in test["alert_rule_test"]:
            (fired if case["exp_alerts"] else quiet).add(case["alertname"])
    assert fired == quiet == rules().keys()


def test_every_alert_says_what_to_do() -> None:
    assert set(re.findall(r"^\| `(Twinset\w+)` \|", OPERATIONS, re.MULTILINE)) == rules().keys()


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Prometheus isn't installed, whose promtool runs the rules"
)
def test_promtool_sees_them_fire_and_be_quiet() -> None:
    subprocess.run(["promtool", "test", "rules", "alerts.test.yaml"], cwd=MONITORING, check=True)


@pytest.mark.parametrize("name", CLUSTERS)
def test_prometheus_scrapes_where_the_server_tells(name: str) -> None:
    objects = cluster(name)
    settings = load({}, DOCKER / "kubernetes/base/twinset.toml")
    assert settings.metrics.host == "0.0.0.0"
    for one, kind in (("twinset-server", "StatefulSet"), ("twinset-triton", "Deployment")):
        monitor, service = of_kind(objects, "ServiceMonitor", one), of_kind(objects, "Service", one)
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        (endpoint,) = monitor["spec"]["endpoints"]
        (port,) = [port for port in service["spec"]["ports"] if port["name"] == endpoint["port"]]
        (container,) = of_kind(objects, kind, one)["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        let_in = [
            port["port"] for rule in of_kind(objects, "NetworkPolicy", one)["spec"]["ingress"] for port in rule["ports"]
        ]
        assert port["targetPort"] in let_in
        assert ports[port["targetPort"]] == (settings.metrics.port if one == "twinset-server" else 8002)
