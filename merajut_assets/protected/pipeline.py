"""From conformed rows to a protected dataset: filter, summarise, protect, verify, and only then return.

Belongs here: the order of the steps and every refusal before something is stored. It touches neither
disk nor Dagster. What cannot be shown safe is refused: PrivacyRefused says which requirement failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pandera.errors
import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DATA_ORIGIN, PrivacyClass, Subject, TableContract
from merajut_assets.policies.stakeholder import Aggregate, Microdata, Open, StakeholderPolicy
from merajut_assets.privacy.anonymise import Release, anonymise
from merajut_assets.privacy.disclosure import (
    cells_with_small_changes,
    suppress_small_cells,
    withhold_disclosing_shares,
)
from merajut_assets.privacy.policy import DataError, Policy
from merajut_assets.privacy.pseudonym import pseudonyms
from merajut_assets.privacy.requirements import questions
from merajut_assets.privacy.risk import exceeds
from merajut_assets.privacy.steps import PrivacyStep
from merajut_assets.privacy.utility import utility_report
from merajut_assets.privacy.verify import check, verify
from merajut_assets.protected.care import reporting_dates
from merajut_assets.protected.consent_filter import CONSENT_ENTITY, UsableRows, usable_rows
from merajut_assets.protected.linkage import POPULATION_ENTITY, is_looked_up, measured_risk, people_known
from merajut_assets.protected.memory import Memory
from merajut_assets.protected.origins import with_origins
from merajut_assets.protected.reference import distributions, is_compared
from merajut_assets.protected.summaries import summary_of
from merajut_assets.protected.summary import CONTRIBUTIONS, CONTRIBUTOR

# How a dataset of each kind protects what goes into it.
PRIVACY_STEPS = {
    "microdata": PrivacyStep.GENERALISE,
    "aggregate": PrivacyStep.DISCLOSURE_CONTROL,
    "open": PrivacyStep.DROP,
}
WITHHELD = "is_withheld"
# The fact under which a release keeps its utility report, as JSON.
UTILITY_REPORT = "utility_report"
# The unit by which a contract declares a figure about groups to be a share of them.
SHARE_UNIT = "ratio"
# Sums of one person's parts are compared between releases at this many digits: their order is not fixed.
CONTRIBUTION_DIGITS = 6
# Whatever a policy forgets, a column of these classes leaves only generalised (quasi-identifiers) or never.
_NEVER_RELEASED = (PrivacyClass.DIRECT_IDENTIFIER, PrivacyClass.FREE_TEXT)


class PrivacyRefused(RuntimeError):
    """The dataset cannot be shown safe and is not released. Names the requirement, never a value."""


@dataclass(frozen=True)
class ProtectedResult:
    """A dataset that may be stored. `report`: figures only. `excluded`: rows per entity and reason.

    `contributions`, of figures about groups: who stands behind each published figure, under keyed digests
    (see `contributions_of`). `classes`, of rows about children: what later releases must know of this one (see
    `Memory.remembered`). `distributions`, of rows about persons: what their classes were compared with (see
    `reference`). None of them is ever part of what is released."""

    frame: pl.DataFrame
    report: dict[str, Any]
    excluded: dict[str, dict[str, int]] = field(default_factory=dict)
    contributions: pl.DataFrame | None = None
    classes: pl.DataFrame | None = None
    distributions: pl.DataFrame | None = None


def entities_of(contract: TableContract) -> tuple[str, ...]:
    """The conformed entities that a dataset is made from, as its columns name them, the decisions on consent
    where it is about people, and the population where somebody could be looked up in it."""
    named = [entity.name for entity in registry.source_entities(contract)]
    about_people = any(registry.entity(name).subjects for name in named)
    needed = {CONSENT_ENTITY: about_people, POPULATION_ENTITY: is_looked_up(contract)}
    return tuple(dict.fromkeys([*named, *(name for name, is_needed in needed.items() if is_needed)]))


def protect(
    contract: TableContract,
    policy: StakeholderPolicy,
    entities: Mapping[str, pl.DataFrame],
    cut_off: date,
    pseudonym_key: bytes | None = None,
    published: pl.DataFrame | None = None,
    memory: Memory | None = None,
) -> ProtectedResult:
    """The dataset as it may be released to the policy's stakeholder.

    `entities`: the frames that `entities_of` names. `pseudonym_key`: at least 32 bytes, needed for whatever is
    about persons; for figures about groups it must be the same in all releases. `published`: who stood behind the
    figures of this dataset that were published before, the `contributions` of those releases with a column
    `publication`. `memory`: what earlier child-level releases of this dataset showed.

    The report holds `rows_in`, `excluded`, `rows`, `suppressed`, and by kind of dataset `k`, `l`, `t_…`,
    `classes`, `transformation`, `finest_transformation`, `loss`, `column_loss`, `utility`, `withheld_parts`,
    `withheld_rows`, `reporting_dates`, `candidates` and `left_out_beside_history` (with a memory), `risk`,
    `cells_withheld_small`, `cells_withheld_small_change`, `shares_withheld`, `publications_compared`.
    Raises PrivacyRefused when a requirement cannot be met, and DataError when rows do not fit the policy.
    """
    dataset = policy.datasets[contract.name]
    people = {
        name: frame for name, frame in entities.items() if name != POPULATION_ENTITY or not is_looked_up(contract)
    }
    usable = usable_for(contract, policy, people, cut_off)
    summary = summary_of(contract)(usable.entities, cut_off)
    contributions = classes = reference = None
    if isinstance(dataset, Microdata):
        frame, report, classes, reference = _microdata(contract, dataset.privacy, summary, pseudonym_key, memory)
        population = entities.get(POPULATION_ENTITY) if is_looked_up(contract) else None
        report["risk"] = _within_limits(contract, dataset, frame, population, cut_off, people_known(contract, people))
    elif isinstance(dataset, Aggregate):
        frame, report, contributions = _aggregate(contract, dataset, summary, pseudonym_key, published)
    else:
        frame, report = summary, {"suppressed": 0}
    report = {
        "rows_in": sum(frame.height for name, frame in people.items() if name != CONSENT_ENTITY),
        "excluded": sum(sum(reasons.values()) for reasons in usable.excluded.values()),
        "subjects": summary.height if isinstance(dataset, Microdata) else None,
        **report,
        "rows": frame.height,
    }
    if Subject.CHILD in contract.subjects and {"child", "placement"} <= set(usable.entities):
        dates = reporting_dates(usable.entities, cut_off)
        report["reporting_dates"] = {source: day.isoformat() for source, day in dates.items()}
    frame = conforming(with_origins(frame, contract, entities), contract)
    evidence = assert_protected(frame, contract, dataset, reference)
    # k and l as published are the verifier's, not those of the code that is verified.
    measured = ("k", "l", "t_equal", "t_ordered", "t_hierarchical")
    report.update({name: evidence.facts[name] for name in measured if evidence.facts.get(name)})
    counts = None
    if isinstance(dataset, Microdata) and reference is not None and is_compared(dataset.privacy):
        counts = distributions(reference, dataset.privacy)
    return ProtectedResult(frame, report, usable.excluded, contributions, classes, counts)


def usable_for(
    contract: TableContract, policy: StakeholderPolicy, entities: Mapping[str, pl.DataFrame], cut_off: date
) -> UsableRows:
    """The rows that the summary of a dataset may see: those that may be used, and for an open dataset only those
    about nobody."""
    usable = usable_rows(
        entities,
        subjects=contract.subjects,
        jurisdictions=contract.jurisdiction.split(","),
        legal_bases=policy.legal_bases,
        purpose=policy.consent_purpose,
        cut_off=cut_off,
    )
    if isinstance(policy.datasets[contract.name], Open):
        return replace(usable, entities=_about_nobody(usable.entities))
    return usable


def _about_nobody(entities: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The rows that name no person: open datasets are released as they are, and so must be made of no others."""
    kept = {}
    for name, frame in entities.items():
        people = registry.entity(name).subject_columns.values()
        kept[name] = frame.filter(pl.all_horizontal(pl.lit(True), *(pl.col(column).is_null() for column in people)))
    return kept


# ── rows about persons ───────────────────────────────────────────────────────────────────


def subject_column(contract: TableContract) -> str:
    """The column that carries the pseudonym: the key of a dataset of rows about persons."""
    if len(contract.key) != 1:
        raise PrivacyRefused(f"{contract.identifier}: rows about persons need one key column, their pseudonym")
    return contract.key[0]


def privacy_with_subject(contract: TableContract, privacy: Policy) -> Policy:
    """The policy with k counting distinct pseudonyms. Raises PrivacyRefused when a column could leave as it is."""
    generalised = set(privacy.class_columns)
    bare = [
        column.name
        for column in contract.columns
        if column.privacy in _NEVER_RELEASED
        or (column.privacy is PrivacyClass.QUASI_IDENTIFIER and column.name not in generalised)
    ]
    if bare:
        raise PrivacyRefused(
            f"{contract.identifier}: the policy does not generalise {', '.join(bare)}; "
            "add a hierarchy for it, or leave the column out of the dataset"
        )
    return Policy.model_validate({**privacy.model_dump(), "subject": subject_column(contract)})


def _microdata(
    contract: TableContract, privacy: Policy, summary: pl.DataFrame, key: bytes | None, memory: Memory | None
) -> tuple[pl.DataFrame, dict[str, Any], pl.DataFrame | None, pl.DataFrame]:
    """The anonymised rows, the facts about them, with a memory what is to be remembered of them, and the rows
    that they were made from."""
    if key is None:
        raise PrivacyRefused(f"{contract.identifier}: rows about persons need a pseudonym key")
    policy = privacy_with_subject(contract, privacy)
    subject = subject_column(contract)
    tokens = summary.get_column(subject)
    # Before anonymising, so that not even the order of the rows depends on the token.
    named = summary.with_columns(pseudonyms(tokens, key))
    history = None if memory is None else memory.history(tokens, named.get_column(subject))
    release, basis, withheld = _solvable(contract, named, policy, history)
    assert release.frame is not None
    beside = ("candidates", "candidates_presence_known", "left_out_beside_history")
    report = {
        "suppressed": release.report["suppressed"],
        "classes": release.report["classes"],
        "transformation": dict(release.report["transformation"]),
        # The former is the coarsest of all parts by the exact columns.
        "finest_transformation": {
            name: min(part["transformation"][name] for part in release.report["partitions"])
            for name in release.report["transformation"]
        },
        "loss": release.report["loss"],
        "column_loss": dict(release.report["column_loss"]),
        "utility": utility_report(basis, release, policy),
        "withheld_parts": withheld,
        "withheld_rows": named.height - release.report["rows"],
        **{name: release.report[name] for name in beside if name in release.report},
    }
    classes = None
    if memory is not None:
        classes = memory.remembered(release.frame, policy, tokens, named.get_column(subject))
    return release.frame, report, classes, basis


def _solvable(
    contract: TableContract, frame: pl.DataFrame, policy: Policy, history: pl.DataFrame | None
) -> tuple[Release, pl.DataFrame, int]:
    """The release of `frame`, the rows it was made from, and how many parts by the exact columns are left out.

    Parts never share a class, so that each stands for itself: one that has no solution (too few
    children, or a column that it does not tell) is withheld whole, and the others are released. Raises PrivacyRefused
    when there is no such part, or when together they have no solution: distributions are compared with those of all.
    """
    whole = anonymise(frame, policy, history=history)
    if whole.frame is not None:
        return whole, frame, 0
    parts = frame.partition_by(policy.exact) if policy.exact and frame.height else []
    kept = [part for part in parts if anonymise(part, policy, history=history).frame is not None]
    if not kept:
        raise PrivacyRefused(f"{contract.identifier} cannot be released: {_reason(whole)}")
    basis = pl.concat(kept)
    release = anonymise(basis, policy, history=history)
    if release.frame is None:
        raise PrivacyRefused(f"{contract.identifier} cannot be released: {_reason(release)}")
    return release, basis, len(parts) - len(kept)


def _within_limits(
    contract: TableContract,
    dataset: Microdata,
    frame: pl.DataFrame,
    population: pl.DataFrame | None,
    cut_off: date,
    people: int | None,
) -> dict[str, Any]:
    """The measured risk. Raises PrivacyRefused when a figure is above what the policy allows."""
    risk = measured_risk(frame, contract, dataset, subject_column(contract), population, cut_off, people)
    if broken := exceeds(risk, dataset.risk_limits):
        raise PrivacyRefused(f"{contract.identifier} is not released: {'; '.join(broken)}")
    return risk


def _reason(release: Release) -> str:
    hint = dict(release.report.get("feasible_with") or {})
    limit = hint.pop("suppression_limit", None)
    # The numbers hold together; the suppression limit would do alone.
    ways = [" and ".join(f"{name} {value:g}" for name, value in hint.items())] if hint else []
    ways += [f"suppression_limit {limit:g}"] if limit is not None else []
    return f"{release.report['reason']}{'; it would be met with ' if ways else ''}{' or '.join(ways)}"


# ── figures about groups ─────────────────────────────────────────────────────────────────


def figure_columns(contract: TableContract, dataset: Aggregate) -> list[str]:
    """The columns that tell about people: neither key, nor drawn from entities about no person."""
    return [
        column.name
        for column in contract.columns
        if not column.key
        and column.name != WITHHELD
        and (column.name == dataset.contributors or any(_is_about_people(source) for source in column.sources))
    ]


def _is_about_people(source: str) -> bool:
    return bool(registry.entity(source.split(".")[0]).subjects)


def share_columns(contract: TableContract, dataset: Aggregate) -> dict[str, int]:
    """The figures that are shares, as their unit says, with how many people must be on either side of each.

    For a sensitive one that is k; another one must only not say the same of everybody."""
    return {
        name: dataset.k if contract.column(name).privacy is PrivacyClass.SENSITIVE else 1
        for name in figure_columns(contract, dataset)
        if contract.column(name).unit == SHARE_UNIT
    }


def _aggregate(
    contract: TableContract,
    dataset: Aggregate,
    summary: pl.DataFrame,
    key: bytes | None,
    published: pl.DataFrame | None,
) -> tuple[pl.DataFrame, dict[str, Any], pl.DataFrame]:
    """The frame without what would disclose, the facts about that, and who stands behind what is published.

    Withheld are: shares that tell about fewer than k people or about everybody, small cells, and cells of which a
    figure stands on people who differ by fewer than k from those of an earlier publication.
    """
    if key is None:
        raise PrivacyRefused(f"{contract.identifier}: figures about groups need a key for their contributors")
    people = _people(contract, dataset, summary)
    frame = summary.drop(CONTRIBUTIONS)
    shares = share_columns(contract, dataset)
    for name, least in shares.items():
        sides = people.group_by(contract.key).agg(
            (pl.col(name).struct.field("part") > 0).sum().alias("_with"),
            (pl.col(name).struct.field("part") < pl.col(name).struct.field("whole")).sum().alias("_without"),
        )
        frame = frame.join(sides, on=contract.key, how="left", maintain_order="left", nulls_equal=True)
        frame = withhold_disclosing_shares(frame, name, "_with", "_without", least).drop("_with", "_without")
    candidate = _published_part(contributions_of(contract, dataset, people, key), frame, contract, dataset, shares)
    changed = (
        candidate.select(contract.key).clear()
        if published is None
        else cells_with_small_changes(candidate, published, contract.key, dataset.k)
    )
    # A cell without a count is withheld like a small one, with all of its figures.
    count = pl.when(pl.col("_changed").is_null()).then(pl.col(dataset.contributors)).alias(dataset.contributors)
    marked = frame.join(
        changed.with_columns(pl.lit(True).alias("_changed")),
        on=contract.key,
        how="left",
        maintain_order="left",
        nulls_equal=True,
    )
    is_small = pl.col(dataset.contributors).fill_null(0) < dataset.k
    small = marked.filter(is_small).height
    figures = [name for name in figure_columns(contract, dataset) if name != dataset.contributors]
    released = suppress_small_cells(
        marked.with_columns(count).drop("_changed"), dataset.contributors, dataset.k, figures
    )
    shown = released.filter(~pl.col(WITHHELD))
    report = {
        "suppressed": released.height - shown.height,
        "cells_withheld_small": small,
        "cells_withheld_small_change": released.height - shown.height - small,
        "shares_withheld": sum(shown.get_column(name).null_count() for name in shares),
        "publications_compared": 0 if published is None else published.get_column("publication").n_unique(),
    }
    return released, report, candidate.join(shown.select(contract.key), on=contract.key, how="semi", nulls_equal=True)


def _people(contract: TableContract, dataset: Aggregate, summary: pl.DataFrame) -> pl.DataFrame:
    """One row per cell and person: the keys, `contributor`, and that person's part in each figure.

    Raises PrivacyRefused when the summary does not tell, for each of its figures, who stands behind it: a figure
    of which that is not known cannot be compared with what was published before."""
    if CONTRIBUTIONS not in summary.columns:
        raise PrivacyRefused(
            f"{contract.identifier}: its summary does not say who stands behind its figures; build them with cells()"
        )
    people = (
        summary.select(*contract.key, CONTRIBUTIONS)
        .explode(CONTRIBUTIONS)
        .drop_nulls(CONTRIBUTIONS)
        .unnest(CONTRIBUTIONS)
    )
    figures = [name for name in figure_columns(contract, dataset) if name != dataset.contributors]
    counted = people.group_by(contract.key).agg(
        pl.col(CONTRIBUTOR).n_unique().alias("_people"), pl.len().alias("_rows")
    )
    compared = summary.select(*contract.key, dataset.contributors).join(
        counted, on=contract.key, how="left", nulls_equal=True
    )
    agree = (pl.col("_people").fill_null(0) == pl.col(dataset.contributors).fill_null(0)) & (
        pl.col("_rows").fill_null(0) == pl.col("_people").fill_null(0)
    )
    if set(people.columns) != {*contract.key, CONTRIBUTOR, *figures} or not compared.select(agree.all()).item():
        raise PrivacyRefused(
            f"{contract.identifier}: what its summary says about contributors does not fit its figures; "
            "every figure needs a part of each contributor, and each contributor one row in a cell"
        )
    return people


def contributions_of(contract: TableContract, dataset: Aggregate, people: pl.DataFrame, key: bytes) -> pl.DataFrame:
    """Who stands behind each figure: the keys of the cell, `figure`, `contributor`, `contribution`.

    `people`: from `_people`. Contributors are digests under `key`, and so are contributions, which tell only
    whether the part of a person is the same as in another release."""
    named = people.with_columns(pseudonyms(people.get_column(CONTRIBUTOR), key))
    parts = [
        named.select(*contract.key, pl.lit(name).alias("figure"), CONTRIBUTOR, _as_text(people, name))
        for name in figure_columns(contract, dataset)
    ]
    everything = pl.concat(parts)
    identified = pl.concat_str(CONTRIBUTOR, "figure", "contribution", separator="|").alias("contribution")
    return everything.with_columns(pseudonyms(everything.select(identified).to_series(), key))


def _as_text(people: pl.DataFrame, figure: str) -> pl.Expr:
    """A person's part in a figure as text. In the count of people everybody's part is one."""
    if figure not in people.columns:
        return pl.lit("1").alias("contribution")
    dtype = people.schema[figure]
    part = pl.col(figure)
    if isinstance(dtype, pl.Struct):
        text = pl.concat_str((part.struct.field(one.name) for one in dtype.fields), separator="/")
    else:
        text = (part.round(CONTRIBUTION_DIGITS) if dtype.is_float() else part).cast(pl.String)
    return text.fill_null("").alias("contribution")


def _published_part(
    contributions: pl.DataFrame,
    frame: pl.DataFrame,
    contract: TableContract,
    dataset: Aggregate,
    shares: Mapping[str, int],
) -> pl.DataFrame:
    """The contributions to figures that are still shown: large enough cells, and shares that are not withheld."""
    large = frame.filter(pl.col(dataset.contributors) >= dataset.k)
    kept = contributions.join(large.select(contract.key), on=contract.key, how="semi", nulls_equal=True)
    for name in shares:
        hidden = large.filter(pl.col(name).is_null()).select(*contract.key, pl.lit(name).alias("figure"))
        kept = kept.join(hidden, on=[*contract.key, "figure"], how="anti", nulls_equal=True)
    return kept


# ── what holds for every dataset ─────────────────────────────────────────────────────────


def conforming(frame: pl.DataFrame, contract: TableContract) -> pl.DataFrame:
    """`frame` in the contract's columns, validated. Raises PrivacyRefused for a column too many or too few,
    and DataError when values break the contract's rules."""
    declared = [column.name for column in contract.columns]
    extra = sorted(set(frame.columns) - set(declared))
    missing = sorted(set(declared) - set(frame.columns))
    if extra or missing:
        problems = [
            f"{label} {', '.join(names)}" for label, names in (("undeclared", extra), ("missing", missing)) if names
        ]
        raise PrivacyRefused(
            f"{contract.identifier}: columns {'; '.join(problems)}; a dataset has what its contract declares"
        )
    frame = frame.select(declared)
    try:
        contract.schema.validate(frame, lazy=True)
    except (pandera.errors.SchemaErrors, pandera.errors.SchemaError) as error:
        # pandera quotes the offending values, so that its message must not travel.
        raise DataError(f"{contract.identifier} breaks its contract: {_broken_rules(error)}") from None
    if contract.key and frame.select(pl.struct(contract.key).is_duplicated().any()).item():
        raise DataError(f"{contract.identifier}: key {', '.join(contract.key)} is not unique")
    return frame


def _broken_rules(error: pandera.errors.SchemaErrors | pandera.errors.SchemaError) -> str:
    cases = getattr(error, "failure_cases", None)
    if not isinstance(cases, pl.DataFrame) or not {"column", "check"} <= set(cases.columns):
        return "see its column types and checks"
    rules = cases.group_by("column", "check").agg(pl.len().alias("rows")).sort("column", "check")
    return "; ".join(f"{column}: {check} in {rows} row(s)" for column, check, rows in rules.iter_rows())


@dataclass(frozen=True)
class Evidence:
    """What the verifier found in a dataset. `violations`: what is broken, in words without values."""

    facts: dict[str, Any]
    violations: tuple[str, ...]

    @property
    def is_safe(self) -> bool:
        return not self.violations


def examine(
    frame: pl.DataFrame,
    contract: TableContract,
    dataset: Microdata | Aggregate | Open,
    reference: pl.DataFrame | None = None,
) -> Evidence:
    """What `frame` protects, told by the verifier's own code path, against what the policy requires.

    `reference`: the sensitive columns of the rows from before anonymising, with which distributions are compared,
    exactly. Without it they are compared with the rows of `frame` itself, as if nothing had been left out.
    """
    extra = sorted(set(frame.columns) - {column.name for column in contract.columns})
    if extra:
        return Evidence({"undeclared_columns": len(extra)}, (f"undeclared column(s) {', '.join(extra)}",))
    if isinstance(dataset, Microdata):
        return _examine_microdata(frame, contract, dataset.privacy, reference)
    if isinstance(dataset, Aggregate):
        return _examine_aggregate(frame, contract, dataset)
    personal = sorted(column.name for column in contract.personal_columns)
    facts = {"rows": frame.height, "personal_columns": len(personal)}
    return Evidence(facts, (f"personal column(s) {', '.join(personal)} in an open dataset",) if personal else ())


def _examine_microdata(
    frame: pl.DataFrame, contract: TableContract, privacy: Policy, reference: pl.DataFrame | None
) -> Evidence:
    asked = questions(privacy)
    options = {**asked.options, "subject": subject_column(contract)}
    # Were the origin told of single rows, it would part them; the verifier must notice.
    visible = [*privacy.class_columns, DATA_ORIGIN]
    facts = verify(frame, visible, asked.sensitive, reference=reference, k=privacy.k, **options)
    return Evidence(facts, tuple(check(facts, asked.thresholds)))


def _examine_aggregate(frame: pl.DataFrame, contract: TableContract, dataset: Aggregate) -> Evidence:
    shown = frame.filter(~pl.col(WITHHELD).fill_null(False))
    hidden = frame.filter(pl.col(WITHHELD).fill_null(False))
    contributors = shown.get_column(dataset.contributors)
    below = int((contributors.is_null() | (contributors < dataset.k)).sum())
    showing = sum(int(hidden.get_column(name).is_not_null().sum()) for name in figure_columns(contract, dataset))
    about_all = sum(int(shown.get_column(name).is_in([0.0, 1.0]).sum()) for name in share_columns(contract, dataset))
    facts = {
        "rows": frame.height,
        "withheld": hidden.height,
        "k": contributors.min(),
        "rows_below_k": below,
        "shares_of_nobody_or_all": about_all,
    }
    violations = [f"{below} row(s) show figures of fewer than {dataset.k} {dataset.contributors}"] if below else []
    violations += [f"{showing} withheld figure(s) are shown"] if showing else []
    violations += [f"{about_all} share(s) say the same of everybody in a row"] if about_all else []
    return Evidence(facts, tuple(violations))


def assert_protected(
    frame: pl.DataFrame,
    contract: TableContract,
    dataset: Microdata | Aggregate | Open,
    reference: pl.DataFrame | None = None,
) -> Evidence:
    """The verifier's evidence. Raises PrivacyRefused unless it finds everything that the policy requires."""
    evidence = examine(frame, contract, dataset, reference)
    if not evidence.is_safe:
        raise PrivacyRefused(f"{contract.identifier} is not released: {'; '.join(evidence.violations)}")
    return evidence
