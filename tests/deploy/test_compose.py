"""docker-compose.yml keeps its rules: nothing privileged, nothing writable, no password in a command line."""

import json
import re

import pytest
from django.conf import settings
from ruamel.yaml import YAML

COMPOSE = YAML(typ="safe", pure=True).load((settings.BASE_DIR / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
SETTINGS = set(COMPOSE["x-settings"])
STEPS = ["passwords", "migrate", "users", "keeper"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "tasker-worker:dev"]
REQUIRED = {"PORT", "DB_USER", "DB_PASS", "DB_NAME", "URL_SERVICE1", "URL_SERVICE2", "URL_SERVICE3"}


def is_secret(name: str) -> bool:
    """Those of TLS name files."""
    return (
        bool(re.search("PASS|KEY|AUTH|CERT|HEADERS", name))
        and not name.endswith("_FILE")
        and not name.startswith("DB_SSL_")
    )


def test_there_is_what_the_readme_says():
    assert set(SERVICES) == {"db", "web", "worker", "demo", *STEPS}
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["keeper", "demo"]


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
    if name != "passwords":
        assert all(re.fullmatch(r"password-\w+:/run/secrets/\w+:ro", volume) for volume in service.get("volumes", []))


ANSWERS = ("WRK_PUBLIC_URL", "WRK_ANSWER_KEYS", "WRK_ANSWER_KEYS_FILE")
SECRETS = {  # who has which: the passwords of these users, and these names of .env
    "passwords": ({"root", "owner", "web", "keeper", "caller", "answerer", "auditor"}, set()),
    "db": ({"root", "owner"}, set()),
    "migrate": ({"owner"}, set()),
    "users": ({"root", "web", "keeper", "caller", "answerer", "auditor"}, {"DB_PASS"}),
    "web": ({"web"}, {"DJANGO_SECRET_KEY", "WRK_ANSWER_KEYS", "WRK_SUBJECT_KEYS", "OTEL_EXPORTER_OTLP_HEADERS"}),
    "worker": (
        set(),
        {"DB_PASS", "WRK_ANSWER_KEYS", "WRK_SUBJECT_KEYS", "WRK_NOTIFY_KEYS", "OTEL_EXPORTER_OTLP_HEADERS"}
        | {f"{kind}_SERVICE{n}" for kind in ("AUTH", "CERT") for n in "123"},
    ),
    "keeper": ({"keeper"}, set()),
    "demo": (set(), set()),
}


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_the_secrets_that_it_needs_and_no_other(name):
    service = SERVICES[name]
    assert "env_file" not in service
    mounted = {match[1] for volume in service.get("volumes", []) if (match := re.match(r"password-(\w+):", volume))}
    environment = service.get("environment", {})
    named = {name for name in environment if is_secret(name)}
    assert (mounted, named) == SECRETS[name]


def test_each_runs_as_the_database_user_of_its_own():
    def user(name):
        environment = SERVICES[name]["environment"]
        return environment["DB_USER"], environment["DB_PASS_FILE"]

    for name, role in [("migrate", "owner"), ("web", "web"), ("keeper", "keeper")]:
        assert user(name) == (f"${{DB_USER}}_{role}", f"/run/secrets/{role}/password")
    assert user("worker") == user("users") == (None, None)  # handed over as .env has them
    assert SERVICES["db"]["environment"]["MYSQL_USER"] == "${DB_USER}_owner"


def test_every_setting_reaches_web_and_worker():
    """A new one makes this fail: name it in x-settings, or, when it is a secret, with those alone that need it."""
    example = (settings.BASE_DIR / ".env.example").read_text()
    known = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))
    reached = SETTINGS | {"DB_USER", "DB_PASS", "DJANGO_SECRET_KEY", "WRK_PUBLIC_URL"} | SECRETS["worker"][1]
    reached |= {"WRK_NOTIFY", "WRK_NOTIFY_FAILED"}  # the worker's alone: the others have no keys
    reached |= {name for name in SERVICES["worker"]["environment"] if name.startswith("CA_")}
    assert known - reached == {"WRK_SQLITE_FILE"}
    assert not reached - known
    assert not {name for name in SETTINGS if is_secret(name)}


def test_the_url_for_answers_goes_where_its_keys_go():
    """One without the other is an error of the checks, also of those that migrate runs."""
    having = [{name for name in SERVICES if key in SERVICES[name].get("environment", {})} for key in ANSWERS]
    assert having == [{"web", "worker"}] * len(ANSWERS)


def test_the_receivers_of_notifications_go_where_their_keys_go():
    names = ("WRK_NOTIFY", "WRK_NOTIFY_FAILED", "WRK_NOTIFY_KEYS", "WRK_NOTIFY_KEYS_FILE")
    having = [{name for name in SERVICES if key in SERVICES[name].get("environment", {})} for key in names]
    assert having == [{"worker"}] * len(names)


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
    done = "service_completed_successfully"
    for name in ("web", "worker", "keeper"):
        assert SERVICES[name]["depends_on"] == {"users": {"condition": done}}
    assert SERVICES["users"]["depends_on"] == {"migrate": {"condition": done}}
    assert SERVICES["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert SERVICES["db"]["depends_on"] == {"passwords": {"condition": done}}
    assert all(SERVICES[name]["restart"] == "no" for name in STEPS)


def test_every_service_that_stays_has_a_health_check():
    assert [name for name, service in SERVICES.items() if "test" not in service["healthcheck"]] == STEPS


def test_a_required_name_that_is_missing_stops_it_with_its_name():
    asked = [re.match(r"\$\{(\w+):?\?", line) for line in COMPOSE["x-required"]]
    assert {match[1] for match in asked if match} == REQUIRED


def test_the_worker_is_given_longer_than_its_running_jobs():
    grace = f"{settings.WRK_STOP_GRACE_SECONDS:g}"
    assert SERVICES["worker"]["stop_grace_period"] == f"1m${{WRK_STOP_GRACE_SECONDS:-{grace}}}s"
