"""Erasing a person: keys first, then every stored row, then the files that held them.

Belongs here: the order of the steps and what each removes. Finding the person is `subjects`', what is
certified is `certificates`'.

Destroying the keys makes everything in raw and quarantine unreadable at once, whatever happens next;
the other steps remove rows under tokens and pseudonyms. Each step can be repeated, so that calling
`erase` again completes an erasure that was killed. This is the one exception to "never rewritten".

Files that hold an anonymised row of the person (publications, the release's warehouse and its copies,
what analysts built from them) are removed whole and made again by a re-run of the release. They go before
the protected rows do, because only those rows tell which files are meant. Noisy figures stay: nobody can
be told from them.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from merajut_assets.compliance.certificates import (
    Certificate,
    ErasureReason,
    ErasureRegister,
    PublishedBefore,
)
from merajut_assets.compliance.subjects import (
    TokenColumn,
    linked_ids,
    subject_tokens,
    tables_about,
    token_columns,
)
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.privacy.pseudonym import pseudonyms
from merajut_assets.protected import contributors
from merajut_assets.protected import release as protected_release
from merajut_assets.protected.memory import name_key
from merajut_assets.protected.pipeline import subject_column
from resources.facts import Fact
from resources.lakehouse import Lakehouse
from resources.locks import exclusive
from resources.publication import PUBLISHED, PublicationReplaced
from resources.shapes import retyped

ERASURE = "erasure"  # the fact by which commits of an erasure are known
_HASH_KEY = "compliance/erasure"
_LOCK_SECONDS = 600.0


def erase(lakehouse: Lakehouse, subject: Subject, system: str, source_id: str, reason: ErasureReason) -> Certificate:
    """Erase a person everywhere and certify it; a second call for the same person completes or repeats it.

    Raises UnknownSubject when nothing about such a person was ever landed; nothing is changed then. No
    sync or release may run meanwhile: one that has read the person's rows already would store them again.
    """
    with exclusive(lakehouse.settings.lake / ".locks" / "erasure.lock", _LOCK_SECONDS):
        ids = linked_ids(lakehouse, subject, system, source_id)
        register = ErasureRegister(lakehouse.settings)
        certificate = _begun(lakehouse, register, subject, system, ids, reason)
        register.write(certificate)
        lakehouse.vault.destroy_subjects(subject, ids)
        certificate = _without_originals(lakehouse, register, certificate, subject)
        tokens = subject_tokens(lakehouse, subject, ids)
        fact = certificate.certificate_id
        tables = _rewrite_conformed(lakehouse, subject, tokens, fact)
        certificate = _without_published(lakehouse, register, certificate, subject, tokens)
        tables += _rewrite_protected(lakehouse, subject, tokens, fact)
        tables += contributors.forget(lakehouse, subject, tokens, {ERASURE: fact})
        for table in tables:
            lakehouse.lake.vacuum(table)
        done = _accounted(lakehouse, certificate, tables).completed()
        register.write(done)
        lakehouse.audit.append(
            "erasure",
            certificate=done.certificate_id,
            subject_kind=done.subject_kind,
            system=system,
            reason=done.reason.value,
            linked_ids=done.linked_ids,
            originals=done.originals_destroyed,
            rows=sum(done.rows_removed.values()),
            tables=len(done.rows_removed),
            publications=len(done.published_before),
        )
    return done


# ── the certificate ──────────────────────────────────────────────────────────────────────


def _begun(
    lakehouse: Lakehouse,
    register: ErasureRegister,
    subject: Subject,
    system: str,
    ids: list[str],
    reason: ErasureReason,
) -> Certificate:
    """A new certificate, or the one of an earlier call for the same person, open again."""
    # The smallest id stands for all: which of somebody's ids is given must not matter.
    key = lakehouse.vault.named_key(_HASH_KEY)
    subject_hash = hmac.digest(key, f"{subject}\0{ids[0]}".encode(), "sha256").hex()
    known = register.find(subject_hash[:24])
    if known is not None:
        return replace(known, linked_ids=max(len(ids), known.linked_ids), completed_at=None)
    return Certificate(
        certificate_id=subject_hash[:24],
        subject_kind=subject.value,
        system=system,
        subject_hash=subject_hash,
        reason=reason,
        begun_at=datetime.now(UTC),
        linked_ids=len(ids),
    )


def _accounted(lakehouse: Lakehouse, certificate: Certificate, tables: list[str]) -> Certificate:
    """The certificate with what the commits of this erasure did, also in calls that were killed."""
    removed: dict[str, int] = {}
    cleared: dict[str, int] = {}
    releases: set[str] = set(certificate.releases_to_rebuild)
    for table in tables:
        for commit in lakehouse.lake.history(table):
            if commit["facts"].get(ERASURE) != certificate.certificate_id:
                continue
            version = commit["version"]
            rows = lakehouse.lake.rows(table, version=version - 1) - lakehouse.lake.rows(table, version=version)
            removed[table] = removed.get(table, 0) + rows
            cleared[table] = cleared.get(table, 0) + int(commit["facts"].get("references") or 0)
            if commit["facts"].get("of_release"):
                releases.add(str(commit["facts"]["of_release"]))
    return replace(
        certificate,
        rows_removed={table: rows for table, rows in sorted(removed.items()) if rows},
        references_cleared={table: rows for table, rows in sorted(cleared.items()) if rows},
        tables_vacuumed=tuple(sorted({*certificate.tables_vacuumed, *tables})),
        releases_to_rebuild=tuple(sorted(releases)),
    )


# ── the steps ────────────────────────────────────────────────────────────────────────────


def _without_originals(
    lakehouse: Lakehouse, register: ErasureRegister, certificate: Certificate, subject: Subject
) -> Certificate:
    """Destroy the kept originals of every system with tables about the person: they hold rows in clear."""
    systems = {table.system for table, _ in tables_about(subject, certificate.system)}
    paths = [
        path
        for table in registry.tables("raw").values()
        if table.system in systems
        for path in lakehouse.lake.originals(table.system, table.name)
    ]
    counted = replace(certificate, originals_destroyed=certificate.originals_destroyed + len(paths))
    # Counted first: killed in between, the certificate says that they are to be gone, and the next call does it.
    register.write(counted)
    # The name of every file of the lake ends with the id of its key.
    lakehouse.vault.destroy_file_keys(path.stem.rpartition("-")[2] for path in paths)
    for path in paths:
        path.unlink(missing_ok=True)
    return counted


def _rewrite_conformed(lakehouse: Lakehouse, subject: Subject, tokens: pl.Series, fact: str) -> list[str]:
    """Remove the rows about the person, and the person's token from rows that stay; returns the tables."""
    columns = token_columns(lakehouse, subject)
    for column in columns:
        named = pl.col(column.column).is_in(tokens.implode())
        lakehouse.lake.delete_where(column.table, named & column.goes, facts={ERASURE: fact})
        _clear_references(lakehouse, column, named, fact)
    return list(dict.fromkeys(column.table for column in columns))


def _clear_references(lakehouse: Lakehouse, column: TokenColumn, named: pl.Expr, fact: str) -> None:
    """Take the person's token out of the rows that stay."""
    references = lakehouse.read(
        column.table, columns=[column.column], filter=named, reader=ERASURE, purpose="references to the erased"
    ).height
    if references:
        facts: dict[str, Fact] = {ERASURE: fact, "references": references}
        lakehouse.lake.clear_where(column.table, column.column, named, facts=facts)


def _without_published(
    lakehouse: Lakehouse, register: ErasureRegister, certificate: Certificate, subject: Subject, tokens: pl.Series
) -> Certificate:
    """Remove every file outside the lake that may hold a row of the person, and name the publications."""
    traces = [_trace(lakehouse, policy, contract, tokens) for policy, contract in _datasets_about(subject)]
    stakeholders = sorted({trace.stakeholder for trace in traces})
    made = _publications(lakehouse, stakeholders)
    concerned = {
        publication
        for publication, one in made.items()
        if any(trace.may_be_in(publication, one.published_at) for trace in traces)
    }
    certificate = replace(certificate, published_before=tuple(sorted({*certificate.published_before, *concerned})))
    # Named before anything is removed: killed in between, the certificate tells what there was.
    register.write(certificate)
    # The publications last: it is they that tell, in a repeated call, which warehouse files are meant.
    releases = {release for trace in traces for release in trace.held}
    releases |= {publication.release for publication in concerned if made[publication].is_there}
    for release in sorted(releases):
        if lakehouse.warehouse.withdraw(release):
            lakehouse.audit.append("warehouse.withdrawn", release=release)
    if releases:
        for path in lakehouse.settings.analyst.glob("*.duckdb*"):
            path.unlink(missing_ok=True)
    for stakeholder in stakeholders:
        numbers = {one.number for one in certificate.published_before if one.stakeholder == stakeholder}
        for withdrawn in lakehouse.publisher.withdraw(stakeholder, numbers):
            lakehouse.audit.append(
                "published.withdrawn", stakeholder=stakeholder, release=withdrawn.release, number=withdrawn.number
            )
    return certificate


@dataclass(frozen=True)
class _Trace:
    """Where a person is, or was, in one dataset of a stakeholder. `stored`: its releases now; `held`: those with
    a row of the person; `rewritten`: when an erasure last took rows from a release."""

    stakeholder: str
    stored: frozenset[str]
    held: frozenset[str]
    rewritten: Mapping[str, datetime]

    def may_be_in(self, publication: PublishedBefore, published_at: datetime) -> bool:
        """Whether a publication may hold a row of the person: the stored release does; or that cannot be told,
        because it is not stored, or lost rows since, among which may have been the person's."""
        if publication.stakeholder != self.stakeholder:
            return False
        rewritten = self.rewritten.get(publication.release)
        is_untold = publication.release not in self.stored or (rewritten is not None and published_at <= rewritten)
        return is_untold or publication.release in self.held


def _trace(lakehouse: Lakehouse, policy: StakeholderPolicy, contract: TableContract, tokens: pl.Series) -> _Trace:
    table = protected_release.table_of(contract)
    if lakehouse.lake.version(table) is None:
        return _Trace(policy.stakeholder, frozenset(), frozenset(), {})
    stored = frozenset(partition[protected_release.RELEASE] for partition in lakehouse.lake.partitions(table))
    columns = _pseudonym_columns(lakehouse, contract)
    held = set()
    for release in stored:
        of_person = pl.col(columns).is_in(_pseudonyms(lakehouse, contract, policy, release, tokens).implode())
        partition = {protected_release.RELEASE: release}
        found = lakehouse.read(
            table,
            partition=partition,
            columns=columns,
            filter=pl.any_horizontal(of_person),
            reader=ERASURE,
            purpose="releases that hold the erased",
        )
        if found.height:
            held.add(release)
    rewritten: dict[str, datetime] = {}
    for commit in lakehouse.lake.history(table):  # the newest first
        if commit["facts"].get("of_release"):
            rewritten.setdefault(str(commit["facts"]["of_release"]), commit["timestamp"])
    return _Trace(policy.stakeholder, stored, frozenset(held), rewritten)


@dataclass(frozen=True)
class _Made:
    """When a publication was made, and whether its file is there still."""

    published_at: datetime
    is_there: bool


def _publications(lakehouse: Lakehouse, stakeholders: Collection[str]) -> dict[PublishedBefore, _Made]:
    """Every publication ever made for these stakeholders: those kept, and those that only the audit log knows."""
    found = {}
    for entry in lakehouse.audit.entries():
        facts = entry["facts"]
        if entry["event"] == PUBLISHED and facts["stakeholder"] in stakeholders:
            publication = PublishedBefore(facts["stakeholder"], facts["release"], facts["number"])
            found[publication] = _Made(datetime.fromisoformat(entry["time"]), is_there=False)
    for stakeholder in stakeholders:
        try:
            kept = lakehouse.publisher.list(stakeholder)
        except PublicationReplaced:
            continue  # the files of such a stakeholder are withdrawn whatever they are
        for one in kept:
            made = _Made(one.published_at, is_there=one.withdrawn_at is None)
            found[PublishedBefore(stakeholder, one.release, one.number)] = made
    return found


def _rewrite_protected(lakehouse: Lakehouse, subject: Subject, tokens: pl.Series, fact: str) -> list[str]:
    """Remove the person's rows from every stored release of datasets about such people; returns the tables."""
    tables = []
    for policy, contract in _datasets_about(subject):
        table = protected_release.table_of(contract)
        if lakehouse.lake.version(table) is None:
            continue
        for partition in lakehouse.lake.partitions(table):
            release = partition[protected_release.RELEASE]
            erased = _pseudonyms(lakehouse, contract, policy, release, tokens)
            _rewrite_release(lakehouse, contract, policy, release, erased, fact)
        if protected_release.is_child_level(contract, policy):
            names = pseudonyms(tokens, name_key(lakehouse, contract))
            lakehouse.ledger.erase_children(policy.stakeholder, contract.name, names.to_list())
        tables.append(table)
    return tables


def _datasets_about(subject: Subject) -> list[tuple[StakeholderPolicy, TableContract]]:
    """The datasets with rows about single people of this kind."""
    return [
        (policy, contract)
        for policy in stakeholder_policies().values()
        for name in policy.microdata
        if subject in (contract := registry.protected_dataset(policy.stakeholder, name)).subjects
    ]


def _pseudonyms(
    lakehouse: Lakehouse, contract: TableContract, policy: StakeholderPolicy, release: str, tokens: pl.Series
) -> pl.Series:
    key = protected_release.pseudonym_key(lakehouse, contract, policy, release)
    assert key is not None, "rows about persons have pseudonyms"
    return pseudonyms(tokens, key)


def _pseudonym_columns(lakehouse: Lakehouse, contract: TableContract) -> list[str]:
    """The stored columns of a dataset in which a pseudonym may be: the declared one, or any text of a table that was
    written when it had another name."""
    schema = lakehouse.lake.schema(protected_release.table_of(contract))
    subject = subject_column(contract)
    return [subject] if subject in schema else [name for name, dtype in schema.items() if dtype == pl.String]


def _rewrite_release(
    lakehouse: Lakehouse,
    contract: TableContract,
    policy: StakeholderPolicy,
    release: str,
    erased: pl.Series,
    fact: str,
) -> None:
    dataset = policy.microdata[contract.name]
    table = protected_release.table_of(contract)
    stored = protected_release.read_release(lakehouse, contract, release, ERASURE)
    columns = [name for name in lakehouse.lake.schema(table) if name != protected_release.RELEASE]
    names = [name for name in _pseudonym_columns(lakehouse, contract) if name in columns]
    is_erased = pl.any_horizontal(pl.col(names).is_in(erased.implode()))
    # With whoever shared a class with them: were it one row alone that is missing from the next publication,
    # whoever kept the last one would know whose it was.
    kept = stored.filter(~is_erased.any().over(dataset.privacy.class_columns))
    if kept.height == stored.height:
        return
    is_comparable = not retyped(stored.schema, contract)
    if not (is_comparable and protected_release.examine_rows(lakehouse, contract, policy, release, kept).is_safe):
        # What cannot be shown safe does not stay, and is not made anew either.
        kept = kept.clear()
    # No fact names the release as such: the commit is a rewrite, after which the release is measured again. It has the
    # columns that the table had: an erasure is no release under today's contract.
    partition, facts = {protected_release.RELEASE: release}, {ERASURE: fact, "of_release": release}
    lakehouse.lake.overwrite(table, kept.select(columns), partition=partition, facts=facts)


__all__ = ["ERASURE", "Certificate", "ErasureReason", "erase"]
