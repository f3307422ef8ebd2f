"""Renders deploy/kubernetes as kustomize does, and reads what a cluster would be given."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

SECRET_FILES = "/run/secrets/tasker"

Resource = dict[str, Any]


def kustomize() -> list[str]:
    """What renders a folder: kustomize itself, or kubectl, which brings it along. Neither needs a cluster."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    pytest.skip("NOT TESTED: neither kustomize nor kubectl is on PATH")


def render(folder: Path) -> list[Resource]:
    rendered = subprocess.run([*kustomize(), str(folder)], capture_output=True, text=True, check=False)
    assert rendered.returncode == 0, rendered.stderr
    assert rendered.stderr == ""  # such as a field that is deprecated
    return [resource for resource in YAML(typ="safe", pure=True).load_all(rendered.stdout) if resource]


class Pod:
    """The pods that a Deployment, a Job or a CronJob makes, with the ConfigMaps that were rendered beside it."""

    def __init__(self, owner: Resource, resources: list[Resource]) -> None:
        self.name: str = owner["metadata"]["name"]
        self.owner = owner
        of_a_run = owner["spec"]["jobTemplate"]["spec"] if owner["kind"] == "CronJob" else owner["spec"]
        self.template: Resource = of_a_run["template"]
        self.spec: Resource = self.template["spec"]
        [self.container] = self.spec["containers"]
        self._configs = {one["metadata"]["name"]: one["data"] for one in resources if one["kind"] == "ConfigMap"}

    @property
    def environment(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in self.container["envFrom"]:
            found |= self._configs[source["configMapRef"]["name"]]
        return found | {variable["name"]: variable["value"] for variable in self.container["env"]}

    @property
    def secret(self) -> str:
        [mount] = [one for one in self.container["volumeMounts"] if one["mountPath"] == SECRET_FILES]
        [volume] = [one for one in self.spec["volumes"] if one["name"] == mount["name"]]
        return str(volume["secret"]["secretName"])


def pods(resources: list[Resource]) -> Iterator[Pod]:
    for resource in resources:
        if resource["kind"] in {"Deployment", "Job", "CronJob"}:
            yield Pod(resource, resources)
