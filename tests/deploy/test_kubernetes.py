"""deploy/kubernetes: each part is what a cluster takes, names what is there, and runs as what compose runs."""

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.test import Client
from ruamel.yaml import YAML

from requests_app.monitoring.cron_lines import CRON_SETTINGS
from tests.deploy.kubernetes import SECRET_FILES, Pod, Resource, pods, render
from tests.docs.blocks import blocks_of, document

FOLDER: Path = settings.BASE_DIR / "deploy" / "kubernetes"
COMPOSE = YAML(typ="safe", pure=True).load((settings.BASE_DIR / "docker-compose.yml").read_text())["services"]
PARTS = ["secrets", "migrate", "owner", "keeper", "cron", "workers"]  # what `kubectl apply -k` is given
RELEASES = ["1.29", "1.37"]  # of Kubernetes: the oldest and the newest that are looked at
WRITTEN = {"DB_PASS": "a password", "DJANGO_SECRET_KEY": "what-signs-the-sessions-0123456789"}
PODS = {  # each part's pods: the database's user, and the role of compose
    "migrate": {"tasker-migrate": ("tasker_owner", "migrate")},
    "owner": {"tasker-owner": ("tasker_owner", "migrate")},
    "keeper": {"tasker-keeper": ("tasker_keeper", "keeper")},
    "workers": {"tasker-web": ("tasker_web", "web"), "tasker-worker": ("tasker", "worker")},
    "cron": {
        "tasker-web": ("tasker_web", "web"),
        "tasker-new-requests": ("tasker", "worker"),
        "tasker-jobs": ("tasker", "worker"),
        "tasker-inprogress-requests": ("tasker", "worker"),
    },
}
NAMES = [(part, name) for part, names in PODS.items() for name in names]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Resource]]:
    """Of a copy in which the Secrets' files were written, as docs/kubernetes.md says."""
    copy = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(FOLDER, copy)
    for example in (copy / "secrets").glob("*.env.example"):
        lines = (line.partition("=") for line in example.read_text().splitlines())
        text = "".join(f"{name}{is_}{WRITTEN.get(name, value)}\n" for name, is_, value in lines)
        example.with_suffix("").write_text(text)
    return {part: render(copy / part) for part in PARTS}


def pod_of(rendered: dict[str, list[Resource]], part: str, name: str) -> Pod:
    return next(pod for pod in pods(rendered[part]) if pod.name == name)


@pytest.fixture(params=NAMES, ids="/".join)
def pod(request: Any, rendered: dict[str, list[Resource]]) -> Pod:
    return pod_of(rendered, *request.param)


# What a cluster takes -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("part", PARTS)
def test_every_resource_is_valid(rendered, part, release):
    for resource in rendered[part]:
        kubernetes_validate.validate(resource, release, strict=True)


def test_the_parts_have_the_pods_that_are_tested_here(rendered):
    assert {part: {pod.name for pod in pods(rendered[part])} for part in PARTS if part != "secrets"} == {
        part: set(names) for part, names in PODS.items()
    }


@pytest.mark.parametrize("part", PARTS)
def test_all_is_in_one_namespace_that_wants_hardened_pods(rendered, part):
    [namespace] = [one for one in rendered[part] if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [one for one in rendered[part] if one is not namespace]
    assert {one["metadata"]["namespace"] for one in others} == {namespace["metadata"]["name"]}


def test_a_pod_can_gain_nothing_and_writes_to_its_tmp_only(pod):
    inside, outside = pod.container["securityContext"], pod.spec["securityContext"]
    assert inside == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert outside["runAsNonRoot"] is True
    assert (outside["runAsUser"], outside["runAsGroup"], outside["fsGroup"]) == (10001, 10001, 10001)
    assert outside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.spec["automountServiceAccountToken"] is False
    assert pod.spec["enableServiceLinks"] is False
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in pod.container["volumeMounts"]}
    assert mounts == {"/tmp": False, SECRET_FILES: True}  # noqa: S108 - a pod's own
    assert set(pod.container["resources"]["limits"]) == {"memory"}  # a CPU limit would stretch leases
    assert pod.container["image"] == "tasker-worker:dev"


# Who connects as whom -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("part", "name"), NAMES)
def test_a_pod_is_the_database_user_that_compose_has_for_it(rendered, part, name):
    user, role = PODS[part][name]
    assert COMPOSE[role]["environment"]["DB_USER"] in {user.replace("tasker", "${DB_USER}", 1), None}
    pod = pod_of(rendered, part, name)
    assert pod.environment["DB_USER"] == user
    assert pod.secret == f"tasker-{user.partition('_')[2] or 'worker'}"


def test_each_secret_has_what_compose_gives_to_that_role():
    roles = {"owner": "migrate", "web": "web", "worker": "worker", "keeper": "keeper"}
    for secret, role in roles.items():
        template = (FOLDER / "secrets" / f"{secret}.env.example").read_text()
        names = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=$", template, re.MULTILINE)
        of_compose = {name.removesuffix("_FILE") for name in COMPOSE[role]["environment"] if name.endswith("_FILE")}
        assert set(names) <= of_compose
        assert of_compose - set(names) <= {"AUTH_SERVICE2", "AUTH_SERVICE3"}  # as the first


def test_no_secret_stands_in_the_repository_or_in_a_pods_environment(rendered, pod):
    assert not [name for name in pod.environment if re.search("PASS|KEY|AUTH", name) and not name.endswith("_FILE")]
    assert not [one for part in PODS for one in rendered[part] if one["kind"] == "Secret"]
    assert "deploy/kubernetes/secrets/*.env" in (settings.BASE_DIR / ".gitignore").read_text().splitlines()
    assert "deploy/kubernetes/" in (settings.BASE_DIR / ".dockerignore").read_text().splitlines()
    for example in FOLDER.glob("secrets/*.example"):
        assert all(line.startswith("# ") or line.endswith("=") for line in example.read_text().splitlines())


# What the image really does -------------------------------------------------------------------------------------------
def test_every_name_is_a_setting_that_is_set_or_shown(pod):
    example = (settings.BASE_DIR / ".env.example").read_text()
    known = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))
    texts = [file.read_text() for file in FOLDER.glob("common/*.env")]
    shown = {name for text in texts for name in re.findall(r"^# ([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)}
    assert {name.removesuffix("_FILE") for name in pod.environment.keys() | shown} <= known


def test_the_settings_take_what_a_pod_is_given(pod, rendered, tmp_path, manage_without_database):
    [secret] = [one for one in rendered["secrets"] if one["kind"] == "Secret" and one["metadata"]["name"] == pod.secret]
    for name in secret["data"]:
        (tmp_path / name).write_text(WRITTEN[name])
    given = {name: value.replace(SECRET_FILES, str(tmp_path)) for name, value in pod.environment.items()}
    checked = manage_without_database("check", **given)
    assert checked.returncode == 0, checked.stderr


def test_every_command_is_one_of_the_image(pod):
    match pod.container.get("command"):
        case ["python", "manage.py", name, *arguments]:
            command = load_command_class(get_commands()[name], name)
            command.create_parser("manage.py", name).parse_args(arguments)
        case other:
            assert (pod.name, other) in [("tasker-web", None), ("tasker-owner", ["sleep", "3600"])]


def test_the_ports_of_service_policy_and_probes_are_the_web_processs(rendered):
    for part in ("cron", "workers"):
        pod = pod_of(rendered, part, "tasker-web")
        assert pod.container["ports"] == [{"name": "http", "containerPort": int(pod.environment["PORT"])}]
        [service] = [one for one in rendered[part] if one["kind"] == "Service"]
        [policy] = [one for one in rendered[part] if one["kind"] == "NetworkPolicy" and "ingress" in one["spec"]]
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
        assert policy["spec"]["ingress"] == [{"ports": [{"port": "http"}]}]
        assert {probe["httpGet"]["port"] for probe in probes(pod).values()} == {"http"}


def test_selectors_find_the_pods_that_they_mean(rendered):
    for part in ("cron", "workers"):
        labels = {pod.name: pod.template["metadata"]["labels"].items() for pod in pods(rendered[part])}
        for one in rendered[part]:
            spec = one.get("spec", {})
            wanted = spec.get("selector") or spec.get("podSelector") or {}
            wanted = wanted.get("matchLabels", wanted)
            if wanted:
                assert [name for name, has in labels.items() if wanted.items() <= has] == [one["metadata"]["name"]]


def probes(pod: Pod) -> dict[str, Resource]:
    return {name: pod.container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}


@pytest.mark.django_db
def test_the_probes_ask_what_answers(rendered, client: Client):
    found = probes(pod_of(rendered, "workers", "tasker-web"))
    assert {name: probe["httpGet"]["path"] for name, probe in found.items()} == {
        "startupProbe": "/heartbeat",
        "livenessProbe": "/heartbeat",  # not /ready: a restart mends no database
        "readinessProbe": "/ready",
    }
    for probe in found.values():
        assert client.get(probe["httpGet"]["path"], headers={"host": "10.1.2.3:8000"}).status_code == 200


# How they end ---------------------------------------------------------------------------------------------------------
def test_a_web_pod_is_given_the_time_that_gunicorn_takes(rendered, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "tasker-metrics-0-")
    gunicorn = runpy.run_path(str(settings.BASE_DIR / "deploy" / "gunicorn.conf.py"))
    pod = pod_of(rendered, "workers", "tasker-web")
    [_, seconds] = pod.container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod.spec["terminationGracePeriodSeconds"] >= int(seconds) + gunicorn["graceful_timeout"] + 5


@pytest.mark.parametrize(("part", "name"), [one for one in NAMES if PODS[one[0]][one[1]][1] == "worker"])
def test_a_worker_is_given_a_minute_more_than_its_running_jobs(rendered, part, name):
    pod = pod_of(rendered, part, name)
    assert pod.spec["terminationGracePeriodSeconds"] >= int(pod.environment["WRK_STOP_GRACE_SECONDS"]) + 60


@pytest.mark.parametrize("command", CRON_SETTINGS)
def test_a_pass_runs_at_the_time_by_which_the_probes_judge_it(rendered, command):
    [pod] = [pod for pod in pods(rendered["cron"]) if command in pod.container.get("command", ())]
    cron = pod.owner["spec"]
    assert cron["schedule"] == pod.environment[CRON_SETTINGS[command]] == getattr(settings, CRON_SETTINGS[command])
    assert (cron["timeZone"], cron["concurrencyPolicy"]) == ("Etc/UTC", "Forbid")
    takes_at_most = int(pod.container["command"][-1]) + int(pod.environment["WRK_STOP_GRACE_SECONDS"])
    assert cron["jobTemplate"]["spec"]["activeDeadlineSeconds"] > takes_at_most


# docs/kubernetes.md ---------------------------------------------------------------------------------------------------
def test_the_document_names_what_is_there(rendered):
    text = document("kubernetes.md")
    assert set(re.findall(r"kubectl apply -k (\w+)", text)) == set(PARTS) - {"cron"}
    there = {(one["kind"].lower(), one["metadata"]["name"]) for part in PARTS for one in rendered[part]}
    named = re.findall(r"\b(job|deploy(?:ment)?)/(tasker[\w-]*)", text)
    assert {({"deploy": "deployment"}.get(kind, kind), name) for kind, name in named} <= there


def test_the_documents_ingress_leads_to_the_web_process(rendered):
    [block] = [block for block in blocks_of(document("kubernetes.md")) if block.info == "yaml"]
    ingress = YAML(typ="safe", pure=True).load(block.text)
    kubernetes_validate.validate(ingress, RELEASES[-1], strict=True)
    paths = ingress["spec"]["rules"][0]["http"]["paths"]
    assert [one["path"] for one in paths] == ["/admin/", "/static/", "/answers/", "/requests/"]
    services = {("service", one["backend"]["service"]["name"]) for one in paths}
    assert services <= {(one["kind"].lower(), one["metadata"]["name"]) for one in rendered["workers"]}
