"""Anonymising, verifying and judging single files: `merajut anonymise`, `verify` and `risk`.

Belongs here: tables in CSV and Parquet files, what is asked of the privacy package, and how its answers are
said. It needs no lakehouse and no Dagster. Does not belong here: any rule of privacy.

In a CSV file everything is text, and an empty field is a missing value. Where a policy needs a number or a
day, the column is read as such. A file that is written appears whole or not at all.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from merajut_assets.command.exits import BadInput, NoSolution, ProblemFound
from merajut_assets.privacy import (
    DataError,
    Policy,
    PolicyError,
    VerificationError,
    anonymise,
    assess_risk,
    utility_report,
    verify,
)
from merajut_assets.privacy.certificate import verify_certificate
from merajut_assets.privacy.hierarchy import read_hierarchy
from merajut_assets.privacy.history import least_values
from merajut_assets.privacy.joined import Published
from merajut_assets.privacy.requirements import Verdict, judge, judge_join
from merajut_assets.privacy.risk import exceeds
from merajut_assets.privacy.verify import check

CSV = (".csv", ".csv.gz")
PARQUET = (".parquet",)
DAY = "%Y-%m-%d"


@contextmanager
def input_errors() -> Iterator[None]:
    """Whatever the privacy package refuses is wrong input of the command; its texts name no value."""
    try:
        yield
    except (PolicyError, DataError, VerificationError) as error:
        raise BadInput(str(error)) from None


# ── anonymise ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Targets:
    """Where the release and its report go; `is_forced`: what is there already is replaced."""

    out: Path
    report: Path | None = None
    is_forced: bool = False


def anonymise_file(
    file: Path,
    policy_file: Path,
    targets: Targets,
    separator: str,
    keep: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the release of a file under a policy, `beside` tables that share its subject column (see
    `tables_beside`), and its report; returns the report.

    Only the columns that the policy names are written, but not the subject's, and those to `keep`: a
    column that nobody has judged is left out, and named in the report (`columns_left_out`). The report
    also holds the verifier's facts (`verified`) and, where it is written to a file, what the release has kept
    (`utility`).

    Raises NoSolution when the policy cannot be met; nothing is written then. BadInput as everywhere.
    """
    _check_targets(file, targets)
    with input_errors():
        frame, policy, population = _opened(file, policy_file, separator)
        kept = columns_named(keep, frame, file, "--keep")
        if generalised := [name for name in kept if name in policy.quasi_identifiers]:
            raise BadInput(f"--keep publishes columns as they are, and the policy generalises {', '.join(generalised)}")
        others = tables_beside(beside, file, policy.subject, separator)
        release = anonymise(frame, policy, population=population, beside=others)
        if release.frame is None:
            raise NoSolution(f"no release of {file.name} satisfies the policy: {release.report['reason']}")
        verdict = judge(release.frame, frame, policy, release.report["transformation"], population)
        if others and policy.subject is not None:
            own = Published(file.name, release.frame, policy.class_columns, least_values(policy))
            on_join = judge_join([own, *others], policy.subject, policy.k)
            facts, broken = {**verdict.facts, "joined": on_join.facts}, [*verdict.broken, *on_join.broken]
            verdict = Verdict(facts, broken, verdict.not_verified)
    if verdict.broken:
        # The engine and the verifier disagree: one of them is wrong, and nobody may get the release.
        raise ProblemFound(f"the verifier refuses the release: {'; '.join(verdict.broken)}")
    named = {*policy.class_columns, *policy.sensitive, *kept}
    written = release.frame.select(name for name in release.frame.columns if name in named)
    left_out = [name for name in frame.columns if name not in named]
    report = {**release.report, "columns_left_out": left_out, **_verified(verdict)}
    if targets.report is not None:
        report["utility"] = utility_report(frame, release, policy)
    _write(written, report, targets, separator)
    return report


def tables_beside(given: Iterable[str], file: Path, subject: str | None, separator: str) -> list[Published]:
    """The tables in `FILE:a,b` or `FILE:a,b:s=2`: the columns of their classes, and how many values of a sensitive
    column a class of the join must keep. Raises BadInput when one is written otherwise or lacks a column."""
    found: dict[str, Published] = {}
    for entry in given:
        name, *rest = entry.split(":")
        least = [one.partition("=")[::2] for one in rest[1].split(",")] if len(rest) == 2 else []
        if not 1 <= len(rest) <= 2 or not all(one.isdecimal() and int(one) for _, one in least):
            raise BadInput(
                "a table beside is FILE:a,b with the columns of its classes, or FILE:a,b:s=2 with the least number of "
                "values of s, 1 or more"
            )
        path = Path(name)
        if path.name in {file.name, *found}:
            raise BadInput(f"{path.name} is given twice; tables on a join need different names")
        if subject is None:
            raise BadInput("tables are joined by their subject column; name it, in the policy or with --subject")
        frame = read_table(path, separator)
        columns = columns_named(rest[:1], frame, path, f"the table {path.name} beside")
        sensitive = columns_named([one for one, _ in least], frame, path, f"the table {path.name} beside")
        require_columns(frame, [subject], path)
        values = dict(zip(sensitive, (int(one) for _, one in least), strict=True))
        found[path.name] = Published(path.name, frame, columns, values)
    return list(found.values())


def _opened(file: Path, policy_file: Path, separator: str) -> tuple[pl.DataFrame, Policy, pl.DataFrame | None]:
    """A table as its policy needs it, the policy, and the population that it names."""
    policy = Policy.from_yaml(policy_file)
    frame = read_table(file, separator)
    subject = [] if policy.subject is None else [policy.subject]
    require_columns(frame, [*policy.class_columns, *policy.sensitive, *subject], file)
    population = None if policy.population is None else _typed(_read_parquet(policy.population), policy)
    return _typed(frame, policy), _with_orders(frame, policy), population


def _verified(verdict: Verdict) -> dict[str, Any]:
    return {"verified": verdict.facts, "not_verified": verdict.not_verified}


def _with_orders(frame: pl.DataFrame, policy: Policy) -> Policy:
    """The policy with the order of text values written out where they are numbers or days: as text,
    "10" would come before "9"."""
    sensitive = dict(policy.sensitive)
    for name, rule in policy.sensitive.items():
        close = rule.t_closeness
        if close is None or close.kind != "ordered" or frame.schema.get(name) != pl.String:
            continue
        if close.order is None:
            order = tuple(in_natural_order(frame.get_column(name)))
        else:
            order = tuple(str(value) for value in close.order)
        if len(order) > 1:
            sensitive[name] = rule.model_copy(update={"t_closeness": close.model_copy(update={"order": order})})
    return policy.model_copy(update={"sensitive": sensitive})


def in_natural_order(column: pl.Series) -> list[str]:
    """The distinct texts of a column: by size if all are numbers, by date if all are days, else by alphabet."""
    texts = column.drop_nulls().unique().sort()
    for typed in (texts.cast(pl.Float64, strict=False), texts.str.to_date(DAY, strict=False)):
        if not typed.null_count():
            return texts.gather(typed.arg_sort()).to_list()
    return texts.to_list()


def _typed(frame: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """`frame` with text columns read as days and numbers where their hierarchy is made of them."""
    columns = []
    for name, spec in policy.quasi_identifiers.items():
        if frame.schema.get(name) != pl.String or spec.kind not in ("date", "intervals"):
            continue
        text = frame.get_column(name)
        if spec.kind == "date":
            typed, form = text.str.to_date(DAY, strict=False), "a day written as 2026-10-31"
        else:
            typed, form = text.cast(pl.Float64, strict=False), "a number"
        if wrong := typed.null_count() - text.null_count():
            raise DataError(f"column {name!r}: {wrong} row(s) do not hold {form}; correct them or leave them empty")
        columns.append(typed)
    return frame.with_columns(columns)


# ── verify ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Thresholds:
    """What `merajut verify` is to compare with; those of sensitive columns hold for each of them."""

    k: int | None = None
    l: int | None = None  # noqa: E741 (the model's own name)
    entropy_l: float | None = None
    recursive_l: int | None = None
    recursive_c: float | None = None
    t: float | None = None
    distance: str = "equal"
    beta: float | None = None
    k_map: int | None = None
    delta_min: float | None = None
    delta_max: float | None = None

    def by_figure(self, sensitive: Sequence[str]) -> dict[str, Any]:
        """As `check` wants them. Raises BadInput for a threshold that has nothing to judge."""
        whole = {"k": self.k, "k_map": self.k_map, "delta_min": self.delta_min, "delta_max": self.delta_max}
        if any(value is not None for name, value in whole.items() if name != "k"):
            # Who is nobody of the population says that its labels are others: a share of nobody is below every limit.
            whole["rows_outside_population"] = 0
        each = {
            "l": self.l,
            "entropy_l": self.entropy_l,
            "recursive_c": self.recursive_c,
            f"t_{self.distance}": self.t,
            "beta": self.beta,
        }
        given = {name: value for name, value in each.items() if value is not None}
        if endless := [name for name, value in given.items() if not math.isfinite(value)]:
            raise BadInput(f"{', '.join(endless)} must be a finite number; any other is no threshold")
        idle = [*given, *(["recursive_l"] if self.recursive_l is not None else [])]
        idle += [f"distance {self.distance}"] if self.distance != "equal" and self.t is None else []
        if idle and not sensitive:
            raise BadInput(f"{', '.join(idle)} judge sensitive columns; name some with --sensitive")
        if self.recursive_c is not None and self.recursive_l is None:
            raise BadInput("--recursive-c needs --recursive-l")
        return {
            **{name: value for name, value in whole.items() if value is not None},
            **{name: dict.fromkeys(sensitive, value) for name, value in given.items()},
        }


@dataclass(frozen=True)
class Beside:
    """Other files that a verification needs: what distributions are compared with, who lives there,
    `column=file` for hierarchies, and the tables that share the subject column (see `tables_beside`)."""

    reference: Path | None = None
    population: Path | None = None
    population_count: str | None = None
    hierarchies: tuple[str, ...] = ()
    joined_with: tuple[str, ...] = ()

    def refuse_idle(self, sensitive: Sequence[str], distance: str) -> None:
        """Raises BadInput for a file or column that nothing would be measured with, and for one that is lacking."""
        if (self.reference is not None or self.hierarchies) and not sensitive:
            raise BadInput("--reference and --hierarchy are about sensitive columns; name some with --sensitive")
        if self.population_count is not None and self.population is None:
            raise BadInput("--population-count names a column of the population; give its table with --population")
        if distance == "hierarchical" and not self.hierarchies:
            raise BadInput("the hierarchical distance was not measured; give the column's tree with --hierarchy")


def verify_file(
    file: Path,
    quasi_identifiers: Sequence[str],
    sensitive: Sequence[str],
    subject: str | None,
    thresholds: Thresholds,
    beside: Beside,
    separator: str,
) -> dict[str, Any]:
    """The verifier's facts about a file, with what of the thresholds is `broken`. `quasi_identifiers`, `sensitive`:
    see `columns_named`."""
    with input_errors():
        frame = read_table(file, separator)
        quasi_identifiers = columns_named(quasi_identifiers, frame, file, "--qi")
        sensitive = columns_named(sensitive, frame, file, "--sensitive")
        require_columns(frame, [] if subject is None else [subject], file)
        wanted = thresholds.by_figure(sensitive)
        beside.refuse_idle(sensitive, thresholds.distance)
        reference = None if beside.reference is None else read_table(beside.reference, separator)
        population = _counted(beside.population, beside.population_count, separator)
        orders: dict[str, list[str] | None] = {}
        if thresholds.distance == "ordered":
            for name in sensitive:
                parts = [part.get_column(name) for part in (frame, reference) if part is not None]
                is_text = all(part.dtype == pl.String for part in parts)
                orders[name] = in_natural_order(pl.concat(parts)) if is_text else None
        facts = verify(
            frame,
            quasi_identifiers,
            sensitive,
            subject,
            recursive_l={} if thresholds.recursive_l is None else dict.fromkeys(sensitive, thresholds.recursive_l),
            orders=orders,
            hierarchies=_hierarchies(beside.hierarchies, sensitive),
            reference=reference,
            population=population,
            population_count=beside.population_count,
        )
        broken = check(facts, wanted)
        others = tables_beside(beside.joined_with, file, subject, separator)
        if others and subject is not None:
            own = Published(file.name, frame, quasi_identifiers, dict.fromkeys(sensitive, thresholds.l or 0))
            on_join = judge_join([own, *others], subject, thresholds.k)
            facts, broken = {**facts, "joined": on_join.facts}, [*broken, *on_join.broken]
        return {**facts, "broken": broken}


def certificate_of_file(file: Path, policy_file: Path, report: Path, separator: str) -> dict[str, Any]:
    """Whether the certificate in a report tells the truth about the table that was anonymised, by trying every
    generalisation: `valid`, `nodes`, and what is `broken`."""
    try:
        read = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInput(f"{report.name} cannot be read; give the report that `merajut anonymise` wrote") from None
    certificate = read.get("certificate") if isinstance(read, dict) else None
    if not isinstance(certificate, dict):
        raise BadInput(f"{report.name} holds no certificate; only an optimal search gives one")
    with input_errors():
        frame, policy, population = _opened(file, policy_file, separator)
        answer = verify_certificate(frame, policy, certificate, population=population)
    return {"valid": answer["valid"], "nodes": answer["nodes"], "broken": answer["problems"]}


def _hierarchies(given: Iterable[str], sensitive: Sequence[str]) -> dict[str, pl.DataFrame]:
    found = {}
    for entry in given:
        name, equals, path = entry.rpartition("=")
        if not equals:
            if len(sensitive) != 1:
                raise BadInput("--hierarchy is column=file when there are several sensitive columns")
            name = sensitive[0]
        if name in found:
            raise BadInput(f"--hierarchy is given twice for column {name}; keep one of the two")
        found[name] = read_hierarchy(Path(path))
    return found


# ── risk ─────────────────────────────────────────────────────────────────────────────────


def risk_of_file(
    file: Path,
    quasi_identifiers: Sequence[str],
    subject: str | None,
    population: str | None,
    population_count: str | None,
    threshold: float,
    limits: Sequence[str],
    separator: str,
) -> dict[str, Any]:
    """Risk figures of a file, with what of the limits (`figure=number`) is exceeded (`broken`).

    `population`: a number of people, or a file of them.
    """
    wanted: dict[str, float] = {}
    for name, number in map(_limit, limits):
        if name in wanted:
            raise BadInput(f"--limit is given twice for {name}; keep one of the two")
        wanted[name] = number
    with input_errors():
        frame = read_table(file, separator)
        quasi_identifiers = columns_named(quasi_identifiers, frame, file, "--qi")
        require_columns(frame, [] if subject is None else [subject], file)
        if population is not None and population.replace("_", "").isdecimal():
            people: pl.DataFrame | int | None = int(population)
        else:
            people = _counted(None if population is None else Path(population), population_count, separator)
        if population_count is not None and not isinstance(people, pl.DataFrame):
            raise BadInput("--population-count names a column of the population; give its table with --population")
        risk = assess_risk(
            frame,
            quasi_identifiers,
            population=people,
            population_count=population_count,
            threshold=threshold,
            subject=subject,
        )
    return {**risk, "broken": exceeds(risk, wanted)}


def _limit(entry: str) -> tuple[str, float]:
    name, _, number = entry.partition("=")
    try:
        limit = float(number)
    except ValueError:
        limit = -1.0
    if not name or not 0 <= limit <= 1:
        # Every figure that may be limited is a share: 20 for 20 % would never be exceeded.
        raise BadInput("--limit is figure=number from 0 to 1, such as prosecutor.highest=0.2")
    return name, limit


# ── showing ──────────────────────────────────────────────────────────────────────────────


def lines(figures: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Figures as `name: value`, one a line, inner ones with the way to them."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from lines(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}: {', '.join(str(one) for one in value) or 'none'}"
        else:
            yield f"{prefix}{name}: {'no bound' if value is None else value}"


def refuse_broken(figures: Mapping[str, Any]) -> None:
    """Raises ProblemFound when thresholds or limits are broken."""
    if figures["broken"]:
        raise ProblemFound("; ".join(figures["broken"]))


# ── files ────────────────────────────────────────────────────────────────────────────────


def read_table(path: Path, separator: str) -> pl.DataFrame:
    """A table of text columns from CSV, or as it is from Parquet. Raises BadInput; never quotes a value."""
    kind = _kind(path)
    try:
        if kind == "parquet":
            return _read_parquet(path)
        frame = pl.read_csv(path, separator=separator, infer_schema=False)
    except FileNotFoundError:
        raise BadInput(f"{path.name} is not there") from None
    except (OSError, pl.exceptions.PolarsError):
        raise BadInput(
            f"{path.name} cannot be read; it must be CSV in UTF-8 with a header and as many fields in each line, "
            f"separated by {separator!r} (--separator)"
        ) from None
    header = _header(path, separator)
    if len(header) != frame.width:
        raise BadInput(f"{path.name}: the header cannot be told apart into columns; see its quotes and line breaks")
    _require_names(header, path)
    if len(set(header)) != len(header):
        raise BadInput(f"{path.name} names a column twice; rename one of them")
    frame.columns = header
    return frame


def _header(path: Path, separator: str) -> list[str]:
    """The names of a CSV file's columns as they are meant: Polars leaves doubled quotes in them, and gives equal
    ones other names."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
            return next((names for names in csv.reader(lines, delimiter=separator) if names), [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error):
        raise BadInput(f"{path.name}: the header cannot be read; it must be CSV in UTF-8") from None


def _require_names(columns: Sequence[str], path: Path) -> None:
    if unnamed := [str(place) for place, name in enumerate(columns, 1) if not name.strip()]:
        raise BadInput(f"{path.name}: column {', '.join(unnamed)} has no name; name it, or take it out")


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError:
        raise BadInput(f"{path.name} is not there") from None
    except (OSError, pl.exceptions.PolarsError):
        raise BadInput(f"{path.name} cannot be read as Parquet") from None
    _require_names(frame.columns, path)
    return frame


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(PARQUET):
        return "parquet"
    if name.endswith(CSV):
        return "csv"
    raise BadInput(f"{path.name}: tables are files ending in {', '.join((*CSV, *PARQUET))}")


def _counted(path: Path | None, count: str | None, separator: str) -> pl.DataFrame | None:
    """A population, its column of counts as whole numbers."""
    if path is None:
        return None
    people = read_table(path, separator)
    if count is None:
        return people
    require_columns(people, [count], path)
    counted = people.get_column(count).cast(pl.Int64, strict=False)
    if counted.null_count() or (counted < 0).any():
        raise BadInput(f"{path.name}: column {count!r} does not hold whole numbers of people in every row")
    return people.with_columns(counted)


def columns_named(given: Iterable[str], frame: pl.DataFrame, path: Path, where: str) -> list[str]:
    """The columns in options that may be repeated and hold several each: the column that is called so if there is
    one, otherwise names separated by commas.

    Raises BadInput, saying `where`, for a name that is empty, given twice, no column's, or could mean both.
    """
    found: list[str] = []
    for entry in given:
        names = [name.strip() for name in entry.split(",")]
        if entry in frame.columns and len(names) > 1 and not set(names) - set(frame.columns):
            raise BadInput(f"{where}: {entry} is one column of {path.name} and several; rename one of them there")
        found += [entry] if entry in frame.columns else names
    if not all(found):
        raise BadInput(f"{where}: a name is empty; write columns as a,b")
    if twice := [name for place, name in enumerate(found) if name in found[:place]]:
        raise BadInput(f"{where} names {', '.join(dict.fromkeys(twice))} twice; keep one of the two")
    require_columns(frame, found, path)
    return found


def require_columns(frame: pl.DataFrame, names: Sequence[str], path: Path) -> None:
    """Raises BadInput unless all `names` are columns of `frame`."""
    if missing := [name for name in names if name not in frame.columns]:
        hint = "; is --separator right?" if frame.width == 1 and len(names) > 1 else ""
        raise BadInput(f"{path.name} has no column {', '.join(dict.fromkeys(missing))}{hint}")


def _check_targets(file: Path, targets: Targets) -> None:
    if _kind(targets.out) == "csv" and targets.out.name.lower().endswith(".gz"):
        raise BadInput("a release is written as .csv or .parquet")
    paths = [path for path in (targets.out, targets.report) if path is not None]
    if len({path.resolve() for path in [file, *paths]}) != len(paths) + 1:
        raise BadInput("FILE, --out and --report must be different files")
    for path in paths:
        if not path.parent.is_dir():
            raise BadInput(f"the folder of {path.name} is not there; create it first")
        if path.is_dir() or (path.exists() and not targets.is_forced):
            raise BadInput(f"{path.name} is there already; --force replaces it")


def _write(frame: pl.DataFrame, report: Mapping[str, Any], targets: Targets, separator: str) -> None:
    """Both files beside their places first, then moved there."""
    moves: list[tuple[Path, Path]] = []
    try:
        part = targets.out.with_name(f".{targets.out.name}.{os.getpid()}.part")
        moves.append((part, targets.out))
        if _kind(targets.out) == "parquet":
            frame.write_parquet(part)
        else:
            frame.write_csv(part, separator=separator)
        if targets.report is not None:
            part = targets.report.with_name(f".{targets.report.name}.{os.getpid()}.part")
            moves.append((part, targets.report))
            part.write_text(as_json(report) + "\n", encoding="utf-8")
        for made, place in moves:
            made.replace(place)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(
            f"the release cannot be written ({type(error).__name__}); see room and rights of the folder, and "
            "write columns with an inner structure as Parquet"
        ) from None
    finally:
        for made, _ in moves:
            made.unlink(missing_ok=True)


def as_json(figures: Mapping[str, Any]) -> str:
    return json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False)
