"""What operators copy for Prometheus and Grafana fits what the web process tells, and Prometheus itself reads it."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from ruamel.yaml import YAML

from jobs_app.limit_rules import parse_limits
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.recording import record_results
from requests_app.operations.interventions import retry_request
from tests.conftest import Manage
from tests.deploy.prometheus import of_prometheus
from tests.factories import held, make_job, make_request
from tests.security.conftest import serving

DEPLOY = Path(settings.BASE_DIR) / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "tasker.json").read_text())
PATIENCE = 30.0


def rules() -> list[dict[str, Any]]:
    groups = YAML(typ="safe", pure=True).load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def something_of_each() -> None:
    job = make_job(make_request("Inprogress"), "noop", "inprogress")
    run = RunRecord("run_jobs")
    record_results([Result(held(job), JobStatus.COMPLETED, ran_microseconds=5000)], run)
    run.end()
    failed = make_request("Failed")
    retry_request(failed.token, by="ada", reason="")


@pytest.mark.django_db(transaction=True)
def test_each_metric_and_label_that_is_asked_for_is_told(client, settings: Any) -> None:
    settings.WRK_LIMITS = parse_limits("service2 rate=1/s")  # without limits nothing is told of any
    something_of_each()
    told: dict[str, set[str]] = {"tasker_job_paused": {"job_name"}}  # of no job while none is paused
    for line in client.get("/metrics").content.decode().splitlines():
        if match := re.match(r"(tasker_\w+)(?:\{(.*)\})? ", line):
            told.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2] or ""))
    asked = [*queries(), *(rule["expr"] for rule in rules())]
    names = {name for expression in asked for name in re.findall(r"tasker_\w+", expression)}
    assert len(names) > 15
    assert names - set(told) == set()
    for expression in asked:
        known = set().union(*(told[name] for name in re.findall(r"tasker_\w+", expression))) | {"instance"}
        labels = re.findall(r"(?:by|without) \(([\w, ]+)\)", expression) + re.findall(r"\{(\w+)", expression)
        assert {label.strip() for part in labels for label in part.split(",")} <= known, expression


def test_the_dashboard_leaves_the_data_source_to_its_user_and_has_no_panel_twice() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (column, line)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) == 23


def test_the_alert_rules_do_what_their_tests_say() -> None:
    tested = RULES.with_name("alerts.test.yml")
    for arguments in [("check", "rules", str(RULES)), ("test", "rules", str(tested))]:
        ran = subprocess.run([of_prometheus("promtool"), *arguments], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    fires = re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", tested.read_text())
    assert sorted(fires) == sorted(rule["alert"] for rule in rules())


@pytest.mark.integration
def test_prometheus_scrapes_the_web_process_and_can_ask_all_of_it(manage: Manage, tmp_path: Path) -> None:
    program = of_prometheus("prometheus")
    something_of_each()
    with serving(manage.environment) as web, scraping(program, web, tmp_path) as api:
        wait_for(api, 'tasker_jobs_ended_total{job_name="noop", outcome="completed"} == 1')
        assert [result["value"][1] for result in asked(api, "tasker_database_up")] == ["1"]
        for query in queries():
            asked(api, query.replace("$__rate_interval", "1m"))
        groups = requests.get(f"{api}/rules", timeout=PATIENCE).json()["data"]["groups"]
        assert {rule["lastError"] for group in groups for rule in group["rules"] if "lastError" in rule} <= {""}
        assert len(groups[0]["rules"]) == len(rules())


@contextmanager
def scraping(program: str, web: str, folder: Path) -> Iterator[str]:
    """A Prometheus of its own that scrapes this address each second; returns the address of its API."""
    config = YAML(typ="safe", pure=True).load((DEPLOY / "prometheus" / "scrape.yml").read_text())
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [web.removeprefix("http://")]
    config |= {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(RULES)]}
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
    }
    with subprocess.Popen(
        [program, *(f"--{name}={value}" for name, value in flags.items())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield f"http://{address}/api/v1"
        finally:
            process.kill()  # at once: its data are thrown away


def wait_for(api: str, query: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if asked(api, query):
                return
        except requests.RequestException:
            pass  # not there, or not ready yet
        time.sleep(0.1)
    pytest.fail(f"Prometheus never saw {query}")


def asked(api: str, query: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{api}/query", {"query": query}, timeout=PATIENCE).json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found
