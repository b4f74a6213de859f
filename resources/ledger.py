"""The privacy ledger: what was spent of each stakeholder's budget, and which child-level releases exist.

Here belongs the bookkeeping that outlives runs. How much a release costs and what the limits are
comes from policies; drawing noise is `privacy`'s business. A charge is booked before the noise is
drawn: a crash in between loses budget, never privacy.

States of a charge: `pending` (booked, figures not stored yet), `committed` (figures stored), `lost`
(superseded, its figures may have been seen by nobody, but that cannot be known: it counts to the
year, no longer to the release).

Who knows which figures are stored (the lake) is the ledger's witness: a ledger without a charge for one of
them was lost or replaced by an older one, and would pay for a second draw. It books nothing any more.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

import polars as pl

_BUSY_SECONDS = 60.0
# Sums in whole billionths of ε and whole 1e-15 of δ: a sum of ten tenths is exactly one.
_EPSILON_UNIT = Decimal("1e-9")
_DELTA_UNIT = Decimal("1e-15")
_RELEASE = re.compile(r"(\d{4})(?:-[A-Za-z0-9_-]+)?")

_TABLES = """
CREATE TABLE IF NOT EXISTS charge (
    charge_id INTEGER PRIMARY KEY AUTOINCREMENT,
    stakeholder TEXT NOT NULL, category TEXT NOT NULL, release TEXT NOT NULL, year INTEGER NOT NULL,
    name TEXT NOT NULL, epsilon INTEGER NOT NULL CHECK (epsilon >= 0), delta INTEGER NOT NULL CHECK (delta >= 0),
    state TEXT NOT NULL CHECK (state IN ('pending', 'committed', 'lost')),
    charged_at TEXT NOT NULL, settled_at TEXT) STRICT;
CREATE INDEX IF NOT EXISTS charge_by_budget ON charge (stakeholder, category, year, release);
CREATE UNIQUE INDEX IF NOT EXISTS charge_alive ON charge (stakeholder, release, name) WHERE state <> 'lost';
CREATE TABLE IF NOT EXISTS child_release (
    stakeholder TEXT NOT NULL, dataset TEXT NOT NULL, release TEXT NOT NULL, revision INTEGER NOT NULL,
    classes_digest TEXT NOT NULL, min_class INTEGER NOT NULL, registered_at TEXT NOT NULL,
    PRIMARY KEY (stakeholder, dataset, release, revision)) STRICT;
CREATE TABLE IF NOT EXISTS child_class (
    stakeholder TEXT NOT NULL, dataset TEXT NOT NULL, release TEXT NOT NULL, subject TEXT NOT NULL,
    signature TEXT NOT NULL, PRIMARY KEY (stakeholder, dataset, release, subject)) STRICT, WITHOUT ROWID;
"""


class LedgerError(RuntimeError):
    """The ledger refuses. Messages name stakeholder, release and remedy."""


class BudgetExceeded(LedgerError):
    """A charge would spend more than a limit allows. Nothing was booked."""


class AlreadyCharged(LedgerError):
    """The figures of this name are paid for and stored; they are to be read, not drawn again."""


class ForgetfulLedger(LedgerError):
    """Figures or rows are stored that the ledger does not know. Names them and the remedy."""


@dataclass(frozen=True)
class StoredDraw:
    """Figures of a statistic that are stored; `charge` is the number of the charge that paid for them, None
    where it is not on record."""

    stakeholder: str
    release: str
    name: str
    charge: int | None

    def __str__(self) -> str:
        return f"{self.stakeholder}/{self.name} of {self.release}"


@dataclass(frozen=True)
class Spent:
    """A sum of ε and δ."""

    epsilon: float
    delta: float


@dataclass(frozen=True)
class BalanceRow:
    """What one stakeholder spent in one category and release; the year's sums include lost charges."""

    stakeholder: str
    category: str
    release: str
    year: int
    epsilon: float
    delta: float
    epsilon_lost: float
    epsilon_year: float
    delta_year: float
    charges: int
    pending: int


@dataclass(frozen=True)
class ChildRelease:
    """A registered child-level release. `revision` counts how often it was built (1 the first time)."""

    stakeholder: str
    dataset: str
    release: str
    revision: int
    classes_digest: str
    min_class: int
    registered_at: datetime


class PrivacyLedger:
    """The ledger in an SQLite database, for several processes at once. Made on first use.

    `witness` tells which figures are stored.
    """

    def __init__(self, database: Path, witness: Callable[[], Iterable[StoredDraw]] = tuple) -> None:
        self.database = Path(database)
        self._witness = witness

    # ── budget ───────────────────────────────────────────────────────────────────────────

    def charge(
        self,
        stakeholder: str,
        release: str,
        name: str,
        category: str,
        epsilon: float,
        delta: float = 0.0,
        *,
        limit_per_release: float,
        limit_per_year: float,
        limit_of_all_per_year: float | None = None,
        delta_limit_per_release: float = 0.0,
        delta_limit_per_year: float = 0.0,
    ) -> int:
        """Book ε and δ for the statistic `name` before its noise is drawn; returns the charge's id.

        Limits hold per stakeholder and category, for the release and for its calendar year (the first
        four digits of `release`). `limit_of_all_per_year` bounds the ε of the year over all stakeholders and
        categories together, lost charges included. δ limits are 0 unless given: approximate privacy must be allowed
        expressly. A pending charge of the same name is taken for crashed and becomes lost.
        Raises BudgetExceeded, AlreadyCharged when the figures of that name are stored already, and
        ForgetfulLedger.
        """
        self._refuse_forgetful()
        year = _year(release)
        cost = _units_of(epsilon, delta, ROUND_CEILING)
        per_release = _units_of(limit_per_release, delta_limit_per_release, ROUND_FLOOR)
        per_year = _units_of(limit_per_year, delta_limit_per_year, ROUND_FLOOR)
        with self._transaction() as connection:
            self._supersede(connection, stakeholder, release, name)
            by_release = _sums(connection, stakeholder, category, "release = ? AND state <> 'lost'", release)
            by_year = _sums(connection, stakeholder, category, "year = ?", year)
            budget = f"{stakeholder}, category {category}, release {release}"
            _refuse_excess(budget, f"release {release}", by_release, cost, per_release)
            _refuse_excess(budget, f"year {year}", by_year, cost, per_year)
            if limit_of_all_per_year is not None:
                of_all = connection.execute("SELECT coalesce(sum(epsilon), 0) FROM charge WHERE year = ?", (year,))
                limit = _units(limit_of_all_per_year, _EPSILON_UNIT, ROUND_FLOOR)
                spent = (int(of_all.fetchone()[0]), 0)
                _refuse_excess(f"all stakeholders together, {budget}", f"year {year}", spent, (cost[0], 0), (limit, 0))
            cursor = connection.execute(
                "INSERT INTO charge (stakeholder, category, release, year, name, epsilon, delta, state, charged_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?)",
                (stakeholder, category, release, year, name, *cost, _now()),
            )
            return int(cursor.lastrowid or 0)

    def commit(self, charge_id: int) -> None:
        """Say that the figures paid for by a charge are stored. Raises LedgerError for a lost charge."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE charge SET state = 'committed', settled_at = ? WHERE charge_id = ? AND state = 'pending'",
                (_now(), charge_id),
            ).rowcount
            if changed:
                return
            row = connection.execute("SELECT state FROM charge WHERE charge_id = ?", (charge_id,)).fetchone()
            if row is None or row[0] == "lost":
                raise LedgerError(
                    f"charge {charge_id} is not pending any more: a later run of the same statistic replaced it; "
                    "discard these figures and use the later ones"
                )

    def write_off(self, charge_id: int) -> None:
        """Declare a charge lost (its figures are gone), so that they can be drawn, and paid for, again."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE charge SET state = 'lost', settled_at = ? WHERE charge_id = ?", (_now(), charge_id)
            )

    def forgotten(self) -> list[StoredDraw]:
        """Figures that are stored, and for which this ledger has no charge: it was lost, or is an older one."""
        stored = sorted(set(self._witness()), key=lambda draw: (draw.stakeholder, draw.name, draw.release))
        if not stored:
            return []
        with self._reading() as connection:
            rows = connection.execute("SELECT stakeholder, release, name, charge_id FROM charge").fetchall()
        known = {StoredDraw(stakeholder, release, name, charge) for stakeholder, release, name, charge in rows}
        known |= {replace(draw, charge=None) for draw in known}
        return [draw for draw in stored if draw not in known]

    def _refuse_forgetful(self) -> None:
        forgotten = self.forgotten()
        if forgotten:
            more = f" and {len(forgotten) - 3} more" if len(forgotten) > 3 else ""
            raise ForgetfulLedger(
                f"the privacy ledger knows no charge for {', '.join(map(str, forgotten[:3]))}{more}, which is stored: "
                f"it was lost or replaced by an older one; put the newest {self.database.name} back, since nothing is "
                "drawn until then"
            )

    def committed(self, stakeholder: str, release: str, name: str) -> int | None:
        """The id of the committed charge of a statistic, or None when its figures were never stored."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT charge_id FROM charge WHERE (stakeholder, release, name, state) = (?, ?, ?, 'committed')",
                (stakeholder, release, name),
            ).fetchone()
        return None if row is None else int(row[0])

    def spent(
        self, stakeholder: str, *, category: str | None = None, release: str | None = None, year: int | None = None
    ) -> Spent:
        """What a stakeholder's charges sum up to. With `release`, lost charges do not count."""
        clauses, values = ["stakeholder = ?"], [stakeholder]
        for column, value in (("category", category), ("release", release), ("year", year)):
            if value is not None:
                clauses.append(f"{column} = ?")
                values.append(str(value))
        if release is not None:
            clauses.append("state <> 'lost'")
        with self._reading() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(epsilon), 0), coalesce(sum(delta), 0) FROM charge "  # noqa: S608 - fixed texts
                f"WHERE {' AND '.join(clauses)}",
                values,
            ).fetchone()
        return Spent(_number(row[0], _EPSILON_UNIT), _number(row[1], _DELTA_UNIT))

    def balance(self) -> list[BalanceRow]:
        """One row per stakeholder, category and release, sorted."""
        query = """
            SELECT stakeholder, category, release, year,
                   sum(CASE WHEN state <> 'lost' THEN epsilon ELSE 0 END),
                   sum(CASE WHEN state <> 'lost' THEN delta ELSE 0 END),
                   sum(CASE WHEN state = 'lost' THEN epsilon ELSE 0 END),
                   sum(sum(epsilon)) OVER same_year, sum(sum(delta)) OVER same_year,
                   count(*), sum(state = 'pending')
            FROM charge GROUP BY stakeholder, category, release, year
            WINDOW same_year AS (PARTITION BY stakeholder, category, year)
            ORDER BY stakeholder, category, release
        """
        with self._reading() as connection:
            rows = connection.execute(query).fetchall()
        return [
            BalanceRow(
                stakeholder=row[0],
                category=row[1],
                release=row[2],
                year=row[3],
                epsilon=_number(row[4], _EPSILON_UNIT),
                delta=_number(row[5], _DELTA_UNIT),
                epsilon_lost=_number(row[6], _EPSILON_UNIT),
                epsilon_year=_number(row[7], _EPSILON_UNIT),
                delta_year=_number(row[8], _DELTA_UNIT),
                charges=row[9],
                pending=row[10],
            )
            for row in rows
        ]

    def _supersede(self, connection: sqlite3.Connection, stakeholder: str, release: str, name: str) -> None:
        identity = (stakeholder, release, name)
        row = connection.execute(
            "SELECT charge_id, state FROM charge WHERE (stakeholder, release, name) = (?, ?, ?) AND state <> 'lost'",
            identity,
        ).fetchone()
        if row is None:
            return
        if row[1] == "committed":
            raise AlreadyCharged(
                f"{name} of {stakeholder}, release {release}, is paid for and stored (charge {row[0]}); read its "
                "figures, or write the charge off if they are gone"
            )
        connection.execute("UPDATE charge SET state = 'lost', settled_at = ? WHERE charge_id = ?", (_now(), row[0]))

    # ── child-level releases ─────────────────────────────────────────────────────────────

    def register_child_release(
        self,
        stakeholder: str,
        dataset: str,
        release: str,
        classes_digest: str,
        min_class: int,
        classes: pl.DataFrame | None = None,
    ) -> int:
        """Register a child-level release before it is stored; returns its revision, from 1.

        `classes`: what is remembered of each subject for the sake of later releases, a text column `subject` and
        further text columns; it goes before what an attempt that was never stored has left. None: what was
        remembered stays. With another `classes_digest` (after an erasure) the release becomes a new revision,
        and the older ones stay on record.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT revision, classes_digest FROM child_release "
                "WHERE stakeholder = ? AND dataset = ? AND release = ? ORDER BY revision",
                (stakeholder, dataset, release),
            ).fetchall()
            if classes is not None:
                place = (stakeholder, dataset, release)
                connection.execute(
                    "DELETE FROM child_class WHERE stakeholder = ? AND dataset = ? AND release = ?", place
                )
                connection.executemany(
                    "INSERT INTO child_class VALUES (?, ?, ?, ?, ?)",
                    ((*place, row.pop("subject"), json.dumps(row, sort_keys=True)) for row in classes.to_dicts()),
                )
            if rows and rows[-1][1] == classes_digest:
                return int(rows[-1][0])
            revision = int(rows[-1][0]) + 1 if rows else 1
            connection.execute(
                "INSERT INTO child_release VALUES (?, ?, ?, ?, ?, ?, ?)",
                (stakeholder, dataset, release, revision, classes_digest, min_class, _now()),
            )
            return revision

    def child_classes(self, stakeholder: str, dataset: str) -> pl.DataFrame:
        """What is remembered of all child-level releases of a dataset: `release`, `subject`, and the columns that
        were registered. No columns before the first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT release, subject, signature FROM child_class WHERE stakeholder = ? AND dataset = ? "
                "ORDER BY release, subject",
                (stakeholder, dataset),
            ).fetchall()
        records = [{"release": release, "subject": subject, **json.loads(known)} for release, subject, known in rows]
        columns = dict.fromkeys(name for record in records for name in record)
        return pl.DataFrame(records, schema=dict.fromkeys(columns, pl.String))

    def erase_children(self, stakeholder: str, dataset: str, subjects: Collection[str]) -> int:
        """Put random names in the place of subjects who were erased; returns how many rows had theirs.

        The rows stay: whoever kept the releases still counts these people among the candidates of others."""
        with self._transaction() as connection:
            return sum(
                connection.execute(
                    "UPDATE child_class SET subject = ? WHERE stakeholder = ? AND dataset = ? AND subject = ?",
                    (secrets.token_hex(16), stakeholder, dataset, subject),
                ).rowcount
                for subject in subjects
            )

    def child_releases(self, stakeholder: str) -> list[ChildRelease]:
        """All registered child-level releases of a stakeholder, with every revision."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT * FROM child_release WHERE stakeholder = ? ORDER BY dataset, release, revision", (stakeholder,)
            ).fetchall()
        return [
            ChildRelease(stakeholder, dataset, release, revision, digest, least, datetime.fromisoformat(moment))
            for stakeholder, dataset, release, revision, digest, least, moment in rows
        ]

    # ── the database ─────────────────────────────────────────────────────────────────────

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each operation: operations are few, and so forks and threads are safe."""
        self.database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _keep_private(self.database)
        connection = sqlite3.connect(self.database, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                # Outside the transaction of whoever comes first: rolled back with it, they would be gone.
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
            except sqlite3.DatabaseError:
                raise LedgerError(
                    f"{self.database.name} is not a privacy ledger, or is damaged or locked; restore it from a backup"
                ) from None
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One writer at a time, reading what it decides upon inside its own transaction."""
        with self._open() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                raise LedgerError(
                    f"{self.database.name} stayed locked by another run; wait for it to end, or stop it, and run again"
                ) from None
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Reading never makes a ledger: an absent one is an empty one."""
        if self.database.exists():
            with self._open() as connection:
                yield connection
            return
        connection = sqlite3.connect(":memory:")
        try:
            connection.executescript(_TABLES)
            yield connection
        finally:
            connection.close()


def _keep_private(path: Path) -> None:
    """Make the file of the database readable by its owner alone; SQLite gives its log the same mode."""
    try:
        # An existing file is not opened: closing it would release the locks of this process's own connections.
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except FileNotFoundError:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _sums(connection: sqlite3.Connection, stakeholder: str, category: str, where: str, value: Any) -> tuple[int, int]:
    row = connection.execute(
        "SELECT coalesce(sum(epsilon), 0), coalesce(sum(delta), 0) FROM charge "  # noqa: S608 - fixed texts
        f"WHERE stakeholder = ? AND category = ? AND {where}",
        (stakeholder, category, value),
    ).fetchone()
    return int(row[0]), int(row[1])


def _refuse_excess(
    budget: str, period: str, spent: tuple[int, int], cost: tuple[int, int], limit: tuple[int, int]
) -> None:
    for symbol, unit, already, more, allowed in zip(
        ("epsilon", "delta"), (_EPSILON_UNIT, _DELTA_UNIT), spent, cost, limit, strict=True
    ):
        if already + more > allowed:
            raise BudgetExceeded(
                f"{budget}: {_number(more, unit):g} {symbol} on top of {_number(already, unit):g} spent would exceed "
                f"the limit of {_number(allowed, unit):g} for {period}; ask for fewer or coarser figures, or wait "
                "for the next period"
            )


def _units_of(epsilon: float, delta: float, rounding: str) -> tuple[int, int]:
    return _units(epsilon, _EPSILON_UNIT, rounding), _units(delta, _DELTA_UNIT, rounding)


def _units(value: float, unit: Decimal, rounding: str) -> int:
    """`value` in whole units; costs are rounded up and limits down, so that rounding never overspends."""
    exact = Decimal(str(value))
    if not exact.is_finite() or exact < 0:
        raise ValueError("privacy costs and limits are finite and not negative")
    return int((exact / unit).to_integral_value(rounding=rounding))


def _number(units: int, unit: Decimal) -> float:
    return float(units * unit)


def _year(release: str) -> int:
    match = _RELEASE.fullmatch(release)
    if match is None:
        raise LedgerError("a release begins with its year, such as 2026-10")
    return int(match[1])


def _now() -> str:
    return datetime.now(UTC).isoformat()
