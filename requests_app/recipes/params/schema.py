"""Compiles what a recipe demands of params into a validator, or says what is wrong with it. Nothing is fetched."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from requests_app.recipes.params.dataclass_schema import schema_of
from requests_app.recipes.params.faults import SchemaFault

# Those that jsonschema knows by itself: others depend on what else is installed.
FORMATS = FormatChecker(("date", "email", "ipv4", "ipv6", "regex", "uuid"))
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NOT_SCHEMAS = {"const", "default", "enum", "examples"}  # what stands there only looks like one
_ANNOTATIONS = {"$anchor", "$comment", "$defs", "$dynamicAnchor", "$id", "$schema", "$vocabulary"} | {
    *("contentEncoding", "contentMediaType", "contentSchema", "default", "definitions", "deprecated", "description"),
    *("else", "examples", "maxContains", "minContains", "readOnly", "then", "title", "writeOnly"),
}


def _is_date_time(value: object) -> bool:
    """RFC 3339: with its offset."""
    return not isinstance(value, str) or ("T" in value.upper() and datetime.fromisoformat(value).tzinfo is not None)


FORMATS.checks("date-time", raises=ValueError)(_is_date_time)


def compiled(demanded: Mapping[str, Any] | type) -> Any:
    """A validator of jsonschema's. Raises SchemaFault."""
    schema = _schema(demanded)
    validator_class = _class_of(schema)
    try:
        validator_class.check_schema(schema)
    except SchemaError as error:
        raise SchemaFault(f"{error.json_path}: {error.message}") from None
    if strange := sorted(key for key in {*schema} - _known_keywords(validator_class) if not key.startswith("x-")):
        raise SchemaFault(
            f'"{strange[0]}" is no keyword of JSON Schema; keys of params stand in "properties": '
            '{"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}'
        )
    # Without a registry of its own jsonschema would fetch what a $ref names.
    validator = _strict(validator_class)(schema, registry=_registry(schema), format_checker=FORMATS)
    try:
        validator.is_valid({})
    except RecursionError:
        raise SchemaFault("$ref: it leads back to itself without an end") from None
    return validator


def _schema(demanded: object) -> Any:
    """A copy, as JSON has it."""
    if isinstance(demanded, type) and is_dataclass(demanded):
        return schema_of(demanded)
    if not isinstance(demanded, Mapping):
        raise SchemaFault(f"{type(demanded).__name__} where a JSON Schema (a dict) or a dataclass is needed")
    try:
        return json.loads(json.dumps(demanded, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as fault:
        raise SchemaFault(f"it is no JSON: {fault}") from None


def _class_of(schema: Mapping[str, Any]) -> Any:
    found = validator_for(schema, default=None) if "$schema" in schema else Draft202012Validator
    if found is None:
        raise SchemaFault(f'$schema: {schema["$schema"]!r} is not known; leave it out, or write "{_DRAFT}"')
    return found


def _known_keywords(validator_class: Any) -> set[str]:
    return {*validator_class.VALIDATORS} | _ANNOTATIONS


def _strict(validator_class: Any) -> Any:
    """`integer` is a whole number as callbacks read it, 7 and not 7.0; `uniqueItems` takes a list of any length."""
    types = validator_class.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return extend(validator_class, validators={"uniqueItems": _unique_items}, type_checker=types)


def _registry(schema: Mapping[str, Any]) -> Any:
    """With the schema itself and nothing else. Raises SchemaFault for a $ref that leads out of it, or nowhere."""
    specification = specification_with(schema.get("$schema", _DRAFT))
    resource = specification.create_resource(schema)
    registry = Registry().with_resource("", resource)
    resolver = registry.resolver_with_root(resource)
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise SchemaFault(f'$ref: "{reference}" is not fetched; copy it into "$defs", and write "#/$defs/NAME"')
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise SchemaFault(f'$ref: there is nothing at "{reference}" in this schema') from None
    return registry


def _references(part: object) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _references(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in {"$ref", "$dynamicRef", "$recursiveRef"} and isinstance(value, str):
                yield value
            elif key not in _NOT_SCHEMAS:
                yield from _references(value)


def _unique_items(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[Any]:
    """jsonschema's own compares each item with each other one where they cannot be sorted."""
    if wanted and validator.is_type(instance, "array") and len({_hashable(item) for item in instance}) < len(instance):
        yield ValidationError("")


def _hashable(value: Any) -> Any:
    """1 and 1.0 are the same to JSON Schema, 1 and true are not."""
    match value:
        case bool():
            return bool, value
        case list():
            return tuple(map(_hashable, value))
        case dict():
            return frozenset((key, _hashable(item)) for key, item in value.items())
    return value
