"""Says what params lack, by the schema's words alone.

jsonschema's own messages quote the value; here no value of params gets into a sentence, nor a key that the schema does
not have.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jsonschema.exceptions import best_match

_SHOWN = 20  # values of an enum, names of keys
_MOST_CHARACTERS = 60  # of one of them
_NOUNS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
_NEEDED = {  # {}: the keyword's value
    "contains": "an item of a certain form is needed",
    "dependencies": "it needs other keys beside it",
    "dependentRequired": "it needs other keys beside it",
    "exclusiveMaximum": "a number below {} is needed",
    "exclusiveMinimum": "a number above {} is needed",
    "format": "a string of the format {} is needed",
    "maxContains": "at most {} items of a certain form are allowed",
    "maxItems": "at most {} items are allowed",
    "maxLength": "at most {} characters are allowed",
    "maxProperties": "at most {} keys are allowed",
    "maximum": "a number of at most {} is needed",
    "minContains": "at least {} items of a certain form are needed",
    "minItems": "at least {} items are needed",
    "minLength": "at least {} characters are needed",
    "minProperties": "at least {} keys are needed",
    "minimum": "a number of at least {} is needed",
    "multipleOf": "a multiple of {} is needed",
    "not": "this form is not allowed",
    "pattern": "a string that matches {} is needed",
    "uniqueItems": "no item may stand there twice",
}


def names_in(schema: object) -> set[str]:
    """The keys of params that a schema has: these may be said."""
    if isinstance(schema, list):
        return set().union(*map(names_in, schema))
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties")
    return set().union(own if isinstance(own, dict) else (), *map(names_in, schema.values()))


def sentences(error: Any, names: Collection[str]) -> Iterator[str]:
    """Of one error of jsonschema's: `params.id: an integer is needed`."""
    error = best_match([error])  # of what one of several forms lacks, if that one is clearly meant
    place = _place(error, names)
    if error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                needed = needs(_mapping(error.schema.get("properties")).get(name))
                yield f"{place}{_key(name)}: missing{needed and f'; {needed} is needed'}"
    else:
        yield f"{place}: {_needed(error)}"


def _place(error: Any, names: Collection[str]) -> str:
    parts = (
        f"[{part}]" if isinstance(part, int) else _key(part) if part in names else ".*" for part in error.absolute_path
    )
    of_a_key = " (one of its keys)" if "propertyNames" in error.absolute_schema_path else ""
    return f"params{''.join(parts)}{of_a_key}"


def _key(name: str) -> str:
    return f".{name}" if name.isidentifier() else f"[{_shown(name)}]"


def _needed(error: Any) -> str:
    value = error.validator_value
    match error.validator:
        case "type" | "enum" | "const":
            return f"{needs(error.schema)} is needed"
        case "additionalProperties" | "unevaluatedProperties":
            return f"a key that is not allowed; allowed: {_listed(_mapping(error.schema.get('properties'))) or 'none'}"
        case "anyOf" | "oneOf":
            return _forms(value, is_none=bool(error.context))
        case None:
            return "a value that is not allowed"  # where exactly, jsonschema does not tell
    if error.validator in _NEEDED:
        return _NEEDED[error.validator].format(value if isinstance(value, int | float | str) else "")
    return f"it does not keep to {error.validator} of the recipe's schema"


def _forms(forms: list[object], *, is_none: bool) -> str:
    if not is_none:
        return "more than one of the allowed forms fits"
    needed = [needs(form) for form in forms]
    return f"{' or '.join(needed)} is needed" if all(needed) else f"none of the {len(forms)} allowed forms fits"


def needs(schema: object) -> str:
    """The thing that a schema is of, as far as its own words tell: `an integer`. Empty where they do not."""
    of = _mapping(schema)
    if "const" in of:
        return _shown(of["const"])
    if isinstance(of.get("enum"), list):
        return f"one of {_listed(of['enum'])}"
    types = [of["type"]] if isinstance(of.get("type"), str) else of.get("type", [])
    return " or ".join(_NOUNS.get(one, "") for one in types)


def _listed(values: Collection[object]) -> str:
    shown = [_shown(value) for value in list(values)[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
