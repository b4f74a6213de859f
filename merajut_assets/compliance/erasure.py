"""Erasing a person: keys first, then every stored row, then the files that held them.

Belongs here: the order of the steps and what each removes. Finding the person is `subjects`', what is
certified is `certificates`'.

Destroying the keys makes everything in raw and quarantine unreadable at once, whatever happens next;
the other steps remove rows under tokens and pseudonyms. Each step can be repeated, so that calling
`erase` again completes an erasure that was killed. This is the one exception to "never rewritten".
Noisy figures stay: nobody can be told from them.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
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
from merajut_assets.conformed.build import BUCKETS_OF_PERSONAL_TABLES
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.policies.stakeholder import Microdata, StakeholderPolicy, stakeholder_policies
from merajut_assets.privacy.policy import Policy
from merajut_assets.privacy.pseudonym import pseudonyms
from merajut_assets.protected import release as protected_release
from merajut_assets.protected.pipeline import examine, subject_column
from resources.lakehouse import Lakehouse
from resources.locks import exclusive

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
        tables = [
            *_rewrite_conformed(lakehouse, subject, tokens, fact),
            *_rewrite_protected(lakehouse, subject, tokens, fact),
        ]
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
        published_before=_publications_about(lakehouse, subject),
    )


def _publications_about(lakehouse: Lakehouse, subject: Subject) -> tuple[PublishedBefore, ...]:
    """The publications kept of every stakeholder with a dataset about this kind of person."""
    return tuple(
        PublishedBefore(policy.stakeholder, publication.release, publication.number)
        for policy in stakeholder_policies().values()
        if any(subject in contract.subjects for contract, _ in _microdata(policy))
        for publication in lakehouse.publisher.list(policy.stakeholder)
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
    """Remove the rows about the person, and the person's token from rows about others; returns the tables."""
    tables = []
    for column in token_columns(subject):
        if lakehouse.lake.version(column.table) is None:
            continue
        if column.is_about:
            lakehouse.lake.delete_where(
                column.table, pl.col(column.column).is_in(tokens.implode()), facts={ERASURE: fact}
            )
        else:
            _clear_references(lakehouse, column, tokens, fact)
        tables.append(column.table)
    return list(dict.fromkeys(tables))


def _clear_references(lakehouse: Lakehouse, column: TokenColumn, tokens: pl.Series, fact: str) -> None:
    rows = lakehouse.lake.read(column.table, filter=pl.col(column.column).is_in(tokens.implode()))
    if rows.height:
        lakehouse.lake.merge(
            column.table,
            rows.with_columns(pl.lit(None, dtype=pl.String).alias(column.column)),
            key=list(column.entity.key),
            order_by="modified_at",
            buckets=BUCKETS_OF_PERSONAL_TABLES,
            facts={ERASURE: fact, "references": rows.height},
        )


def _rewrite_protected(lakehouse: Lakehouse, subject: Subject, tokens: pl.Series, fact: str) -> list[str]:
    """Remove the person's rows from every stored release of datasets about such people; returns the tables."""
    tables = []
    for policy in stakeholder_policies().values():
        for contract, dataset in _microdata(policy):
            table = protected_release.table_of(contract)
            if subject not in contract.subjects or lakehouse.lake.version(table) is None:
                continue
            for partition in lakehouse.lake.partitions(table):
                release = partition[protected_release.RELEASE]
                key = protected_release.pseudonym_key(lakehouse, contract, policy, release)
                if key is not None:
                    _rewrite_release(lakehouse, contract, dataset, release, pseudonyms(tokens, key), fact)
            tables.append(table)
    return tables


def _microdata(policy: StakeholderPolicy) -> list[tuple[TableContract, Microdata]]:
    return [
        (registry.protected_dataset(policy.stakeholder, name), dataset) for name, dataset in policy.microdata.items()
    ]


def _rewrite_release(
    lakehouse: Lakehouse, contract: TableContract, dataset: Microdata, release: str, erased: pl.Series, fact: str
) -> None:
    table = protected_release.table_of(contract)
    stored = protected_release.read_release(lakehouse.lake, contract, release)
    subject = subject_column(contract)
    # With whoever shared a class with them: were it one row alone that is missing from the next publication,
    # whoever kept the last one would know whose it was.
    is_touched = pl.col(subject).is_in(erased.implode()).any().over(dataset.privacy.class_columns)
    kept = stored.filter(~is_touched)
    if kept.height == stored.height:
        return
    safe = whole_classes(kept, dataset.privacy, subject)
    if not examine(safe, contract, dataset).is_safe:
        # What cannot be shown safe does not stay, and is not made anew either.
        safe = safe.clear()
    # No fact names the release as such: the commit is a rewrite, after which the release is measured again.
    lakehouse.lake.overwrite(
        table, safe, partition={protected_release.RELEASE: release}, facts={ERASURE: fact, "of_release": release}
    )


def whole_classes(frame: pl.DataFrame, policy: Policy, subject: str) -> pl.DataFrame:
    """The rows of `frame` whose class still has k distinct subjects and l different sensitive values.

    A class is a combination of values of the policy's class columns. Taking out whole classes changes no
    other class."""
    classes = policy.class_columns
    enough = pl.col(subject).n_unique().over(classes) >= policy.k
    for name, rule in policy.sensitive.items():
        if rule.l_diversity is not None:
            enough = enough & (pl.col(name).drop_nulls().n_unique().over(classes) >= rule.l_diversity.l)
    return frame.filter(enough)


__all__ = ["ERASURE", "Certificate", "ErasureReason", "erase", "whole_classes"]
