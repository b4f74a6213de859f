"""Storing a protected dataset as part of a release, once.

Belongs here: what is read, when nothing is to be done, the register of child-level releases, the order
of writing, and the evidence from what is stored. Does not belong here: how data are protected
(`pipeline`), and Dagster (`assets`).

A release is written once. Built again from the same pinned versions under the same policy, it is left
as it is. Rows about single persons are never made anew, neither under another policy nor after an erasure:
two versions of one release can be intersected like two releases. What an erasure has left of them, whole
classes only, is measured again and stays. Releases of different months are judged together: the ledger
remembers who was in which class.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DATA_ORIGIN, Subject, TableContract
from merajut_assets.policies.stakeholder import Aggregate, Microdata, StakeholderPolicy
from merajut_assets.privacy.history import least_values
from merajut_assets.privacy.joined import Published
from merajut_assets.privacy.requirements import judge_join
from merajut_assets.protected.contributors import (
    contributor_key,
    contributors_table,
    published_contributions,
    remember,
    remembered_releases,
    small_differences,
)
from merajut_assets.protected.memory import memory_of, not_remembered, together
from merajut_assets.protected.origins import all_origins
from merajut_assets.protected.pipeline import (
    UTILITY_REPORT,
    WITHHELD,
    Evidence,
    PrivacyRefused,
    ProtectedResult,
    entities_of,
    examine,
    privacy_with_subject,
    protect,
    subject_column,
)
from merajut_assets.protected.reference import (
    distributions_table,
    has_distributions,
    remember_distributions,
    remembered_reference,
)
from resources.facts import Fact
from resources.lake import Lake, TableSchemaError
from resources.lakehouse import Lakehouse
from resources.shapes import in_shape, refuse_unfit

RELEASE = "release"
# What every dataset's pseudonym is called where datasets are joined.
_JOINED = "pseudonym"


class ReleaseChanged(PrivacyRefused):
    """A stored child-level release would be replaced by one of another policy."""


@dataclass(frozen=True)
class StoredRelease:
    """One partition of a stored table, and the facts it was committed with. `is_current`: nobody has
    rewritten the table since. `columns`: those that the table had by then."""

    facts: dict[str, Any]
    is_current: bool
    columns: Mapping[str, pl.DataType]


def table_of(contract: TableContract) -> str:
    return "/".join(contract.asset_key)


def stored_release(lake: Lake, table: str, release: str) -> StoredRelease | None:
    """What is stored of a release, or None."""
    if not lake.has_partition(table, {RELEASE: release}):
        return None
    rewritten = False
    for commit in lake.history(table):
        if commit["facts"].get(RELEASE) == release:
            return StoredRelease(commit["facts"], not rewritten, lake.schema(table, version=commit["version"]))
        # Commits that name no release are rewrites of the whole table: an erasure, or a restore.
        rewritten = rewritten or RELEASE not in commit["facts"]
    return StoredRelease({}, False, lake.schema(table))


def read_release(lakehouse: Lakehouse, contract: TableContract, release: str, purpose: str) -> pl.DataFrame:
    """The stored rows of a release, with all columns that are stored but the release itself, and null in those that
    are declared since. `purpose`: for the audit log."""
    table = table_of(contract)
    stored = lakehouse.read(table, partition={RELEASE: release}, reader=table, purpose=purpose)
    return in_shape(stored.drop(RELEASE, strict=False), contract)


def store_release(
    lake: Lake, contract: TableContract, release: str, rows: pl.DataFrame, facts: Mapping[str, Fact]
) -> None:
    """Store the rows of a release. Columns declared since earlier ones were made are null in those."""
    lake.overwrite(table_of(contract), rows, partition={RELEASE: release}, may_gain_columns=True, facts=facts)


def refuse_unstorable(lake: Lake, contract: TableContract, release: str) -> None:
    """Refuse (TableSchemaError) when rows of the contract could not be stored beside the other releases: to be asked
    before anything is booked, registered or remembered for them."""
    schema = {column.name: column.dtype for column in contract.columns}
    lake.check_columns(table_of(contract), schema, partition={RELEASE: release}, may_gain_columns=True)


def refuse_unreadable(stored: StoredRelease, contract: TableContract, release: str) -> None:
    """Refuse (TableSchemaError) when a stored release, which is not made anew, does not fit the contract."""
    rows = f"{table_of(contract)}, release {release}"
    remedy = "a release stays as it was made: put the columns back as they were, or make a newer release"
    refuse_unfit(stored.columns, contract, rows, remedy)
    if lost := sorted(set(stored.columns) - {RELEASE, *(column.name for column in contract.columns)}):
        raise TableSchemaError(f"{rows}: stored with {', '.join(lost)}, which its contract has no longer; {remedy}")


def is_child_level(contract: TableContract, policy: StakeholderPolicy) -> bool:
    """Whether a dataset has rows about single children."""
    return Subject.CHILD in contract.subjects and isinstance(policy.datasets[contract.name], Microdata)


def release_dataset(
    lakehouse: Lakehouse, contract: TableContract, policy: StakeholderPolicy, release: str
) -> dict[str, Fact]:
    """Build, protect, verify and store one dataset of a release; returns the facts about it.

    Raises PrivacyRefused (also for a changed policy: ReleaseChanged) and what reading raises. Nothing is
    written then but the refusal in the audit log.
    """
    started = time.perf_counter()
    try:
        facts, is_new = _release_dataset(lakehouse, contract, policy, release)
    except PrivacyRefused as error:
        lakehouse.audit.append("refusal", asset=table_of(contract), release=release, reason=type(error).__name__)
        raise
    return {**facts, "is_new": is_new, "seconds": round(time.perf_counter() - started, 3)}


def _release_dataset(
    lakehouse: Lakehouse, contract: TableContract, policy: StakeholderPolicy, release: str
) -> tuple[dict[str, Fact], bool]:
    table = table_of(contract)
    manifest = lakehouse.release_manifest(release)
    names = entities_of(contract)
    digests = {
        "inputs": _digest({name: manifest.version(name) for name in names}),
        "policy": policy_digest(contract, policy),
    }
    stored = stored_release(lakehouse.lake, table, release)
    if stored is not None and stored.is_current and digests.items() <= stored.facts.items():
        return stored.facts, False
    is_about_persons = isinstance(policy.datasets[contract.name], Microdata)
    if stored is not None and is_about_persons:
        _refuse_changed(contract, policy, release, stored)
    if is_about_persons and _was_stored(lakehouse.lake, table, release):
        return _kept(lakehouse, contract, policy, release, stored), True
    refuse_unstorable(lakehouse.lake, contract, release)
    if is_child_level(contract, policy):
        _refuse_unregistered(lakehouse, policy, release)
    if isinstance(policy.datasets[contract.name], Aggregate):
        _refuse_unremembered(lakehouse, contract)
    entities = {name: lakehouse.read_conformed(name, release, table) for name in names}
    key = pseudonym_key(lakehouse, contract, policy, release)
    dataset = policy.datasets[contract.name]
    published = published_contributions(lakehouse, contract)
    memory = None
    if is_child_level(contract, policy) and isinstance(dataset, Microdata):
        memory = memory_of(lakehouse, contract, dataset, release)
    result = protect(contract, policy, entities, manifest.cut_off, key, published, memory)
    if is_child_level(contract, policy):
        lakehouse.ledger.register_child_release(
            policy.stakeholder,
            contract.name,
            release,
            _classes_digest(lakehouse, contract, policy, result.frame),
            int(result.report["k"]),
            result.classes,
        )
    facts: dict[str, Fact] = {
        RELEASE: release,
        "cut_off": manifest.cut_off.isoformat(),
        DATA_ORIGIN: all_origins(result.frame),
        **digests,
        **flat_facts(result),
    }
    if result.contributions is not None:
        remember(lakehouse.lake, contract, release, result.contributions)
    if result.distributions is not None:
        remember_distributions(lakehouse.lake, contract, release, result.distributions)
    store_release(lakehouse.lake, contract, release, result.frame, facts)
    lakehouse.audit.append("release", asset=table, release=release, rows=result.frame.height, k=facts.get("k"))
    return facts, True


def _refuse_changed(contract: TableContract, policy: StakeholderPolicy, release: str, stored: StoredRelease) -> None:
    """Refuse rows about persons that are stored under another policy (about children), or do not fit the contract.

    A column that the contract gained is no other policy: nothing is in it in this release."""
    same = {policy_digest(contract, policy), policy_digest(contract, policy, stored.columns)}
    if is_child_level(contract, policy) and stored.facts.get("policy") not in same:
        raise ReleaseChanged(
            f"{contract.identifier}, release {release}, is stored under another policy; rows about children are "
            "released once: put the policy back, or apply it to a stakeholder dataset that has no release yet"
        )
    refuse_unreadable(stored, contract, release)


def _refuse_unremembered(lakehouse: Lakehouse, contract: TableContract) -> None:
    """Refuse when figures about groups are stored and it is not known who stood behind them: nothing can be compared
    with them then."""
    lake, table = lakehouse.lake, table_of(contract)
    if lake.version(table) is None:
        return
    known = remembered_releases(lake, contract)
    stored = [partition[RELEASE] for partition in lake.partitions(table)]
    forgotten = [
        other
        for other in stored
        if other not in known
        and not read_release(lakehouse, contract, other, "comparison of releases")
        .get_column(WITHHELD)
        .fill_null(False)
        .all()
    ]
    if forgotten:
        raise PrivacyRefused(
            f"{contract.identifier}: figures of release {', '.join(forgotten)} are stored, and who stood behind them "
            f"is not remembered; restore table {contributors_table(contract)} from a backup"
        )


def _refuse_unregistered(lakehouse: Lakehouse, policy: StakeholderPolicy, release: str) -> None:
    """Refuse when the lake holds a child-level release that the ledger does not know: it was lost or replaced,
    and with it the memory of what the stakeholder has already got."""
    forgotten = [f"{name} of {other}" for name, other in unregistered(lakehouse, policy) if other != release]
    if forgotten:
        raise PrivacyRefused(
            f"{policy.stakeholder}, release {release}: {', '.join(forgotten)} is stored, and the privacy ledger "
            "does not know it; restore the ledger from a backup"
        )


def unregistered(lakehouse: Lakehouse, policy: StakeholderPolicy) -> list[tuple[str, str]]:
    """Dataset and release of every stored child-level release whose like the ledger does not know."""
    known = {entry.release for entry in lakehouse.ledger.child_releases(policy.stakeholder)}
    contracts = [registry.protected_dataset(policy.stakeholder, name) for name in policy.microdata]
    return [
        (contract.name, partition[RELEASE])
        for contract in contracts
        if is_child_level(contract, policy) and lakehouse.lake.version(table_of(contract)) is not None
        for partition in lakehouse.lake.partitions(table_of(contract))
        if partition[RELEASE] not in known
    ]


def _was_stored(lake: Lake, table: str, release: str) -> bool:
    return lake.version(table) is not None and any(
        commit["facts"].get(RELEASE) == release for commit in lake.history(table)
    )


def _kept(
    lakehouse: Lakehouse,
    contract: TableContract,
    policy: StakeholderPolicy,
    release: str,
    stored: StoredRelease | None,
) -> dict[str, Fact]:
    """Keep what an erasure has left of a release of persons; returns its facts, measured again."""
    table = table_of(contract)
    evidence = None if stored is None else examine_stored(lakehouse, contract, policy, release)
    if stored is None or evidence is None or not evidence.is_safe:
        raise PrivacyRefused(
            f"{contract.identifier}, release {release}: an erasure has left nothing that may be shown, and rows about "
            "persons are not made anew for a release; wait for a stakeholder dataset that has no release yet"
        )
    frame = read_release(lakehouse, contract, release, "what an erasure has left")
    if is_child_level(contract, policy):
        digest = _classes_digest(lakehouse, contract, policy, frame)
        lakehouse.ledger.register_child_release(
            policy.stakeholder, contract.name, release, digest, int(evidence.facts["k"])
        )
    # It was measured under this policy, and has the columns of this contract by now.
    measured: dict[str, Fact] = {"rows": frame.height, "k": int(evidence.facts["k"])}
    facts: dict[str, Fact] = {**stored.facts, **measured, "policy": policy_digest(contract, policy)}
    store_release(lakehouse.lake, contract, release, frame, facts)
    lakehouse.audit.append("release", asset=table, release=release, rows=frame.height, k=facts["k"])
    return facts


def policy_digest(contract: TableContract, policy: StakeholderPolicy, present: Collection[str] | None = None) -> str:
    """A digest of everything in policy and contract that decides what a dataset holds. `present`: as if the contract
    had no other columns."""
    return _digest(
        {
            "dataset": policy.datasets[contract.name].model_dump(mode="json"),
            "consent_purpose": policy.consent_purpose,
            "legal_bases": [basis.value for basis in policy.legal_bases],
            "jurisdiction": contract.jurisdiction,
            "columns": [column.name for column in contract.columns if present is None or column.name in present],
        }
    )


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def pseudonym_key(
    lakehouse: Lakehouse, contract: TableContract, policy: StakeholderPolicy, release: str
) -> bytes | None:
    """The key of the stakeholder's pseudonyms for the period, or of an aggregate's contributors for good. It differs
    per dataset: the datasets of one stakeholder are made each by itself, and would not hold on their join, on which
    they are verified wherever pseudonyms are the same."""
    if isinstance(policy.datasets[contract.name], Aggregate):
        return contributor_key(lakehouse, contract)
    if not isinstance(policy.datasets[contract.name], Microdata):
        return None
    period = release[:4] if policy.pseudonym_period == "year" else release
    return lakehouse.vault.named_key(f"pseudonym/{policy.stakeholder}/{period}/{contract.name}")


def _classes_digest(
    lakehouse: Lakehouse, contract: TableContract, policy: StakeholderPolicy, frame: pl.DataFrame
) -> str:
    """A keyed digest of who is in which class, by which the ledger tells two builds of a release apart."""
    dataset = policy.datasets[contract.name]
    assert isinstance(dataset, Microdata)
    subject = subject_column(contract)
    classes = frame.select(subject, *dataset.privacy.class_columns).sort(subject).write_csv()
    return hmac.digest(lakehouse.vault.named_key("digest"), classes.encode(), "sha256").hex()


def flat_facts(result: ProtectedResult) -> dict[str, Fact]:
    """A result's report and exclusions as plain facts: `level_sex`, `l_abuse_type`, `risk_linkage_share_right`,
    `excluded_child_no_consent`; and as one of them, in JSON, `utility_report`."""
    prefixes = {"transformation": "level", "finest_transformation": "finest_level", "reporting_dates": "reporting_date"}
    report = {prefixes.get(name, name): value for name, value in result.report.items() if name != "utility"}
    facts = _flat(report)
    if "utility" in result.report:
        # A sum of squares is long enough to have the shape of a phone number; its share of rows² tells the same.
        told = {name: value for name, value in result.report["utility"].items() if name != "discernibility"}
        facts[UTILITY_REPORT] = json.dumps(told, allow_nan=False)
    for entity, reasons in result.excluded.items():
        facts.update({f"excluded_{entity}_{reason}": rows for reason, rows in reasons.items()})
    return facts


def _flat(figures: Mapping[str, Any]) -> dict[str, Fact]:
    flat: dict[str, Fact] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}_{inner}": figure for inner, figure in _flat(value).items()})
        elif isinstance(value, list):
            flat[name] = ", ".join(map(str, value))
        elif value is not None:
            flat[name] = value
    return flat


def examine_stored(lakehouse: Lakehouse, contract: TableContract, policy: StakeholderPolicy, release: str) -> Evidence:
    """The verifier's evidence about what is stored of a release, read back from the lake; of figures about groups
    and of rows about children also about all releases together."""
    dataset = policy.datasets[contract.name]
    stored = read_release(lakehouse, contract, release, "check")
    evidence = examine_rows(lakehouse, contract, policy, release, stored)
    if isinstance(dataset, Aggregate):
        return _with_differences(evidence, lakehouse, contract, dataset)
    if isinstance(dataset, Microdata):
        evidence = _with_join(evidence, lakehouse, contract, policy, stored, release)
    if isinstance(dataset, Microdata) and is_child_level(contract, policy):
        return _with_candidates(evidence, lakehouse, contract, dataset, stored, release)
    return evidence


def examine_rows(
    lakehouse: Lakehouse, contract: TableContract, policy: StakeholderPolicy, release: str, rows: pl.DataFrame
) -> Evidence:
    """The verifier's evidence about `rows` of a release by themselves, beside the distributions kept with it."""
    if not has_distributions(policy, contract.name):
        return examine(rows, contract, policy.datasets[contract.name])
    reference = remembered_reference(lakehouse, contract, release, rows)
    if reference is not None and not set(policy.microdata[contract.name].privacy.sensitive) <= set(reference.columns):
        reference = None  # of a column that came later nothing was remembered
    evidence = examine(rows, contract, policy.datasets[contract.name], reference)
    if reference is not None:
        return evidence
    lost = (
        "how its sensitive values were distributed before anonymising is not remembered; restore table "
        f"{distributions_table(contract)} from a backup"
    )
    return Evidence(evidence.facts, (*evidence.violations, lost))


def _with_differences(
    evidence: Evidence, lakehouse: Lakehouse, contract: TableContract, dataset: Aggregate
) -> Evidence:
    published = published_contributions(lakehouse, contract)
    if published is None:
        return evidence
    small = small_differences(published, contract.key, dataset.k)
    found = [f"{small} figure(s) differ between releases in fewer than {dataset.k}"] if small else []
    return Evidence({**evidence.facts, "small_differences": small}, (*evidence.violations, *found))


def _with_join(
    evidence: Evidence,
    lakehouse: Lakehouse,
    contract: TableContract,
    policy: StakeholderPolicy,
    stored: pl.DataFrame,
    release: str,
) -> Evidence:
    """The evidence with that about the join with the stakeholder's other rows about persons, where these share
    pseudonyms, whatever the keys were meant to be: whoever gets both tables can link them."""
    own = stored.get_column(subject_column(contract))
    tables = [_published(contract, policy, stored)]
    for name in policy.microdata:
        other = registry.protected_dataset(policy.stakeholder, name)
        if name == contract.name or not lakehouse.lake.has_partition(table_of(other), {RELEASE: release}):
            continue
        table = _published(other, policy, read_release(lakehouse, other, release, "check of the join"))
        if own.is_in(table.frame.get_column(_JOINED).implode()).any():
            tables.append(table)
    if len(tables) == 1:
        return evidence
    verdict = judge_join(tables, _JOINED, max(policy.microdata[table.name].privacy.k for table in tables))
    facts = {"joined_datasets": len(tables), "joined_k": verdict.facts["k"], "joined_l": verdict.facts["l"]}
    return Evidence({**evidence.facts, **facts}, (*evidence.violations, *verdict.broken))


def _published(contract: TableContract, policy: StakeholderPolicy, rows: pl.DataFrame) -> Published:
    """Rows about persons as one reads them who joins them with others, under one name of the pseudonym."""
    privacy = policy.microdata[contract.name].privacy
    renamed = rows.rename({subject_column(contract): _JOINED})
    return Published(contract.name, renamed, privacy.class_columns, least_values(privacy))


def _with_candidates(
    evidence: Evidence,
    lakehouse: Lakehouse,
    contract: TableContract,
    dataset: Microdata,
    stored: pl.DataFrame,
    release: str,
) -> Evidence:
    privacy = privacy_with_subject(contract, dataset.privacy)
    known = lakehouse.ledger.child_classes(contract.system, contract.name)
    facts = together(known, privacy)
    found = []
    if facts["candidates"] < privacy.k:
        found.append(
            f"over {facts['releases']} release(s) a child has {facts['candidates']} candidates, not {privacy.k}"
        )
    for name, least in least_values(privacy).items():
        if facts["candidate_values"].get(name, 0) < least:
            found.append(f"over {facts['releases']} release(s) the candidates of a child show too few values of {name}")
    if forgotten := not_remembered(lakehouse, known, privacy, stored, release):
        found.append(f"the privacy ledger does not know {forgotten} stored row(s); restore the ledger from a backup")
    return Evidence({**evidence.facts, **facts, "rows_not_remembered": forgotten}, (*evidence.violations, *found))
