"""Makes a JSON Schema of a dataclass: what `Params(**params)` takes, and no other key."""

import dataclasses
import types
import typing
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from requests_app.recipes.params.faults import SchemaFault

Schema = dict[str, Any]
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_ALLOWED = "str, int, float, bool, Optional, list, dict, Literal, an Enum and other dataclasses are allowed"


def schema_of(root: type) -> Schema:
    """Each dataclass once, in `$defs`, so that one may hold itself. Raises SchemaFault with the field's place."""
    return _Maker().made(root)


class _Maker:
    def __init__(self) -> None:
        self._names: dict[type, str] = {}
        self._definitions: Schema = {}

    def made(self, root: type) -> Schema:
        self._dataclass(root)
        # Itself once more, not its $ref: looking that up takes as long as checking it.
        return {**self._definitions[self._names[root]], "$defs": self._definitions}

    def _dataclass(self, made_of: type) -> Schema:
        if made_of not in self._names:
            # A number, for two modules may have a class of one name.
            self._names[made_of] = name = f"{made_of.__name__}_{len(self._names)}"
            self._definitions[name] = self._object(made_of)
        return {"type": "object", "$ref": f"#/$defs/{self._names[made_of]}"}  # the type: for the sentence

    def _object(self, made_of: type) -> Schema:
        try:
            hints = typing.get_type_hints(made_of)
        except Exception as fault:  # noqa: BLE001 - whatever evaluating an annotation raises
            raise SchemaFault(f"{made_of.__name__}: its annotations cannot be read: {fault}") from None
        fields = [field for field in dataclasses.fields(made_of) if field.init]
        return {
            "type": "object",
            "properties": {
                field.name: self._value(f"{made_of.__name__}.{field.name}", hints[field.name]) for field in fields
            },
            "required": [
                field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING
            ],
            "additionalProperties": False,
        }

    def _value(self, place: str, hint: Any) -> Schema:
        if hint is Any:
            return {}
        if isinstance(hint, type) and not get_args(hint):
            return self._plain(place, hint)
        return self._generic(place, hint, get_args(hint))

    def _plain(self, place: str, hint: type) -> Schema:
        if hint in _TYPES:
            return {"type": _TYPES[hint]}
        if hint in {list, dict}:
            return {"type": "array" if hint is list else "object"}
        if issubclass(hint, Enum):
            return _one_of(place, [member.value for member in hint])
        if dataclasses.is_dataclass(hint):
            return self._dataclass(hint)
        raise _unknown(place, hint)

    def _generic(self, place: str, hint: Any, arguments: tuple[Any, ...]) -> Schema:
        origin = get_origin(hint)
        if origin is Literal:
            return _one_of(place, arguments)
        if origin in {Union, types.UnionType}:
            return self._optional(place, hint, arguments)
        if origin is list and arguments:
            return {"type": "array", "items": self._value(f"{place}[]", arguments[0])}
        if origin is dict and arguments[:1] == (str,):
            return {"type": "object", "additionalProperties": self._value(f"{place}{{}}", arguments[1])}
        raise _unknown(place, hint)

    def _optional(self, place: str, hint: Any, arguments: tuple[Any, ...]) -> Schema:
        others = [one for one in arguments if one is not type(None)]
        if len(others) != 1:
            raise _unknown(place, hint)
        schema = self._value(place, others[0])
        if "$ref" not in schema and "type" in schema:
            return {**schema, "type": [schema["type"], "null"]}
        if "enum" in schema:
            return {"enum": [*schema["enum"], None]}
        return {"anyOf": [schema, {"type": "null"}]}


def _one_of(place: str, values: typing.Iterable[Any]) -> Schema:
    allowed = list(values)
    if strange := [value for value in allowed if type(value) not in _TYPES]:
        raise SchemaFault(f"{place}: {strange[0]!r} is no value of JSON: give str, int, float, bool or None")
    return {"enum": allowed}


def _unknown(place: str, hint: Any) -> SchemaFault:
    shown = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return SchemaFault(f"{place}: {shown} has no form in JSON here; {_ALLOWED}")
