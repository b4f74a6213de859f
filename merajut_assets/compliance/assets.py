"""The evidence about everything else as Dagster assets: quality, audit log, privacy budget, erasures, catalogue.

Here is how it is shown and which finding blocks; gathering it is `evidence`'s. The assets come after what
they tell about, and each can be made at any time.

No postponed annotations here: Dagster reads that of the context at run time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from merajut_assets.catalogue import freshness_policy
from merajut_assets.compliance.certificates import ErasureRegister
from merajut_assets.compliance.evidence import (
    budgets,
    forgotten_erasures,
    forgotten_releases,
    quality_trend,
    rows_of_erased,
    unfinished_erasures,
)
from merajut_assets.compliance.inventory import (
    by_dataset,
    dataset_inventory,
    store_inventory,
    unknown_tables,
)
from merajut_assets.compliance.register import (
    as_frame,
    gaps,
    processing_register,
    store_register,
    unregistered,
)
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.failures import guarded
from merajut_assets.policies.stakeholder import epsilon_of_all_per_release, overall_policy, stakeholder_policies
from merajut_assets.privacy.dp import protection
from resources.lakehouse import Lakehouse
from resources.openings import take_up_openings
from resources.retention import destroy_originals, overdue

LAYER = "compliance"
OWNER = "team:compliance"
_ENTRIES_SHOWN = 20
# The daily job renews the evidence: so much older than what it tells about may it be.
_RENEWED_EVERY_HOURS = 24
_Column = tuple[str, str, str]  # name, type, description


def build_compliance_assets() -> list[dg.AssetsDefinition]:
    """One asset per kind of evidence, each but the trend of quality with one blocking check.

    The inventory is not among them: it tells about all assets, and so is built when those are (`build_inventory`)."""
    return [
        _quality_history(),
        _audit_verification(),
        _privacy_budget(),
        _erasure_register(),
        _processing_register(),
    ]


def _options(
    name: str, description: str, kinds: set[str], columns: Sequence[_Column], deps: Sequence[dg.AssetKey]
) -> dict[str, Any]:
    schema = [dg.TableColumn(column, kind, text) for column, kind, text in columns]
    return {
        "key": dg.AssetKey([LAYER, name]),
        "description": description,
        "owners": [OWNER],
        "group_name": LAYER,
        "kinds": kinds,
        "tags": {"layer": LAYER, "sensitivity": PrivacyClass.OPERATIONAL.value},
        "metadata": {"dagster/column_schema": dg.TableSchema(schema)},
        "deps": list(deps),
        "freshness_policy": freshness_policy(_hours_of(deps) + _RENEWED_EVERY_HOURS),
    }


def _hours_of(deps: Sequence[dg.AssetKey]) -> float:
    """The shortest time within which what evidence rests on is renewed; a release is as fresh as its datasets."""
    layers = {key.path[0] for key in deps}
    contracts = registry.tables("conformed" if "conformed" in layers else "protected")
    return min(contract.freshness_hours for contract in contracts.values())


def _check(name: str, asset: str, description: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(name, asset=dg.AssetKey([LAYER, asset]), description=description, blocking=True)


def _conformed() -> list[dg.AssetKey]:
    return [dg.AssetKey(list(entity.asset_key)) for entity in registry.tables("conformed").values()]


def _published() -> list[dg.AssetKey]:
    return [dg.AssetKey(["published", stakeholder]) for stakeholder in stakeholder_policies()]


def _statistics() -> list[dg.AssetKey]:
    return [
        dg.AssetKey(["statistics", policy.stakeholder, name])
        for policy in stakeholder_policies().values()
        for name in policy.statistics
    ]


# ── quality ──────────────────────────────────────────────────────────────────────────────


def _quality_history() -> dg.AssetsDefinition:
    columns = (
        ("entity", "text", "Conformed entity"),
        ("built_at", "text", "When it was built, UTC"),
        ("moment", "text", "before_quarantine or after_quarantine"),
        ("dimension", "text", "completeness, accuracy, consistency, uniqueness, timeliness or score"),
        ("value", "number", "Share between 0 and 1; empty when not measured"),
    )

    @dg.asset(
        **_options(
            "quality_history",
            "How good the data of every conformed entity was at each build, in five dimensions.",
            {"deltalake"},
            columns,
            _conformed(),
        )
    )
    @guarded
    def quality_history(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        trend = quality_trend(lakehouse)
        scores = trend.filter(trend["dimension"] == "score")
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": trend.height,
                "entities": scores.height,
                "lowest_score": float(scores["value"].min() or 0.0) if scores.height else 0.0,  # type: ignore[arg-type]
                "latest": dg.MetadataValue.md(
                    _markdown(
                        ("entity", "dimension", "latest", "change"),
                        [
                            (row["entity"], row["dimension"], _share(row["value"]), _signed(row["change"]))
                            for row in trend.iter_rows(named=True)
                        ],
                    )
                ),
            }
        )

    return quality_history


# ── audit ────────────────────────────────────────────────────────────────────────────────


def _audit_verification() -> dg.AssetsDefinition:
    columns = (
        ("sequence", "integer", "Number of the entry, from 1"),
        ("time", "text", "When it was written, UTC"),
        ("event", "text", "What was done"),
        ("facts", "text", "Counts and names; never a personal value"),
        ("previous", "text", "Hash of the entry before"),
        ("hash", "text", "Hash of this entry and the one before"),
    )
    name = "audit_verification"

    @dg.asset(
        **_options(
            name,
            "Whether the audit log is as it was written: nothing edited, removed, inserted, reordered or cut off.",
            {"json"},
            columns,
            _published(),
        ),
        check_specs=[_check("chain_is_intact", name, "Every entry's hash covers the entry and the hash before it")],
    )
    @guarded
    def audit_verification(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        take_up_openings(lakehouse)
        report = lakehouse.audit.verify()
        events: dict[str, int] = {}
        for entry in lakehouse.audit.entries():
            events[entry["event"]] = events.get(entry["event"], 0) + 1
        facts = {
            "entries": report.entries,
            "first_broken_entry": report.first_broken or "none",
            "reason": report.reason or "none",
        }
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": report.entries,
                **facts,
                "events": dg.MetadataValue.md(_markdown(("event", "entries"), sorted(events.items()))),
            },
            check_results=[dg.AssetCheckResult(passed=report.is_intact, metadata=facts)],
        )

    return audit_verification


# ── budget ───────────────────────────────────────────────────────────────────────────────


def _privacy_budget() -> dg.AssetsDefinition:
    columns = (
        ("stakeholder", "text", "Whose budget"),
        ("category", "text", "Kind of data"),
        ("year", "integer", "Calendar year of the releases"),
        ("spent", "number", "ε spent, lost draws included"),
        ("limit", "number", "ε that the policy allows in a year"),
        ("left", "number", "ε that is left"),
        ("largest_release", "number", "ε of the release that took most"),
    )
    name = "privacy_budget"

    @dg.asset(
        **_options(
            name,
            "What was spent of every stakeholder's privacy budget (ε), and what is left of it; last of each year the "
            "sum over all of them, which bounds what recipients who put their figures together learn about one person.",
            {"sqlite"},
            columns,
            _statistics(),
        ),
        check_specs=[
            _check(
                "within_limits",
                name,
                "No release and no year took more than its policy allows, and everything stored is on the ledger",
            )
        ],
    )
    @guarded
    def privacy_budget(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        states, forgotten = budgets(lakehouse), forgotten_releases(lakehouse)
        exceeded = [
            f"{state.stakeholder} {state.category} {state.year}" for state in states if not state.is_within_limits
        ]
        rows = [
            (
                state.stakeholder,
                state.category,
                state.year,
                *(f"{figure:g}" for figure in (state.spent, state.limit, state.left, state.largest_release)),
            )
            for state in states
        ]
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": len(states),
                "balance": dg.MetadataValue.md(_markdown([column for column, _, _ in columns], rows)),
                "what_epsilon_means": dg.MetadataValue.md(
                    _markdown(("stakeholder", "statistic", "meaning"), _meanings())
                ),
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=not exceeded and not forgotten,
                    metadata={
                        "exceeded": ", ".join(exceeded) or "none",
                        "not_on_the_ledger": ", ".join(forgotten) or "none",
                    },
                )
            ],
        )

    return privacy_budget


def _meanings() -> list[tuple[str, str, str]]:
    """Of every statistic, and of all together, what its ε means for one child."""
    rows = [
        (policy.stakeholder, name, _meaning(policy.epsilon(name), statistic.measure == "child_count"))
        for policy in stakeholder_policies().values()
        for name, statistic in policy.statistics.items()
    ]
    of_release, of_year = epsilon_of_all_per_release(), overall_policy().epsilon_per_year
    together = (
        f"Recipients who put all figures of a release together have ε = {of_release:g}, and the odds can change by a "
        f"factor of {math.exp(of_release):,.0f}; in a year ε is {of_year:g} at most, which promises next to nothing"
    )
    return [*rows, ("all", "all", together)]


def _meaning(epsilon: float, is_count: bool) -> str:
    return str(protection(epsilon, is_count=is_count)["meaning"])


# ── erasures ─────────────────────────────────────────────────────────────────────────────


def _erasure_register() -> dg.AssetsDefinition:
    columns = (
        ("certificate_id", "text", "Number of the certificate"),
        ("subject_kind", "text", "Kind of person"),
        ("reason", "text", "Why, as a category"),
        ("completed_at", "text", "When everything was removed, UTC; empty while it is not"),
        ("rows_removed", "integer", "Rows removed from stored tables"),
        (
            "published_before",
            "integer",
            "Publications that were withdrawn, or had gone before; whoever copied one is to be asked to delete it",
        ),
    )
    name = "erasure_register"

    @dg.asset(
        **_options(
            name,
            "Every erasure with what it removed and where, without a word about whom.",
            {"json"},
            columns,
            [*_conformed(), *_published()],
        ),
        check_specs=[
            _check(
                "erasures_hold",
                name,
                "No erasure is unfinished or forgotten, and no row of conformed names an erased person",
            )
        ],
    )
    @guarded
    def erasure_register(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        certificates = ErasureRegister(lakehouse.settings).all()
        unfinished, forgotten = unfinished_erasures(lakehouse), forgotten_erasures(lakehouse)
        # A vault that has forgotten somebody opens nothing, and could not say who was erased.
        revived = {} if forgotten else rows_of_erased(lakehouse)
        rows = [
            (
                one.certificate_id,
                one.subject_kind,
                one.reason.value,
                one.completed_at.isoformat(timespec="seconds") if one.completed_at else "unfinished",
                sum(one.rows_removed.values()),
                len(one.published_before),
            )
            for one in certificates[-_ENTRIES_SHOWN:]
        ]
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": len(certificates),
                "latest": dg.MetadataValue.md(_markdown([column for column, _, _ in columns], rows)),
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=not unfinished and not forgotten and not revived,
                    metadata={
                        "unfinished": unfinished,
                        "forgotten": forgotten,
                        "rows_of_erased": _counts(revived),
                    },
                )
            ],
        )

    return erasure_register


# ── what there is, and why ───────────────────────────────────────────────────────────────


def _processing_register() -> dg.AssetsDefinition:
    columns = (
        ("dataset", "text", "Dataset, as its asset is called"),
        ("owner", "text", "Team that answers for it"),
        ("purpose", "text", "What it is processed for"),
        ("legal_basis", "text", "Basis of the processing; none: never leaves the conformed layer"),
        ("jurisdiction", "text", "Whose law its rows are under, ISO 3166"),
        ("consent_purpose", "text", "Purposes for which consent is asked, of what is made from it, too"),
        ("subjects", "text", "Kinds of people its rows are about"),
        ("data", "text", "Privacy classes of its columns, and how many there are of each"),
        ("recipients", "text", "Who gets the dataset itself"),
        ("passed_on_to", "text", "Who gets something that is made from it"),
        ("country_of_storage", "text", "Where it is stored, ISO 3166"),
        ("countries_of_recipients", "text", "Where those who get it, or something made from it, are"),
        ("is_sent_abroad", "boolean", "Whether one of them is in another country"),
        (
            "retention_days",
            "integer",
            "For how many days it may be kept; the inventory shows what is older as overdue, and its owner decides",
        ),
        ("safeguards", "text", "What protects it"),
    )
    name = "processing_register"

    @dg.asset(
        **_options(
            name,
            "Register of processing: purpose, legal basis, people and data concerned, recipients, countries, retention "
            "and safeguards of every dataset, as contracts and policies declare them.",
            {"deltalake"},
            columns,
            [*_conformed(), *_published()],
        ),
        check_specs=[
            _check(
                "register_is_complete",
                name,
                "Every stored dataset is in the register, and what is about people has a purpose, a basis and an end",
            )
        ],
    )
    @guarded
    def processing_register_asset(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        entries = processing_register(lakehouse.settings.dispute_window_days)
        register = as_frame(entries)
        version = store_register(lakehouse, register)
        missing, lacking = unregistered(lakehouse, entries), gaps(entries)
        abroad = register.filter(register["is_sent_abroad"])["dataset"].to_list()
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": register.height,
                "delta_version": version,
                "sent_abroad": ", ".join(abroad) or "none",
                "register": dg.MetadataValue.md(_markdown(register.columns, register.rows())),
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=not missing and not lacking,
                    metadata={
                        "faults": "; ".join([*(f"{one} is not declared" for one in missing), *lacking]) or "none"
                    },
                )
            ],
        )

    return processing_register_asset


def build_inventory(load_assets: Callable[[], Any]) -> dg.AssetsDefinition:
    """The inventory of whatever assets there are. `load_assets` gives the asset graph of all definitions; it is asked
    when the inventory is made."""
    columns = (
        ("dataset", "text", "Dataset, as its asset is called"),
        ("column", "text", "Column; empty for a dataset without declared ones"),
        ("type", "text", "Type of the column"),
        ("description", "text", "What the column holds"),
        ("privacy_class", "text", "How the column may identify somebody, or its dataset where the column says nothing"),
        ("owner", "text", "Team that answers for the dataset"),
        ("retention_days", "integer", "For how many days it is kept, where that is declared"),
        ("overdue", "integer", "Landed versions, releases or publications of it that are kept for longer"),
        ("fresh_for_hours", "number", "After how many hours it counts as old"),
        ("materialised_at", "text", "When it was made last, UTC"),
        ("partition", "text", "Day of landing or release that was made then"),
        ("checks", "text", "Its checks, and how the last run of each ended"),
        ("checks_failed", "integer", "How many of them failed"),
    )
    name = "dataset_inventory"

    @dg.asset(
        **_options(
            name,
            "Inventory: every table and column with privacy class, owner, retention, freshness, when it was made last, "
            "how its checks ended, and what is kept beyond its time. Originals whose dispute window is over go before.",
            {"deltalake"},
            columns,
            [*_conformed(), *_published()],
        ),
        check_specs=[_check("everything_is_known", name, "Every stored table is made by an asset that there is")],
        # After all else that the run makes, so that it tells about that, too. Not as what depends on it: evidence that
        # fails its check would keep the inventory from telling so, and old originals from being destroyed.
        op_tags={"dagster/priority": "-1"},
    )
    @guarded
    def dataset_inventory_asset(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        destroyed = destroy_originals(lakehouse)
        inventory = dataset_inventory(load_assets(), context.instance, overdue(lakehouse), itself=context.asset_key)
        store_inventory(lakehouse, inventory)
        datasets, unknown = by_dataset(inventory), unknown_tables(lakehouse, inventory)
        failed = datasets.filter(datasets["checks_failed"] > 0)["dataset"].to_list()
        late = datasets.filter(datasets["overdue"] > 0)["dataset"].to_list()
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": inventory.height,
                "datasets": datasets.height,
                "with_failed_checks": ", ".join(failed) or "none",
                "overdue": ", ".join(late) or "none",
                "originals_destroyed": destroyed,
                "inventory": dg.MetadataValue.md(_markdown(datasets.columns, datasets.rows())),
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=not unknown,
                    metadata={"faults": "; ".join(f"{one} is made by no asset" for one in unknown) or "none"},
                )
            ],
        )

    return dataset_inventory_asset


# ── how it is written ────────────────────────────────────────────────────────────────────


def _markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "nothing yet"
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines)


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2%}"


def _signed(change: float | None) -> str:
    return "" if change is None else f"{change:+.2%}"


def _counts(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{table}: {count}" for table, count in sorted(rows.items())) or "none"
