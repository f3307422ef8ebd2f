"""docker-compose.yml keeps its rules: nothing privileged, nothing writable, no password in a command line."""

import json
import re

import pytest
from django.conf import settings
from ruamel.yaml import YAML

COMPOSE = YAML(typ="safe", pure=True).load((settings.BASE_DIR / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "tasker-worker:dev"]
REQUIRED = {"PORT", "DB_USER", "DB_PASS", "DB_NAME", "URL_SERVICE1", "URL_SERVICE2", "URL_SERVICE3"}


def test_there_is_what_the_readme_says():
    assert set(SERVICES) == {"db", "migrate", "web", "worker", "demo"}
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["demo"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_can_gain_a_privilege_or_reach_the_host(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"} & set(service)
    assert not any(volume.startswith(("/", ".")) for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", OURS)
def test_our_services_write_to_their_tmp_only(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - a container's own
    assert service["init"] is True
    assert not service.get("volumes")


def test_only_the_web_port_is_open_to_other_machines():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.pop("web") == ["${PORT}:${PORT}"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


@pytest.mark.parametrize("name", SERVICES)
def test_no_password_is_in_a_command_line(name):
    service = SERVICES[name]
    run = json.dumps([service.get("command"), service["healthcheck"]])
    assert "${DB_PASS" not in run
    assert not re.search(r"--password|\s-p", run)


def test_web_and_worker_wait_for_the_migrations_and_those_for_the_database():
    for name in ("web", "worker"):
        assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert SERVICES["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"


def test_every_service_that_stays_has_a_health_check():
    assert [name for name, service in SERVICES.items() if "test" not in service["healthcheck"]] == ["migrate"]


def test_a_required_name_that_is_missing_stops_it_with_its_name():
    asked = [re.match(r"\$\{(\w+):?\?", line) for line in COMPOSE["x-required"]]
    assert {match[1] for match in asked if match} == REQUIRED


def test_the_worker_is_given_longer_than_its_running_jobs():
    grace = f"{settings.WRK_STOP_GRACE_SECONDS:g}"
    assert SERVICES["worker"]["stop_grace_period"] == f"1m${{WRK_STOP_GRACE_SECONDS:-{grace}}}s"
