"""docs/openapi.yaml, and whether an answer is as it says."""

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from ruamel.yaml import YAML

from tests.docs.blocks import document

SPEC: dict[str, Any] = YAML(typ="safe").load(document("openapi.yaml"))
PATH = "/requests/{token}"


def demand_as_described(response: Any, method: str = "get") -> None:
    """`response`: of Django's test client."""
    described = SPEC["paths"][PATH][method]["responses"][str(response.status_code)]
    for name, header in described.get("headers", {}).items():
        _demand_header(response, name, _resolved(header))
    if method == "head" or "content" not in described:
        assert response.content == b""
        return
    assert response["Content-Type"] == "application/json"
    schema = described["content"]["application/json"]["schema"]
    whole = schema | {"components": SPEC["components"]}  # what its $ref point into
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(response.json())


def _demand_header(response: Any, name: str, header: dict[str, Any]) -> None:
    if name not in response:
        assert not header.get("required"), name
        return
    is_number = header["schema"].get("type") == "integer"
    Draft202012Validator(header["schema"]).validate(int(response[name]) if is_number else response[name])


def _resolved(value: dict[str, Any]) -> dict[str, Any]:
    return SPEC["components"]["headers"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
