"""The published OpenLineage schema as JSON Schema, read off the classes that its makers generate from it.

The pinned `openlineage-python` carries the schema in that form only; what the classes leave open (formats, and that
an absent value is left out instead of being null) is said here. Held against the published text (core 2-0-2, at client
release 1.52) by taking away or spoiling one value of real events at a time: what that refuses, this refuses. Stricter
in one place: a property that the schema does not name is refused, because in our events it would be a misspelling.
"""

from __future__ import annotations

import types
import typing
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import attr
from jsonschema import Draft202012Validator, FormatChecker
from openlineage.client import facet_v2
from openlineage.client.event_v2 import RunEvent

FORMATS = FormatChecker()
_FACET_KINDS = {"run": facet_v2.RunFacet, "job": facet_v2.JobFacet, "dataset": facet_v2.DatasetFacet}
_KINDS = {
    "facets": facet_v2.BaseFacet,
    "inputFacets": facet_v2.InputDatasetFacet,
    "outputFacets": facet_v2.OutputDatasetFacet,
}


@FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    from datetime import datetime

    return not isinstance(value, str) or ("T" in value and datetime.fromisoformat(value).tzinfo is not None)


@FORMATS.checks("uri", raises=ValueError)
def _is_address(value: object) -> bool:
    return not isinstance(value, str) or (" " not in value and bool(urlsplit(value).scheme))


FACETS: dict[str, type] = {
    found._get_schema(): found
    for module in vars(facet_v2).values()
    if isinstance(module, types.ModuleType)
    for found in vars(module).values()
    if isinstance(found, type) and attr.has(found) and issubclass(found, facet_v2.BaseFacet)
}
_FORMATS = {
    "runId": "uuid",
    **dict.fromkeys(("eventTime", "nominalStartTime", "nominalEndTime"), "date-time"),
    **dict.fromkeys(("producer", "schemaURL", "_producer", "_schemaURL"), "uri"),
}


_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}
# Filled in by the classes, so that they have a default there; the published schema demands them.
_ALWAYS = {"producer", "schemaURL", "_producer", "_schemaURL"}


def violations(event: dict[str, Any]) -> list[str]:
    """Where a run event, as JSON, breaks the schema of events or that of one of its facets; empty when nowhere."""
    found = _broken(RunEvent, event, "event")
    places = [("run", event["run"]), ("job", event["job"])]
    places += [("dataset", one) for one in (*event.get("inputs", ()), *event.get("outputs", ()))]
    for what, thing in places:
        for slot in set(thing) & set(_KINDS):
            for name, facet in thing[slot].items():
                declared = FACETS.get(facet.get("_schemaURL", ""))
                kind = _FACET_KINDS[what] if slot == "facets" else _KINDS[slot]
                if declared is None or not issubclass(declared, kind):
                    found.append(f"facet {name}: not a facet of its place")
                else:
                    found += _broken(declared, facet, name)
    return found


def _broken(declared: type, value: Any, where: str) -> list[str]:
    validator = Draft202012Validator(schema_of(declared), format_checker=FORMATS)
    return [f"{where} {'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(value)]


def schema_of(declared: type) -> dict[str, Any]:
    """The JSON Schema of a class: its attributes as properties, those without a default required."""
    definitions: dict[str, Any] = {}
    return {**_of_class(declared, definitions), "$defs": definitions}


def _of_class(declared: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the definition of a class, which is added where it is missing: a field may hold fields."""
    name = f"{declared.__module__}.{declared.__name__}"
    if name not in definitions:
        definitions[name] = {}
        hints = typing.get_type_hints(declared)
        fields = attr.fields(declared)
        definitions[name] = {
            "type": "object",
            "properties": {
                # Facets are judged by their own schemas.
                one.name: {"type": "object"} if one.name in _KINDS else _of_type(hints[one.name], one.name, definitions)
                for one in fields
            },
            "required": [one.name for one in fields if one.default is attr.NOTHING or one.name in _ALWAYS],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}


def _of_type(hint: Any, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # What is optional may be absent, and is never null.
        return {"anyOf": [_of_type(one, name, definitions) for one in arguments if one is not type(None)]}
    if origin is list:
        return {"type": "array", "items": _of_type(arguments[0], name, definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of_type(arguments[1], name, definitions)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if isinstance(hint, type) and attr.has(hint):
        return _of_class(hint, definitions)
    found: dict[str, Any] = {"type": _PLAIN[hint]}
    if name in _FORMATS:
        found["format"] = _FORMATS[name]
    return found
