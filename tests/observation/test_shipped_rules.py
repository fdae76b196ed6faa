"""The dashboard and the alerts ask for what a worker exposes, and promtool accepts what it exposes."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import RestCall
from gateway.errors import ServiceError
from tests.observation.watched import Watched
from tests.servers.conduct import Conduct

_ROOT = Path(__file__).resolve().parents[2]
_RULES = _ROOT / "deploy" / "prometheus"
_NAME = re.compile(r"\b((?:gateway|process|service:gateway)_?[a-z0-9_:]+|up)(\{[^}]*\})?")
#: Of Prometheus itself, and of what it adds to each series.
_ADDED = {"instance", "job", "le"}
_ITS_OWN = {"up": {"job", "instance"}}
CATALOGUE = """
[services.billing]
rest.url = "${COUNTING_URL}"
retry = { attempts = 2, backoff = 0.01 }
limit = { concurrency = 1 }
breaker = { fail_max = 100 }
hedge = { after = 0.05 }
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A worker that has done a little of everything, so that all of its series are there."""
    with Watched(tmp_path_factory.mktemp("watched"), CATALOGUE) as made:
        made.service.behave("/down", Conduct(status=503))
        made.service.behave("/slow", Conduct(delay_s=0.3))
        calls = [
            RestCall("billing", "POST", "/created", json={"a": 1}),
            RestCall("billing", "GET", "/down"),
            *[RestCall("billing", "GET", "/slow") for _ in range(4)],
        ]
        for pending in made.gateway.submit_many(calls, deadline=20.0):
            try:
                pending.result(timeout=30)
            except ServiceError:
                continue
        made.gateway.celery.send_task("gateway.call", kwargs={"version": 1, "call": {}}, queue="gateway.billing")
        made.worker.process.wait_until(lambda: bool(made.values("gateway_refused_total")), timeout=10)
        yield made


def exposed(watched: Watched) -> dict[str, set[str]]:
    """Names of samples, and of the labels of each."""
    found: dict[str, set[str]] = {}
    for family in watched.metrics().values():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((_RULES / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    board = json.loads((_ROOT / "deploy" / "grafana" / "call-gateway.json").read_text())
    asked = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    variables = {f"${v['name']}": v["query"] for v in board["templating"]["list"] if v["type"] == "query"}
    return asked | variables | {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}


@pytest.mark.parametrize("where", expressions())
def test_what_is_asked_for_is_exposed(watched: Watched, where: str) -> None:
    known = exposed(watched) | _ITS_OWN
    known |= {rule["record"]: {"service"} for rule in rules() if "record" in rule}
    text = expressions()[where]
    grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", text) for label in by.split(",")}
    names = [(name, labels) for name, labels in _NAME.findall(text) if not name.endswith("_ratio")]
    assert names, text
    for name, labels in names:
        assert name in known, f"{where}: no worker exposes {name}"
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels)) | grouped
        assert asked - known[name] <= _ADDED, f"{where}: {name} has no {asked - known[name] - _ADDED}"


def test_all_that_is_exposed_is_explained_and_the_other_way_round(watched: Watched) -> None:
    text = (_ROOT / "docs" / "metrics.md").read_text()
    explained = set(re.findall(r"`(gateway_[a-z_]+)`", text))
    families = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in watched.metrics().values()
        if family.name.startswith("gateway_")
    }
    # Nothing was a duplicate here, or had to be parked.
    assert explained - families <= {"gateway_dropped_total", "gateway_parked_total"}
    assert families - explained == set()


def promtool(*arguments: str, text: str | None = None) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run(
        ["promtool", *arguments], input=text, cwd=_RULES, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_and_says_what_to_do() -> None:
    alerts = {rule["alert"]: rule for rule in rules() if "alert" in rule}
    tested = {
        case["alertname"]
        for test in yaml.safe_load((_RULES / "alerts.test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert tested == set(alerts)
    assert all({"summary", "action"} <= set(rule["annotations"]) for rule in alerts.values())


def test_promtool_checks_the_rules() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts.test.yml")


def test_promtool_checks_what_is_exposed(watched: Watched) -> None:
    promtool("check", "metrics", text=watched.get("/metrics")[1])
