"""The `merajut` command: what can be asked of it, and nothing of how it is done.

Each command opens what it needs and hands over to `command` or `compliance`. Heavy imports happen inside
the commands, so that `--help` answers at once. Exit codes: 0 well, 1 a problem was found or a run failed,
2 wrong usage or input, 3 no release satisfies the policy. No command shows a personal value.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from merajut_assets.command.exits import BAD_INPUT, PROBLEM, BadInput, ProblemFound, clean_exit
from merajut_assets.command.options import OnceCommand, refuse_others
from merajut_assets.command.typed import typed

if TYPE_CHECKING:
    from resources.lakehouse import Lakehouse

app = typer.Typer(
    name="merajut",
    help="Runs and looks after the MerajutASA lakehouse: sources in, protected publications out.\n\n"
    "Begin with `generate` and `run`; `status` says what is there and what is left to do.",
    rich_markup_mode="markdown",  # which joins the lines of a paragraph
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would show local variables, and so records
    add_completion=False,
    epilog="Exit codes: 0 well, 1 a problem was found or a run failed, 2 wrong usage or input, 3 no release "
    "satisfies the policy.",
)
publish_app = typer.Typer(no_args_is_help=True, help="Look at publications and go back to an earlier one.")
audit_app = typer.Typer(no_args_is_help=True, help="Verify and read the audit log.")
keys_app = typer.Typer(no_args_is_help=True, help="Look after the keys.")
lineage_app = typer.Typer(no_args_is_help=True, help="Prove, ask and show where columns come from and go.")
_DAILY, _RIGHTS, _TRUST = "Every day", "People's rights", "Looking after it"
app.add_typer(publish_app, name="publish", rich_help_panel=_DAILY)
app.add_typer(audit_app, name="audit", rich_help_panel=_TRUST)
app.add_typer(lineage_app, name="lineage", rich_help_panel=_TRUST)
app.add_typer(keys_app, name="keys", rich_help_panel=_TRUST)

_WIDTH_OF_FILES = 140
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for other programs.")]
TableFile = Annotated[Path, typer.Argument(help="A table: .csv (also .csv.gz) or .parquet.", metavar="FILE")]
Separator = Annotated[str, typer.Option(help="Between the fields of CSV files, read and written.")]
_NAMES = "separated by commas; may be repeated, with a column's whole name where that holds a comma."
Columns = Annotated[list[str], typer.Option("--qi", help=f"Quasi-identifiers, {_NAMES}")]
SubjectColumn = Annotated[
    str | None, typer.Option(help="Column that tells people apart: they are counted instead of rows.")
]
PopulationCount = Annotated[
    str | None, typer.Option(help="Column of the population's file that counts people. Default: a row is one.")
]


class Part(StrEnum):
    SYNC = "sync"
    RELEASE = "release"


class Kind(StrEnum):
    """The kinds of people there are; a test holds them together with the contracts'."""

    CHILD = "child"
    GUARDIAN = "guardian"
    STAFF = "staff"
    VOLUNTEER = "volunteer"
    DONOR = "donor"
    EMPLOYEE = "employee"
    CONTACT = "contact"


class Distance(StrEnum):
    """The distances of t-closeness, as the verifier names them."""

    EQUAL = "equal"
    ORDERED = "ordered"
    HIERARCHICAL = "hierarchical"


class Form(StrEnum):
    """What a lineage can be shown as; a test holds them together with the command's."""

    SVG = "svg"
    MERMAID = "mermaid"
    JSON = "json"


class Reason(StrEnum):
    """The categories of reasons; a test holds them together with the certificates'."""

    SUBJECT_REQUEST = "subject_request"
    GUARDIAN_REQUEST = "guardian_request"
    COURT_ORDER = "court_order"
    UNLAWFUL_COLLECTION = "unlawful_collection"
    END_OF_PURPOSE = "end_of_purpose"
    ERASED_BEFORE = "erased_before"


# ── the way of the data ──────────────────────────────────────────────────────────────────


@app.command(rich_help_panel=_DAILY)
def run(
    release: Annotated[
        str | None, typer.Option(help="Month to release, as 2026-10. Default: the last month that is over.")
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(help='Only these assets, in Dagster\'s selection syntax, such as "key:conformed/child+".'),
    ] = None,
    only: Annotated[
        Part | None, typer.Option(help="Only land and conform (sync), or only release what is conformed.")
    ] = None,
) -> None:
    """Land all sources, bring the lake up to date, release a month, renew the evidence.

    What has not changed is left alone, and a complete release is never made again unless --select names its
    assets. A run that was killed is completed by the next one. Ends with a table of what was done.
    """
    with clean_exit():
        from merajut_assets.command import running

        part = None if only is None else running.Part(only.value)
        raise typer.Exit(running.run_pipeline(release, select, part, _console()))


@app.command(rich_help_panel=_DAILY)
def status(as_json: AsJson = False) -> None:
    """Show what is to do, what is stored, how good it is, what was published and which budget is left."""
    with clean_exit():
        from merajut_assets.command import overview

        state = overview.gather(_lakehouse())
        if as_json:
            typer.echo(json.dumps(state, indent=1))
        else:
            overview.show(state, _console())


@app.command(rich_help_panel=_DAILY)
def generate(
    children: Annotated[int, typer.Option(help="How many children the world has.", min=1)] = 20_000,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal worlds.", min=0)] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Data directory to write into. Default: that of this installation.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last day of the world, as 2026-10-31.")] = None,
) -> None:
    """Write a believable world of sample sources: every system in its natural format, no real person in it.

    A world of the same parameters that is already there is left alone.
    """
    with clean_exit():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        from merajut_assets.sources.generate import UNTIL, generate_world
        from resources.settings import Settings

        settings = Settings.load()
        last_day = UNTIL if until is None else _day(until)
        columns = (TextColumn("generate"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=None)
            summary = generate_world(
                children,
                seed,
                out or settings.data_directory,
                settings.reference,
                last_day,
                lambda step, done, steps: progress.update(task, description=step, completed=done, total=steps),
            )
        _console().print(
            f"{sum(summary.rows.values()):,} rows in {len(summary.rows)} tables, {summary.seconds:.1f} s"
            if summary.is_new
            else "this world is there already; nothing was written",
            highlight=False,
        )


# ── publications ─────────────────────────────────────────────────────────────────────────


@publish_app.command("list")
def list_publications(
    stakeholder: Annotated[str | None, typer.Argument(help="Only those of this stakeholder.")] = None,
) -> None:
    """List the publications that are kept, and which of them is in force."""
    with clean_exit():
        lakehouse = _lakehouse()
        table = Table(header_style="bold")
        for name in ("stakeholder", "number", "release", "rows", "published", ""):
            table.add_column(name, justify="right" if name in ("number", "rows") else "left")
        for name in [_stakeholder(stakeholder)] if stakeholder else _stakeholders():
            for one in lakehouse.publisher.list(name):
                moment = one.published_at.strftime("%Y-%m-%d %H:%M UTC")
                mark = "current" if one.is_current else "withdrawn" if one.withdrawn_at else ""
                table.add_row(name, str(one.number), one.release, f"{sum(one.rows.values()):,}", moment, mark)
        if table.row_count:
            _console().print(table)
        else:
            _console().print("nothing was published yet; run a release first")


@publish_app.command("rollback")
def roll_back(
    stakeholder: Annotated[str, typer.Argument(help="Whose publication, such as government.")],
    to: Annotated[int | None, typer.Option(help="Number of the publication. Default: the one before.")] = None,
) -> None:
    """Put an earlier publication in force again. Readers of the current file keep it; the step is audited.

    A publication older than an erasure of somebody it may tell about is refused: release the month again.
    """
    with clean_exit():
        from merajut_assets.command.publications import roll_back as back

        publication = back(_lakehouse(), _stakeholder(stakeholder), to)
        _console().print(
            f"{stakeholder}: publication {publication.number} (release {publication.release}) is in force",
            highlight=False,
        )


@app.command("open", rich_help_panel=_DAILY)
def open_publication(
    stakeholder: Annotated[str, typer.Argument(help="Whose publication, such as government.")],
    key_file: Annotated[
        Path | None, typer.Option(help="File with the stakeholder's key. Default: that of this installation.")
    ] = None,
    command: Annotated[
        str | None, typer.Option("--command", "-c", help="One SQL statement instead of a prompt.")
    ] = None,
) -> None:
    """Query a stakeholder's published file with its key: a SQL prompt, read-only."""
    with clean_exit():
        from merajut_assets.command import prompt

        lakehouse, name = _lakehouse(), _stakeholder(stakeholder)
        connection = lakehouse.publisher.open(name, None if key_file is None else _read_key(key_file))
        opened = lakehouse.publisher.current(name)
        if opened is not None:
            lakehouse.audit.append("decryption", publication=name, release=opened.release, number=opened.number)
        try:
            prompt.confine(connection)
            if command is not None:
                prompt.execute(connection, command, _console())
            elif sys.stdin.isatty():
                prompt.converse(connection, prompt.typed_lines(name), _console())
            else:
                for statement in prompt.statements(line.rstrip("\n") for line in sys.stdin):
                    if not prompt.obey(connection, statement, _console()):
                        break
        finally:
            connection.close()


# ── people's rights ──────────────────────────────────────────────────────────────────────


@app.command(rich_help_panel=_RIGHTS)
def erase(
    subject: Annotated[Kind, typer.Option(help="Kind of person.")],
    system: Annotated[str, typer.Option(help="System that gave the id, such as panti.")],
    id: Annotated[str, typer.Option(help="The id in that system; - reads it from standard input.")],
    reason: Annotated[Reason, typer.Option(help="Why, as a category.")] = Reason.SUBJECT_REQUEST,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Erase a person for ever: keys, rows, kept originals, older versions, publications. Writes a certificate.

    Cannot be undone. Give the id by standard input (--id -), so that it does not stay in the shell's history.
    An erasure that was interrupted is completed by the same command.
    """
    with clean_exit():
        source_id = _given_id(id, yes)
        if not yes and not typer.confirm(f"Erase this {subject} of {system} for ever?", err=True):
            raise BadInput("nothing was erased")
        from merajut_assets.command.alone import alone
        from merajut_assets.compliance import erasure
        from merajut_assets.contracts.base import Subject

        lakehouse = _lakehouse()
        with alone(lakehouse.settings):
            certificate = erasure.erase(
                lakehouse, Subject(subject.value), system, source_id, erasure.ErasureReason(reason.value)
            )
        console = _console()
        console.print(f"certificate {certificate.certificate_id}", highlight=False)
        console.print(
            f"{certificate.linked_ids} source id(s), {sum(certificate.rows_removed.values())} row(s) in "
            f"{len(certificate.rows_removed)} table(s), {certificate.originals_destroyed} kept original(s)",
            highlight=False,
        )
        for one in certificate.published_before:
            console.print(
                f"withdrawn: publication {one.number} of {one.stakeholder}, release {one.release}; "
                "ask the recipients to delete their copies",
                highlight=False,
            )
        for release in certificate.releases_to_rebuild:
            console.print(f"to publish without the person: {typed('run --release ' + release)}", highlight=False)


@app.command("erase-again", rich_help_panel=_RIGHTS)
def erase_again() -> None:
    """Erase everybody again who was erased before, after a backup was taken back that still holds them.

    Restore lake, vault, ledger and audit log from one backup first, and keep the newest certificates and tombstones
    (compliance/erasures). Until this is done, such a vault opens nothing.
    """
    with clean_exit():
        from merajut_assets.command.alone import alone
        from merajut_assets.compliance.reapplying import erase_again as again

        lakehouse = _lakehouse()
        with alone(lakehouse.settings):
            certificates = again(lakehouse)
        rows = sum(sum(one.rows_removed.values()) for one in certificates)
        _console().print(f"{len(certificates)} person(s) erased again, {rows} row(s)", highlight=False)
        for release in sorted({release for one in certificates for release in one.releases_to_rebuild}):
            _console().print(f"to publish without them: {typed('run --release ' + release)}", highlight=False)


@app.command(rich_help_panel=_TRUST)
def restore(
    table: Annotated[str, typer.Argument(help="A conformed table, such as conformed/child.")],
    version: Annotated[int, typer.Option(help="Its version; `merajut status` shows the current one.", min=0)],
) -> None:
    """Take an older version of a conformed table back, without whoever was erased or has withdrawn since."""
    with clean_exit():
        from merajut_assets.command.alone import alone
        from merajut_assets.compliance.restoring import restore as take_back

        lakehouse = _lakehouse()
        with alone(lakehouse.settings):
            restored = take_back(lakehouse, table, version)
        _console().print(
            f"{table} has the {restored.rows:,} rows of version {version} again, as version {restored.version}; "
            f"{restored.erased} row(s) of erased people and {restored.decisions} decision(s) kept as they are now",
            highlight=False,
        )


# ── single files ─────────────────────────────────────────────────────────────────────────


@app.command("anonymise", cls=OnceCommand)
def anonymise_file(
    file: TableFile,
    policy: Annotated[Path, typer.Option(help="The policy, as YAML.")],
    out: Annotated[Path, typer.Option(help="Where the release goes: .csv or .parquet.")],
    separator: Separator = ",",
    report: Annotated[Path | None, typer.Option(help="Where the report goes, as JSON.")] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help=f"Columns to publish as they are, though the policy says nothing of them, {_NAMES}"),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="A table released already that shares the policy's subject column: FILE:a,b with the columns of its "
            "classes, or FILE:a,b:s=2 to keep 2 values of s. May be repeated."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
) -> None:
    """Anonymise a table under a policy. Needs no lakehouse.

    Columns that the policy does not name are left out. The release is verified before it is written, by itself and
    joined with the tables beside it. When no release satisfies the policy, nothing is written, and the exit code is 3.
    """
    with clean_exit():
        from merajut_assets.command import anonymising

        targets = anonymising.Targets(out, report, force)
        figures = anonymising.anonymise_file(file, policy, targets, _separator(separator), keep or (), beside or ())
        for name in ("rows", "suppressed", "classes", "min_class", "loss"):
            typer.echo(f"{name}: {figures[name]}")
        for line in anonymising.lines({name: figures[name] for name in ("transformation", "columns_left_out")}):
            typer.echo(line)


@app.command("verify", cls=OnceCommand)
def verify_file(
    context: typer.Context,
    file: TableFile,
    qi: Annotated[list[str] | None, typer.Option("--qi", help=f"Quasi-identifiers, {_NAMES}")] = None,
    sensitive: Annotated[list[str] | None, typer.Option(help=f"Sensitive columns, {_NAMES}")] = None,
    subject: SubjectColumn = None,
    k: Annotated[int | None, typer.Option("--k", help="Least people in a class.", min=1)] = None,
    l: Annotated[  # noqa: E741 (the model's own name)
        int | None, typer.Option("--l", help="Least different sensitive values in a class.", min=1)
    ] = None,
    entropy_l: Annotated[float | None, typer.Option(help="Entropy l-diversity: least exp(entropy).", min=1)] = None,
    recursive_l: Annotated[int | None, typer.Option(help="Recursive (c, l)-diversity: its l.", min=1)] = None,
    recursive_c: Annotated[float | None, typer.Option(help="Recursive (c, l)-diversity: its c.", min=0)] = None,
    t: Annotated[float | None, typer.Option("--t", help="t-closeness: largest distance.", min=0, max=1)] = None,
    distance: Annotated[Distance, typer.Option(help="Distance of t-closeness.")] = Distance.EQUAL,
    hierarchy: Annotated[
        list[str] | None, typer.Option(help="Hierarchy of a sensitive column: file, or column=file. May be repeated.")
    ] = None,
    beta: Annotated[float | None, typer.Option(help="Beta-likeness: largest relative gain.", min=0)] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Table whose distributions t and beta compare with. Default: FILE.")
    ] = None,
    population: Annotated[
        Path | None, typer.Option(help="Table of the population, with the same labels, for delta and k-map.")
    ] = None,
    population_count: PopulationCount = None,
    delta_min: Annotated[float | None, typer.Option(help="Delta presence: least share.", min=0, max=1)] = None,
    delta_max: Annotated[float | None, typer.Option(help="Delta presence: largest share.", min=0, max=1)] = None,
    k_map: Annotated[int | None, typer.Option(help="k-map: least people of the population.", min=1)] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="Check instead the certificate in this report of `merajut anonymise`; FILE is its input."),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="The policy that the certificate is about.")] = None,
    joined_with: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="A table that shares the subject column, judged on its join with FILE by --k and --l: FILE:a,b with "
            "the columns of its classes, or FILE:a,b:s=2 to ask for 2 values of s. May be repeated.",
        ),
    ] = None,
    separator: Separator = ",",
    as_json: AsJson = False,
) -> None:
    """Measure what a table protects, and compare it with thresholds. Needs no policy and no lakehouse.

    Thresholds on sensitive columns hold for each of them. Exit code 1 when one is not reached, or when a
    certificate is not true: its claim is checked by trying every generalisation, on small lattices only.
    """
    with clean_exit():
        from merajut_assets.command import anonymising

        if (certificate is None) != (policy is None) or (certificate is None) == (not qi):
            raise BadInput("give either --qi, or --certificate with --policy")
        if certificate is not None and policy is not None:
            refuse_others(context, "with --certificate", "file", "policy", "certificate", "separator", "as_json")
            answer = anonymising.certificate_of_file(file, policy, certificate, _separator(separator))
            _show_figures(answer, as_json)
            return
        thresholds = anonymising.Thresholds(
            k, l, entropy_l, recursive_l, recursive_c, t, distance.value, beta, k_map, delta_min, delta_max
        )
        beside = anonymising.Beside(
            reference, population, population_count, tuple(hierarchy or ()), tuple(joined_with or ())
        )
        figures = anonymising.verify_file(
            file, qi or (), sensitive or (), subject, thresholds, beside, _separator(separator)
        )
        _show_figures(figures, as_json)


@app.command("risk", cls=OnceCommand)
def risk_of_file(
    file: TableFile,
    qi: Columns,
    subject: SubjectColumn = None,
    population: Annotated[
        str | None, typer.Option(help="How many people the table is a sample of, or a table of them.")
    ] = None,
    population_count: PopulationCount = None,
    threshold: Annotated[
        float, typer.Option(help="Count the share of records whose risk is above it.", min=0, max=1)
    ] = 0.2,
    limit: Annotated[
        list[str] | None, typer.Option(help="Refuse a figure above a number: prosecutor.highest=0.2. May be repeated.")
    ] = None,
    separator: Separator = ",",
    as_json: AsJson = False,
) -> None:
    """Measure how likely somebody in a table is to be picked out. Needs no lakehouse.

    Exit code 1 when a figure is above its limit.
    """
    with clean_exit():
        from merajut_assets.command import anonymising

        figures = anonymising.risk_of_file(
            file, qi, subject, population, population_count, threshold, limit or (), _separator(separator)
        )
        _show_figures(figures, as_json)


@app.command("detect", cls=OnceCommand)
def detect_in_file(
    file: TableFile,
    also: Annotated[
        list[str] | None,
        typer.Option(help="Kinds to look for only when asked, such as vehicle_plate. May be repeated."),
    ] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="Exit code 1 when a column looks personal.")] = False,
    separator: Separator = ",",
    as_json: AsJson = False,
) -> None:
    """Tell which columns of a table look personal: as what, in how many values, how sure. Needs no lakehouse.

    Knows Indonesian numbers (NIK, KK, NPWP, BPJS, passports, phones, bank accounts, postal codes), e-mail and street
    addresses and names, also inside texts. Shows no value.
    """
    with clean_exit():
        from merajut_assets.command import anonymising, detecting

        answer = detecting.detect_in_file(file, _separator(separator), tuple(_listed(also)))
        typer.echo(anonymising.as_json(answer) if as_json else "\n".join(detecting.lines(answer)))
        if refuse:
            detecting.refuse_personal(answer)


# ── audit and keys ───────────────────────────────────────────────────────────────────────


@audit_app.command("verify")
def verify_audit(as_json: AsJson = False) -> None:
    """Walk the whole chain of the audit log, and compare it and the erasures with the key vault.

    Exit code 1 when an entry is not as it was written, or the vault has forgotten an erasure.
    """
    with clean_exit():
        from merajut_assets.compliance.evidence import forgotten_erasures

        lakehouse = _lakehouse()
        report, forgotten = lakehouse.audit.verify(), forgotten_erasures(lakehouse)
        is_well = report.is_intact and not forgotten
        if as_json:
            facts = {
                "entries": report.entries,
                "is_intact": report.is_intact,
                "first_broken": report.first_broken,
                "reason": report.reason,
                "forgotten_erasures": forgotten,
            }
            typer.echo(json.dumps(facts))
            raise typer.Exit(0 if is_well else PROBLEM)
        if not report.is_intact:
            raise ProblemFound(f"the audit log is not intact from entry {report.first_broken} on: {report.reason}")
        if forgotten:
            raise ProblemFound(
                f"the log is intact, but the key vault does not know {forgotten} erased source id(s) any more; "
                "`merajut status` says what to do"
            )
        _console().print(f"{report.entries} entries, all as they were written", highlight=False)


@audit_app.command("show")
def show_audit(last: Annotated[int, typer.Option(help="How many entries.", min=1)] = 20) -> None:
    """Show the last entries of the audit log."""
    with clean_exit():
        table = Table(header_style="bold")
        for name in ("entry", "time (UTC)", "event", "facts"):
            table.add_column(name)
        for entry in deque(_lakehouse().audit.entries(), maxlen=last):
            facts = ", ".join(f"{name} {value}" for name, value in entry["facts"].items() if value is not None)
            table.add_row(str(entry["sequence"]), entry["time"][:19], entry["event"], facts)
        _console().print(table, markup=False)


@keys_app.command("rotate")
def rotate_keys() -> None:
    """Make a new master key and wrap every key anew; older backups of the vault cannot be opened any more."""
    with clean_exit():
        from merajut_assets.command.alone import alone

        lakehouse = _lakehouse()
        with alone(lakehouse.settings):
            version = lakehouse.vault.rotate()
            lakehouse.audit.append("keys.rotated", version=version)
        _console().print(f"master key version {version} is in force; back up vault and master.key", highlight=False)


# ── lineage ──────────────────────────────────────────────────────────────────────────────


@lineage_app.command("prove")
def prove_lineage(
    manifest: Annotated[
        Path | None, typer.Option(help="A compiled dbt manifest. Default: the prepared one.", dir_okay=False)
    ] = None,
    release: Annotated[
        str | None, typer.Option(help="Demand the evidence of this release, too. Default: structure only.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that nothing personal leaves without a privacy step that the stakeholder's policy allows for it.

    Exit code 0 and one line when the proof holds; 2 and the offending paths, shortest first, when it does not.
    Without --release no data are needed. The prepared manifest must be that of the dbt project as it is now.
    """
    with clean_exit():
        from merajut_assets.command import lineage

        found = lineage.proof(_lakehouse(), manifest, release)
        typer.echo(lineage.proof_text(found, as_json))
        raise typer.Exit(0 if found.holds else BAD_INPUT)


@lineage_app.command("impact")
def impact_of_column(
    column: Annotated[str, typer.Argument(help="A column, such as raw/panti/children.birth_date.")],
    as_json: AsJson = False,
) -> None:
    """List what a change of a column reaches: columns, marts, published files, and of how many people there are rows.

    People are counted in the source table as it was landed last: distinct ids, and registrations of one child as one.
    """
    with clean_exit():
        from merajut_assets.command import lineage
        from merajut_assets.compliance.subjects import people_in

        found = lineage.impact(column)
        people = people_in(_lakehouse(), found.tables)
        _warn(lineage.outdated_warning())
        if as_json:
            typer.echo(json.dumps(lineage.impact_facts(found, people), indent=1))
        else:
            typer.echo("\n".join(lineage.impact_lines(found, people)))


@lineage_app.command("show")
def show_lineage(
    asset: Annotated[str, typer.Argument(help="An asset, such as mart/media/campaign_metrics.")],
    form: Annotated[Form, typer.Option("--format", help="What to write to standard output.")] = Form.SVG,
) -> None:
    """Draw where an asset comes from, from the sources on: one A4 sheet, grouped by layer, sensitivity coloured."""
    with clean_exit():
        from merajut_assets.command import lineage

        shown = lineage.show(asset, lineage.Format(form.value))
        _warn(lineage.outdated_warning())
        typer.echo(shown)


# ── what the commands share ──────────────────────────────────────────────────────────────


def _console() -> Console:
    """Made at each use: the streams may have been exchanged since the program began.

    Into a file or pipe, tables are as wide as they need; a terminal decides itself."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH_OF_FILES)


def _warn(text: str | None) -> None:
    if text:
        typer.echo(f"merajut: {text}", err=True)


def _lakehouse() -> Lakehouse:
    from resources.lakehouse import Lakehouse

    return Lakehouse()


def _stakeholders() -> list[str]:
    from merajut_assets.policies.stakeholder import stakeholder_policies

    return list(stakeholder_policies())


def _stakeholder(name: str) -> str:
    known = _stakeholders()
    if name not in known:
        raise BadInput(f"there is no such stakeholder; known: {', '.join(known)}")
    return name


def _listed(given: list[str] | None) -> list[str]:
    """The names in options that may be repeated and hold several each, separated by commas."""
    names = [name.strip() for entry in given or () for name in entry.split(",")]
    if not all(names):
        raise BadInput("--also: a name is empty; write kinds as a,b")
    return names


def _separator(text: str) -> str:
    character = "\t" if text == "\\t" else text
    if len(character) != 1 or not character.isascii() or character in '"\r\n':
        raise BadInput("--separator is one character, such as ';' or \\t, and no quote or line break")
    return character


def _show_figures(figures: dict[str, Any], as_json: bool) -> None:
    from merajut_assets.command import anonymising

    typer.echo(anonymising.as_json(figures) if as_json else "\n".join(anonymising.lines(figures)))
    anonymising.refuse_broken(figures)


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise BadInput("--until is a day written as 2026-10-31") from None


def _read_key(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise BadInput("the key file cannot be read; give the file that was handed over with the publication") from None


def _given_id(given: str, is_confirmed: bool) -> str:
    if given != "-":
        return given
    if sys.stdin.isatty():
        return str(typer.prompt("id", hide_input=True, err=True)).strip()
    if not is_confirmed:
        raise BadInput("with the id on standard input nobody can be asked; add --yes")
    line = sys.stdin.readline().strip()
    if not line:
        raise BadInput("standard input holds no id")
    return line


__all__ = ["BAD_INPUT", "app"]

if __name__ == "__main__":
    app()
