"""`merajut status`: what is stored, how good it is, what was published and what is left to do.

Belongs here: gathering it from what is stored, and showing it. Reads only, and starts nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from merajut_assets.command.completeness import missing_parts
from merajut_assets.command.typed import typed
from merajut_assets.compliance.certificates import ErasureRegister
from merajut_assets.compliance.evidence import budgets, forgotten_erasures, forgotten_releases
from merajut_assets.conformed.build import last_build
from merajut_assets.contracts import registry
from merajut_assets.policies.stakeholder import stakeholder_policies
from resources.lakehouse import Lakehouse
from resources.publication import DatabaseFileError, Publication, PublicationReplaced
from resources.vault import WrongKeyError

_COUNTS = frozenset({"rows", "refused", "quarantined"})


def gather(lakehouse: Lakehouse) -> dict[str, Any]:
    """Everything that `status --json` says; plain values only."""
    releases = _releases(lakehouse)
    layers = {
        "raw": _raw(lakehouse),
        "conformed": _conformed(lakehouse),
        "protected": _released(lakehouse, "protected"),
        "statistics": _released(lakehouse, "statistics"),
    }
    audit = lakehouse.audit.verify()
    state: dict[str, Any] = {
        "data_directory": lakehouse.settings.data_directory.name,
        "environment": lakehouse.settings.environment.value,
        "releases": releases,
        "layers": layers,
        "publications": _publications(lakehouse),
        "replaced": _replaced(lakehouse),
        "budgets": [
            {
                "stakeholder": budget.stakeholder,
                "category": budget.category,
                "year": budget.year,
                "spent": budget.spent,
                "limit": budget.limit,
                "left": budget.left,
            }
            for budget in budgets(lakehouse, datetime.now(UTC).year)
        ],
        "audit": {
            "entries": audit.entries,
            "is_intact": audit.is_intact,
            "first_broken": audit.first_broken,
            "reason": audit.reason,
        },
        "erasures": {
            "people": lakehouse.vault.erasures() if lakehouse.settings.vault.exists() else 0,
            "unfinished": sum(not one.is_complete for one in ErasureRegister(lakehouse.settings).all()),
            "forgotten": forgotten_erasures(lakehouse),
        },
        "ledger": {"forgotten": forgotten_releases(lakehouse)},
    }
    return {**state, "problems": problems(state)}


def problems(state: dict[str, Any]) -> list[str]:
    """What somebody should look at, in words, the gravest first."""
    found = []
    audit, erasures, unknown = state["audit"], state["erasures"], state["ledger"]["forgotten"]
    if erasures["forgotten"]:
        found.append(
            f"the key vault does not know {erasures['forgotten']} erased source id(s) any more: put its newest files "
            "back; when they are lost, restore lake, vault, ledger and audit log from one backup, then "
            f"{typed('erase-again')}"
        )
    if not audit["is_intact"]:
        found.append(
            f"the audit log is not intact from entry {audit['first_broken']} on ({audit['reason']}): "
            "secure it as evidence, and restore log and key vault from one backup"
        )
    if unknown:
        found.append(
            f"the privacy ledger does not know {_several(unknown)}: put its newest file back, "
            "since nothing is drawn until then"
        )
    found += [f"{one['stakeholder']}: {one['reason']}" for one in state["replaced"]]
    if erasures["unfinished"]:
        found.append(f"{erasures['unfinished']} erasure(s) are unfinished: erase the same person again")
    found += [
        f"release {release['release']} is not complete ({_several(release['missing'])}): "
        f"{typed('run --release ' + release['release'])}"
        for release in state["releases"]
        if release["missing"]
    ]
    if _is_empty(state):
        found.append(f"Nothing was landed yet; begin with {typed('generate')}, then {typed('run')}")
    elif never := sum(table["version"] is None for table in state["layers"]["raw"]):
        found.append(f"{never} source table(s) were never landed: {typed('run')}")
    found += [
        f"conformed/{entity['table']} misses its aims: {entity['missed']}"
        for entity in state["layers"]["conformed"]
        if entity["missed"]
    ]
    found += [
        f"{budget['stakeholder']}, {budget['category']}: the privacy budget of {budget['year']} is spent"
        for budget in state["budgets"]
        if budget["left"] <= 0
    ]
    return found


def _is_empty(state: dict[str, Any]) -> bool:
    return not state["releases"] and all(table["version"] is None for table in state["layers"]["raw"])


def _several(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"


def _releases(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    rows = []
    instance = _instance(lakehouse)
    for path in sorted((lakehouse.settings.lake / "releases").glob("*.json")):
        manifest = lakehouse.releases.find(path.stem)
        if manifest is not None:
            rows.append(
                {
                    "release": manifest.release,
                    "cut_off": manifest.cut_off.isoformat(),
                    "pinned_at": manifest.pinned_at.isoformat(timespec="seconds"),
                    "entities": len(manifest.versions),
                    "missing": _missing(lakehouse, instance, manifest.release),
                }
            )
    return rows


def _missing(lakehouse: Lakehouse, instance: Any, release: str) -> list[str]:
    try:
        return missing_parts(lakehouse, instance, release)
    except PublicationReplaced:
        return ["published"]  # what was published cannot be told, and is a problem of its own


def _instance(lakehouse: Lakehouse) -> Any:
    """The installation's Dagster instance when there is one; asking for status makes none."""
    import dagster as dg

    home = lakehouse.settings.dagster_home
    return dg.DagsterInstance.from_config(str(home)) if (home / "dagster.yaml").exists() else None


def _raw(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    rows = []
    for contract in registry.tables("raw").values():
        version = lakehouse.lake.latest_raw(contract.system, contract.name)
        rows.append(
            {
                "table": contract.identifier,
                "version": version.number if version else None,
                "rows": version.rows if version else None,
                "refused": version.facts.get("refused_rows") if version else None,
                "landed_at": version.landed_at.isoformat(timespec="seconds") if version else None,
            }
        )
    return rows


def _conformed(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    rows = []
    for entity in registry.tables("conformed").values():
        build = last_build(lakehouse, entity)
        table = f"conformed/{entity.name}"
        version = lakehouse.lake.version(table)
        rows.append(
            {
                "table": entity.name,
                "version": version,
                "rows": None if version is None else lakehouse.lake.rows(table),
                "quarantined": build.quarantined if build else None,
                "score": build.after["score"] if build else None,
                "missed": "; ".join(build.shortcomings_after) if build else "",
                "built_at": build.built_at if build else None,
            }
        )
    return rows


def _released(lakehouse: Lakehouse, layer: str) -> list[dict[str, Any]]:
    return [
        {
            "table": table.split("/", 1)[1],
            "version": lakehouse.lake.version(table),
            "rows": lakehouse.lake.rows(table),
            "releases": [partition["release"] for partition in lakehouse.lake.partitions(table)],
        }
        for table in lakehouse.lake.tables(layer)
    ]


def _publications(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    return [
        {
            "stakeholder": stakeholder,
            "number": one.number,
            "release": one.release,
            "rows": sum(one.rows.values()),
            "published_at": one.published_at.isoformat(timespec="seconds"),
            "is_current": one.is_current,
            "withdrawn_at": one.withdrawn_at.isoformat(timespec="seconds") if one.withdrawn_at else None,
        }
        for stakeholder in stakeholder_policies()
        for one in _listed(lakehouse, stakeholder)
    ]


def _listed(lakehouse: Lakehouse, stakeholder: str) -> list[Publication]:
    try:
        return lakehouse.publisher.list(stakeholder)
    except PublicationReplaced:
        return []  # told by `_replaced`


def _replaced(lakehouse: Lakehouse) -> list[dict[str, str]]:
    """Whose pointer, or file of the publication in force, is not what was published, and why."""
    found = []
    for stakeholder in stakeholder_policies():
        try:
            if lakehouse.publisher.current(stakeholder) is not None:
                lakehouse.publisher.open(stakeholder).close()
        except (PublicationReplaced, DatabaseFileError, WrongKeyError) as reason:
            found.append({"stakeholder": stakeholder, "reason": str(reason)})
    return found


# ── showing ──────────────────────────────────────────────────────────────────────────────


def show(state: dict[str, Any], console: Console) -> None:
    layers = state["layers"]
    if not state["problems"]:
        console.print("Nothing to do.")
    for problem in state["problems"]:
        console.print(f"To do: {problem}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if _is_empty(state):
        return
    console.print()
    console.print(_table("Releases", state["releases"], ("release", "cut_off", "pinned_at", "entities")))
    landed = [table for table in layers["raw"] if table["version"] is not None]
    console.print(_table("Raw", landed, ("table", "version", "rows", "refused", "landed_at")))
    built = [table for table in layers["conformed"] if table["version"] is not None]
    console.print(_table("Conformed", built, ("table", "version", "rows", "quarantined", "score")))
    for layer in ("protected", "statistics"):
        console.print(_table(layer.capitalize(), layers[layer], ("table", "version", "rows", "releases")))
    console.print(
        _table(
            "Published",
            state["publications"],
            ("stakeholder", "number", "release", "rows", "published_at", "is_current"),
        )
    )
    console.print(_table("Privacy budget (ε)", state["budgets"], ("stakeholder", "category", "year", "spent", "left")))
    audit = state["audit"]
    verdict = "intact" if audit["is_intact"] else f"NOT intact from entry {audit['first_broken']} on"
    console.print(f"Audit log: {audit['entries']} entries, {verdict}", highlight=False)
    console.print(f"Erased: {state['erasures']['people']} source id(s)", highlight=False)


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        is_number = any(isinstance(row[column], (int, float)) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if is_number else "left")
    for row in rows:
        table.add_row(
            *(f"{row[column]:,}" if column in _COUNTS and row[column] else _cell(row[column]) for column in columns)
        )
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "current" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(value) if isinstance(value, list) else str(value)
