"""All contracts together: the one place that knows every contract module.

Importing this module declares every table; the functions answer questions about them.
"""

from __future__ import annotations

import importlib
import pkgutil

from merajut_assets import contracts
from merajut_assets.contracts import base
from merajut_assets.contracts.base import ContractError, System, TableContract

for _module in pkgutil.iter_modules(contracts.__path__):
    if _module.name not in ("base", "registry"):
        importlib.import_module(f"{contracts.__name__}.{_module.name}")


def systems() -> dict[str, System]:
    """Every source system by name, in alphabetical order."""
    return dict(sorted(base.declared_systems().items()))


def tables(layer: str) -> dict[str, TableContract]:
    """The contracts of one layer (raw, conformed, protected) by identifier."""
    return {contract.identifier: contract for contract in base.declared_tables() if contract.layer == layer}


def raw_table(system: str, name: str) -> TableContract:
    return _find("raw", f"{system}.{name}")


def entity(name: str) -> TableContract:
    return _find("conformed", name)


def protected_dataset(stakeholder: str, name: str) -> TableContract:
    return _find("protected", f"{stakeholder}.{name}")


def _find(layer: str, identifier: str) -> TableContract:
    # Looked up thousands of times while definitions load.
    contract = base.declared_table(layer, identifier)
    if contract is None:
        raise ContractError(f"no contract declares {layer} table {identifier}")
    return contract


def source_tables(entity_contract: TableContract) -> tuple[TableContract, ...]:
    """The raw tables that the columns of an entity name as their sources, in order of mention."""
    paths = dict.fromkeys(source.rsplit(".", 1)[0] for column in entity_contract.columns for source in column.sources)
    return tuple(_find("raw", path) for path in paths)


def source_entities(dataset: TableContract) -> tuple[TableContract, ...]:
    """The conformed entities that the columns of a protected dataset name as their sources, or as linking those."""
    paths = dict.fromkeys(
        source.split(".")[0] for column in dataset.columns for source in (*column.sources, *column.linked_by)
    )
    return tuple(_find("conformed", path) for path in paths)
