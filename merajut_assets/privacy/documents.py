"""Settings that people write in YAML: a reader and a base of models that refuse what is easily mistyped.

Belongs here: what YAML and pydantic would read in silence otherwise than its author means it, whatever the setting is.
Does not belong here: which settings there are and what they may be (`policy`, and the stakeholders' policies).

YAML keeps the last of two equal keys, so that a `k: 2` further down undoes a `k: 5`; it reads `yes` as a truth value,
which counts as 1; it reads 010 as eight and 1:30 as ninety; and a key without a value asks for nothing. All of these
are refused here, with the line. Keys are names of settings and columns and may be shown; values are never quoted.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

_TEXT, _MERGE, _NULL = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "merge", "null"))
_NUMBERS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float"))
# Numbers to a base that hardly anybody means: a leading zero makes them octal, colons sexagesimal.
_AMBIGUOUS = re.compile(r"[-+]?0[0-9_]|.*:")


class DocumentError(ValueError):
    """A text is no such YAML as people may write here. Says line, rule and remedy, never a value."""

    def __init__(self, line: int | None, problem: str) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")


class StrictModel(BaseModel):
    """A part of a document: unknown names, truth values and numbers without an end are refused.

    No setting is a truth value; one that stands for a number or a text is a word that YAML has misread.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _hold_no_truth_value(cls, data: Any) -> Any:
        for place in _truth_values(data) if isinstance(data, Mapping) else ():
            raise ValueError(
                f"{place} must be a number, or a text in quotes: yes, no, on, off, true and false are truth values"
            )
        return data


def _truth_values(settings: Mapping[Any, Any]) -> Iterator[str]:
    """Where truth values stand among the settings of a model; a model within it judges its own."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner, held in value.items() if isinstance(held, bool))
        elif isinstance(value, list | tuple):
            yield from (f"{name}, entry {place}," for place, held in enumerate(value, 1) if isinstance(held, bool))
        elif isinstance(value, bool):
            yield str(name)


def explained(error: ValidationError) -> str:
    """What of a document is wrong, by place, without any of its values."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{place}: {message}" if place else message)
    return "; ".join(problems)


def read_document(text: str) -> Any:
    """What a YAML text says. Raises DocumentError when it is not YAML, or could mean something else than it says."""
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except DocumentError:
        raise
    except yaml.MarkedYAMLError as error:
        # Its text quotes the place.
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise DocumentError(line, "not valid YAML; see indentation, brackets and quotes there") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
        raise DocumentError(None, "not valid YAML; see its characters, tags and days") from None


class _Loader(yaml.SafeLoader):
    """Judges each node once, when it is composed: before the values of `<<` are merged into a mapping."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            named = self.anchors.get(alias.anchor)
            # A node that is not complete yet has no end.
            if named is not None and named.end_mark is None:
                raise DocumentError(int(alias.start_mark.line) + 1, "the alias stands within what it is an alias of")
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: dict[Hashable, yaml.Node]) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if node.tag in _NUMBERS and _AMBIGUOUS.match(node.value):
            raise DocumentError(
                _line(node),
                "YAML reads a number with a leading zero as octal and one with colons as sexagesimal; write it "
                "without them, or put a text in quotes",
            )
        return node

    def compose_mapping_node(self, anchor: dict[Hashable, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (_TEXT, _MERGE):
                name = f"{key.value!r} " if isinstance(key, yaml.ScalarNode) else ""
                raise DocumentError(_line(key), f"the key {name}is not read as text by YAML; put it in quotes")
            if key.value in lines:
                raise DocumentError(
                    _line(key), f"{key.value!r} stands in line {lines[key.value]} already; keep one of the two"
                )
            if value.tag == _NULL:
                raise DocumentError(_line(key), f"{key.value!r} has no value; write one, or remove the line")
            lines[key.value] = _line(key)
        return node


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
