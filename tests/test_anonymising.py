"""`merajut anonymise`, `verify` and `risk` on files, as people and scripts use them: real processes on Adult."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from merajut_assets.cli import app
from merajut_assets.command import anonymising
from merajut_assets.command.exits import BadInput
from merajut_assets.privacy import Policy, anonymise

REPOSITORY = Path(__file__).parents[1]
ADULT = REPOSITORY / "data" / "benchmark" / "adult"
TABLE = ADULT / "adult.csv.gz"
EIGHT = ["sex", "age", "race", "marital-status", "education", "native-country", "workclass", "salary-class"]
QI = ",".join(EIGHT)
SECRET = "PENANDA-RAHASIA-7f3a"


def merajut(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in an installation that does not exist."""
    finished = subprocess.run(
        [sys.executable, "-m", "merajut_assets.cli", *map(str, arguments)],
        cwd=REPOSITORY,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "MERAJUT_DATA": str(folder / "none")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert not (folder / "none").exists(), "looking at a file must not make an installation"
    assert "Traceback" not in finished.stderr
    return finished


def policy_file(folder: Path, more: str = "", k: int = 5, limit: float = 0.02) -> Path:
    columns = "\n".join(f"  {name}: {{hierarchy: {ADULT}/adult_hierarchy_{name}.csv}}" for name in EIGHT)
    path = folder / "policy.yaml"
    path.write_text(f"k: {k}\nsuppression_limit: {limit}\nquasi_identifiers:\n{columns}\n{more}", encoding="utf-8")
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two classes of three with a number, a day and a missing value, separated by semicolons."""
    path = tmp_path / "small.csv"
    rows = [(1, "2015-01-03"), (1, "2015-02-07"), (2, "2015-03-30"), (70, "1990-05-01"), (71, "1990-06-02"), (72, "")]
    lines = [f"{number};{day};{reason};{SECRET}" for (number, day), reason in zip(rows, "aabbab", strict=True)]
    path.write_text("\n".join(["age;birth;reason;name", *lines]) + "\n", encoding="utf-8")
    (tmp_path / "small.yaml").write_text(
        "k: 3\nquasi_identifiers:\n  age: {intervals: [0, 50, 100]}\n  birth: {date: [day, year, '*']}\n"
        "sensitive:\n  reason: {l_diversity: {kind: distinct, l: 2}}\n",
        encoding="utf-8",
    )
    return path


# ── anonymise ────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_adult_is_anonymised_verified_and_judged(tmp_path: Path) -> None:
    """The way that the documentation shows: the optimum that ARX finds, by a policy file, without any lakehouse."""
    out, report = tmp_path / "release.csv", tmp_path / "report.json"
    made = merajut(
        *("anonymise", TABLE, "--policy", policy_file(tmp_path), "--out", out, "--separator", ";", "--report", report),
        folder=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    (reference,) = [
        case for case in json.loads((ADULT / "arx_cases.json").read_text())["cases"] if case["id"] == "k5_q8_s0.02_loss"
    ]
    written = json.loads(report.read_text())
    assert written["solution"] is True
    assert written["loss"] == pytest.approx(reference["value"], abs=1e-8)
    assert written["suppressed"] == reference["suppressed"]
    assert written["columns_left_out"] == ["occupation"]
    assert written["utility"]["loss"] == pytest.approx(written["loss"], abs=1e-6)
    assert set(written["utility"]["columns"]) == set(EIGHT)
    assert written["verified"]["k"] == written["min_class"] >= 5
    release = pl.read_csv(out, separator=";", infer_schema=False)
    assert release.columns == [name for name in pl.read_csv(TABLE, separator=";").columns if name in EIGHT]
    assert release.height == 30_162 - reference["suppressed"]
    assert {path.name for path in tmp_path.iterdir()} == {"policy.yaml", "release.csv", "report.json"}

    verified = merajut("verify", out, "--qi", QI, "--k", "5", "--separator", ";", "--json", folder=tmp_path)
    assert verified.returncode == 0, verified.stderr
    facts = json.loads(verified.stdout)
    assert (facts["k"], facts["rows"], facts["broken"]) == (written["min_class"], release.height, [])
    asked = ("risk", out, "--qi", QI, "--separator", ";", "--json", "--limit", "prosecutor.highest=0.2")
    judged = merajut(*asked, folder=tmp_path)
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout)["prosecutor"]["highest"] == 1 / written["min_class"]


def test_without_a_solution_nothing_is_written_and_the_code_is_3(tmp_path: Path) -> None:
    """The one who made the policy must learn what fails and what would be enough."""
    out, report = tmp_path / "release.csv", tmp_path / "report.json"
    more = "sensitive:\n  occupation: {l_diversity: {kind: distinct, l: 15}}\n"
    policy = policy_file(tmp_path, more)
    arguments = ("anonymise", TABLE, "--policy", policy, "--out", out, "--separator", ";", "--report", report)
    made = merajut(*arguments, folder=tmp_path)
    assert made.returncode == 3
    assert "l_diversity of occupation" in made.stderr
    assert "feasible" in made.stderr
    assert len(made.stderr.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"policy.yaml"}


def test_numbers_and_days_in_a_csv_are_read_as_the_policy_needs_them(small: Path) -> None:
    """Everything in a CSV file is text; a missing day is published as unknown, a name not at all."""
    folder = small.parent
    out = folder / "release.parquet"
    made = merajut(
        *("anonymise", small, "--policy", folder / "small.yaml", "--out", out, "--separator", ";"), folder=folder
    )
    assert made.returncode == 0, made.stderr
    assert "columns_left_out: name" in made.stdout
    assert SECRET not in made.stdout + made.stderr
    release = pl.read_parquet(out)
    assert release.columns == ["age", "birth", "reason"]
    assert release.get_column("age").unique().sort().to_list() == ["[0, 50)", "[50, 100)"]
    assert release.get_column("birth").unique().to_list() == ["*"]
    kept = merajut(
        *("anonymise", small, "--policy", folder / "small.yaml", "--out", out, "--separator", ";"),
        *("--keep", "name", "--force"),
        folder=folder,
    )
    assert kept.returncode == 0, kept.stderr
    assert pl.read_parquet(out).columns == ["age", "birth", "reason", "name"]


def test_the_report_says_what_the_release_has_kept_and_nothing_about_a_row(small: Path) -> None:
    """Who only wants the release does not wait for it."""
    folder = small.parent
    out, report = folder / "release.csv", folder / "report.json"
    plain = anonymising.anonymise_file(small, folder / "small.yaml", anonymising.Targets(out), ";")
    assert "utility" not in plain
    anonymising.anonymise_file(small, folder / "small.yaml", anonymising.Targets(out, report, True), ";", ["name"])
    written = json.loads(report.read_text())["utility"]
    assert (written["rows"], written["suppressed"]) == (6, 0)
    assert set(written["columns"]) == {"age", "birth", "reason"} == set(written["association"]["columns"])
    assert written["columns"]["birth"]["loss"] == 1
    assert SECRET not in report.read_text()
    assert "2015" not in report.read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("1;2015-01-03", f"{SECRET};2015-01-03"), "column 'age': 1 row(s) do not hold a number"),
        (("2015-01-03", SECRET), "column 'birth': 1 row(s) do not hold a day"),
        (("age;birth", "years;birth"), "no column age"),
        (("age;birth;reason;name", "age;birth;reason;birth"), "names a column twice"),
        (("1;2015-01-03", f"1;2;3;4;5;{SECRET};2015-01-03"), "cannot be read; it must be CSV"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_without_quoting_it(
    small: Path, change: tuple[str, str], said: str
) -> None:
    """The messages of the libraries quote values; ours name column, rule and remedy."""
    folder = small.parent
    small.write_text(small.read_text().replace(*change, 1))
    out = folder / "release.csv"
    made = merajut(
        *("anonymise", small, "--policy", folder / "small.yaml", "--out", out, "--separator", ";"), folder=folder
    )
    assert made.returncode == 2
    assert said in made.stderr
    assert SECRET not in made.stdout + made.stderr
    assert not out.exists()


def test_what_is_there_is_not_overwritten_by_accident(small: Path) -> None:
    """A release that somebody works with must not vanish by a repeated command; the source never."""
    folder = small.parent
    out = folder / "release.csv"
    out.write_text("precious")
    policy = folder / "small.yaml"
    common = ("--policy", policy, "--separator", ";")
    for arguments, said in (
        (("--out", out), "--force replaces it"),
        (("--out", small, "--force"), "must be different files"),
        (("--out", folder / "none" / "release.csv"), "folder of release.csv is not there"),
        (("--out", folder / "release.xlsx"), "files ending in"),
        (("--out", folder / "new.csv", "--report", out), "--force replaces it"),
    ):
        targets = anonymising.Targets(
            Path(arguments[1]), Path(arguments[3]) if "--report" in arguments else None, "--force" in arguments
        )
        with pytest.raises(BadInput, match=said):
            anonymising.anonymise_file(small, policy, targets, ";")
    made = merajut("anonymise", small, *common, "--out", out, folder=folder)
    assert (made.returncode, "--force" in made.stderr) == (2, True)
    assert out.read_text() == "precious"
    assert merajut("anonymise", small, *common, "--out", out, "--force", folder=folder).returncode == 0
    assert out.read_text() != "precious"


def test_a_release_that_the_verifier_refuses_is_not_written(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's word is not enough: two code paths must agree before anything leaves."""
    folder = small.parent
    honest = anonymising.anonymise

    def careless(frame: pl.DataFrame, policy: object, **options: object) -> object:
        release = honest(frame, policy, **options)
        return type(release)(frame.with_columns(pl.col("age", "birth").cast(pl.String)), release.report)

    monkeypatch.setattr(anonymising, "anonymise", careless)
    targets = anonymising.Targets(folder / "release.csv")
    with pytest.raises(RuntimeError, match="the verifier refuses the release: k = 3 is not reached"):
        anonymising.anonymise_file(small, folder / "small.yaml", targets, ";")
    assert not targets.out.exists()


@pytest.mark.slow
def test_every_model_of_a_policy_reaches_the_verifier(tmp_path: Path) -> None:
    """A model that were not translated would be checked by nobody but the code that applies it."""
    more = f"""sensitive:
  occupation:
    l_diversity: {{kind: recursive, l: 3, c: 4}}
    t_closeness: {{kind: hierarchical, t: 0.3, hierarchy: {ADULT}/adult_hierarchy_occupation.csv}}
    beta_likeness: 3
"""
    out, report = tmp_path / "release.csv", tmp_path / "report.json"
    policy = policy_file(tmp_path, more, limit=0.1)
    arguments = ("anonymise", TABLE, "--policy", policy, "--out", out, "--separator", ";", "--report", report)
    made = merajut(*arguments, folder=tmp_path)
    assert made.returncode == 0, made.stderr
    facts = json.loads(report.read_text())["verified"]
    assert facts["k"] >= 5
    assert facts["recursive_c"]["occupation"] < 4
    assert facts["t_hierarchical"]["occupation"] <= 0.3
    assert facts["beta"]["occupation"] <= 3
    # The same from outside, without the policy: distributions are compared with the table from before.
    verified = merajut(
        *("verify", out, "--qi", QI, "--sensitive", "occupation", "--separator", ";", "--reference", TABLE, "--json"),
        *("--hierarchy", ADULT / "adult_hierarchy_occupation.csv", "--distance", "hierarchical", "--t", "0.3"),
        *("--recursive-l", "3", "--recursive-c", "4", "--beta", "3", "--k", "5"),
        folder=tmp_path,
    )
    assert verified.returncode == 0, verified.stderr
    again = json.loads(verified.stdout)
    assert {name: again[name] for name in facts} == facts


def test_a_certificate_is_checked_by_trying_everything(small: Path) -> None:
    """Whoever doubts that nothing better exists can see for themselves, and a false claim is found."""
    folder, report = small.parent, small.parent / "report.json"
    policy, common = folder / "small.yaml", ("--separator", ";")
    made = merajut(
        *("anonymise", small, "--policy", policy, "--out", folder / "release.csv", "--report", report),
        *common,
        folder=folder,
    )
    assert made.returncode == 0, made.stderr
    asked = ("verify", small, "--certificate", report, "--policy", policy, *common, "--json")
    checked = merajut(*asked, folder=folder)
    assert checked.returncode == 0, checked.stderr
    answer = json.loads(checked.stdout)
    assert (answer["valid"], answer["broken"], answer["nodes"]) == (
        True,
        [],
        json.loads(report.read_text())["lattice_size"],
    )
    policy.write_text(policy.read_text().replace("k: 3", "k: 2"))
    refused = merajut(*asked, folder=folder)
    assert refused.returncode == 1
    assert "another policy" in refused.stderr
    for wrong, said in (("[]", "holds no certificate"), ("{", "cannot be read")):
        report.write_text(wrong)
        refused = merajut(*asked, folder=folder)
        assert (refused.returncode, said in refused.stderr) == (2, True)


def test_the_certificate_of_an_empty_table_is_true(small: Path) -> None:
    """An export without rows happens; that nothing can be released of it was called a false claim."""
    folder, report = small.parent, small.parent / "report.json"
    small.write_text(small.read_text().splitlines()[0] + "\n")
    policy = folder / "small.yaml"
    typed = {"age": pl.Float64, "birth": pl.Date, "reason": pl.String}
    certificate = anonymise(pl.DataFrame(schema=typed), Policy.from_yaml(policy)).report["certificate"]
    report.write_text(json.dumps({"certificate": certificate}))
    asked = ("verify", small, "--certificate", report, "--policy", policy, "--separator", ";", "--json")
    checked = merajut(*asked, folder=folder)
    assert (checked.returncode, json.loads(checked.stdout)["valid"]) == (0, True)


# ── verify ───────────────────────────────────────────────────────────────────────────────


def test_a_threshold_that_is_not_reached_ends_with_1(small: Path) -> None:
    """Raw rows are no release; the facts are said all the same."""
    asked = ("verify", small, "--qi", "age,birth", "--sensitive", "reason", "--separator", ";", "--json")
    found = merajut(*asked, "--k", "3", "--l", "2", "--t", "0.4", folder=small.parent)
    assert found.returncode == 1
    facts = json.loads(found.stdout)
    assert (facts["k"], facts["l"]["reason"], len(facts["broken"])) == (1, 1, 3)
    assert "k = 3 is not reached" in found.stderr


def test_text_that_is_numbers_is_ordered_by_size(tmp_path: Path) -> None:
    """By alphabet 10 comes before 9, and the distance would be that of another table."""
    assert anonymising.in_natural_order(pl.Series(["10", "9", "8.5", None])) == ["8.5", "9", "10"]
    assert anonymising.in_natural_order(pl.Series(["2015-02-01", "2014-12-31"])) == ["2014-12-31", "2015-02-01"]
    assert anonymising.in_natural_order(pl.Series(["b", "10", "a"])) == ["10", "a", "b"]
    path = tmp_path / "table.csv"
    path.write_text("q,s\n" + "".join(f"{q},{s}\n" for q, s in [("p", 8), ("p", 9), ("r", 9), ("r", 10)]))
    asked = ("verify", path, "--qi", "q", "--sensitive", "s", "--distance", "ordered", "--json")
    facts = json.loads(merajut(*asked, folder=tmp_path).stdout)
    assert facts["t_ordered"]["s"] == 0.25


def test_presence_is_verified_against_a_population(tmp_path: Path) -> None:
    """Half of the people of one class are in the release, a third of the other."""
    release, people = tmp_path / "release.csv", tmp_path / "people.parquet"
    release.write_text("zip\n11\n12\n")
    pl.DataFrame({"zip": ["11", "12"], "people": [2, 3]}).write_parquet(people)
    asked = ("verify", release, "--qi", "zip", "--population", people, "--population-count", "people")
    found = merajut(*asked, "--delta-max", "0.4", "--k-map", "2", folder=tmp_path)
    assert found.returncode == 1
    assert "delta_max: 0.5" in found.stdout
    assert "k_map: 2" in found.stdout
    assert "delta_max = 0.4 is not reached" in found.stderr


def test_tables_that_share_a_pseudonym_are_judged_on_their_join(tmp_path: Path) -> None:
    """Two tables of k = 4 each, whose classes cross each other: the join tells everybody apart, until one of them is
    released beside the other."""
    numbers = range(16)
    table, other, out = tmp_path / "table.csv", tmp_path / "other.csv", tmp_path / "out.csv"
    table.write_text("who,place,value\n" + "".join(f"p{n},{n % 4}x,v{n % 3}\n" for n in numbers), encoding="utf-8")
    other.write_text("who,group,reason\n" + "".join(f"p{n},{n // 4},r{n % 2}\n" for n in numbers), encoding="utf-8")
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "k: 4\nsubject: who\nquasi_identifiers:\n  place: {prefix: [2, 1, 0]}\n"
        "sensitive:\n  value: {l_diversity: {l: 2}}\n",
        encoding="utf-8",
    )
    questions = ("--qi", "place", "--sensitive", "value", "--subject", "who", "--k", "4", "--l", "2")
    joined = ("--with", f"{other}:group:reason=2", "--json")
    before = merajut("verify", table, *questions, *joined, folder=tmp_path)
    assert before.returncode == 1
    facts = json.loads(before.stdout)
    assert (facts["k"], facts["joined"]["k"]) == (4, 1)
    assert any(problem.startswith("k = 4 is not reached on the join") for problem in facts["broken"])
    arguments = ("--policy", policy, "--out", out, "--keep", "who", "--beside", f"{other}:group:reason=2")
    assert merajut("anonymise", table, *arguments, folder=tmp_path).returncode == 0
    after = merajut("verify", out, *questions, *joined, folder=tmp_path)
    assert after.returncode == 0, after.stderr
    assert json.loads(after.stdout)["joined"] == {
        "subjects": 16,
        "classes": 4,
        "k": 4,
        "l": {"out.csv.value": 3, "other.csv.reason": 2},
    }
    wrong = merajut("verify", out, *questions, "--with", str(other), folder=tmp_path)
    assert wrong.returncode == 2
    assert "FILE:a,b" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--qi", "nothing"), "no column nothing"),
        ((), "give either --qi, or --certificate"),
        (("--certificate", "report.json"), "give either --qi, or --certificate"),
        (("--qi", "age", "--l", "2"), "name some with --sensitive"),
        (("--qi", "age", "--sensitive", "reason", "--recursive-c", "3"), "needs --recursive-l"),
        (("--qi", "age", "--sensitive", "reason", "--t", "0.1", "--distance", "hierarchical"), "was not measured"),
        (("--qi", "age", "--k-map", "3"), "was not measured"),
        (("--qi", "age", "--separator", "ab"), "one character"),
    ],
)
def test_a_wrong_question_ends_with_2(small: Path, arguments: tuple[str, ...], said: str) -> None:
    """A threshold that is passed over would count as reached."""
    separator = () if "--separator" in arguments else ("--separator", ";")
    found = merajut("verify", small, *separator, *arguments, folder=small.parent)
    assert found.returncode == 2
    assert said in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--qi", "age", "--recursive-l", "2"), "recursive_l judge sensitive columns"),
        (("--qi", "age", "--distance", "ordered"), "distance ordered judge sensitive columns"),
        (("--qi", "age", "--reference", "{file}"), "--reference and --hierarchy are about sensitive columns"),
        (("--qi", "age", "--sensitive", "reason", "--distance", "hierarchical"), "give the column's tree"),
        (("--qi", "age", "--sensitive", "reason", "--hierarchy", "{tree}", "--hierarchy", "{tree}"), "given twice"),
        (("--qi", "age", "--population-count", "people"), "give its table with --population"),
        (("--qi", "age", "--qi", "birth,age"), "--qi names age twice"),
        (("--qi", "age", "--sensitive", "reason", "--beta", "inf"), "beta must be a finite number"),
        (("--qi", "age", "--sensitive", "reason", "--entropy-l", "inf"), "entropy_l must be a finite number"),
        (("--qi", "age,,birth"), "--qi: a name is empty"),
        (("--qi", "age", "--sensitive", ""), "--sensitive: a name is empty"),
        (("--qi", "age", "--separator", '"'), "no quote or line break"),
        (("--qi", "age", "--subject", ""), "has no column"),
        (("--certificate", "r.json", "--policy", "p.yaml", "--k", "50"), "--k asks for nothing with --certificate"),
        (("--certificate", "r.json", "--policy", "p.yaml", "--sensitive", "reason"), "--sensitive asks for nothing"),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(small: Path, arguments: tuple[str, ...], said: str) -> None:
    """Who gives an option believes that it was heeded, and reads the facts so."""
    tree = small.with_name("tree.csv")
    tree.write_text("a;*\nb;*\n")
    given = [one.format(file=small, tree=tree) for one in arguments]
    given += [] if "--separator" in given else ["--separator", ";"]
    answer = CliRunner().invoke(app, ["verify", str(small), *given])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr


@pytest.mark.parametrize("command", ["anonymise", "verify", "risk", "detect"])
def test_an_option_given_twice_is_refused(small: Path, command: str) -> None:
    """The last one would count in silence: `--k 50`, and further on in a long line `--k 2`."""
    answer = CliRunner().invoke(app, [command, str(small), "--separator", ";", "--separator", ","])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "--separator is given 2 times" in answer.stderr


def test_people_outside_the_population_break_the_thresholds_that_count_it(tmp_path: Path) -> None:
    """A population with other labels shares nobody with the release: a share of 0 would be below every limit."""
    release, people = tmp_path / "release.csv", tmp_path / "people.csv"
    release.write_text("zip\n11*\n12*\n")
    people.write_text("zip\n11\n12\n")
    asked = ["verify", str(release), "--qi", "zip", "--population", str(people), "--delta-max", "0.5"]
    answer = CliRunner().invoke(app, asked)
    assert answer.exit_code == 1
    assert "rows_outside_population = 0 is not reached: the table has 2" in answer.stderr


# ── names of columns ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_column_can_be_named_whatever_its_name_is(tmp_path: Path, ending: str) -> None:
    """Polars leaves the doubled quotes of a header as they are written, so that nobody could name the column."""
    path, out = tmp_path / f"table.{ending}", tmp_path / "out.csv"
    names = ['a "q" b', "c,d", "two\nlines", " e", "f"]
    table = pl.DataFrame({name: ["x", "x", "y", "y"] for name in names})
    if ending == "parquet":
        table.write_parquet(path)
    else:
        text = table.write_csv().encode()
        path.write_bytes(gzip.compress(text) if ending.endswith("gz") else b"\xef\xbb\xbf" + text)
    assert anonymising.read_table(path, ",").equals(table)
    for given in (['a "q" b,f', "c,d"], ["c,d", "f", 'a "q" b'], [" e"], ["two\nlines"]):
        options = [one for name in given for one in ("--qi", name)]
        answer = CliRunner().invoke(app, ["verify", str(path), *options, "--k", "2", "--json"])
        assert answer.exit_code == 0, answer.stderr
        assert json.loads(answer.stdout)["classes"] == 2
    policy = tmp_path / "policy.yaml"
    policy.write_text("k: 2\nquasi_identifiers: {'a \"q\" b': {prefix: [1, 0]}}\n")
    arguments = [str(path), "--policy", str(policy), "--out", str(out), "--keep", "c,d", "--keep", "f"]
    assert CliRunner().invoke(app, ["anonymise", *arguments]).exit_code == 0
    assert anonymising.read_table(out, ",").columns == ['a "q" b', "c,d", "f"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("a,,c", "column 2 has no name"),
        (",b,", "column 1, 3 has no name"),
        ('"  ",b,c', "column 1 has no name"),
        ('a,"a",c', "names a column twice"),
        ('"a,b",a,b', "--qi: a,b is one column of table.csv and several"),
    ],
)
def test_a_header_that_names_no_columns_is_refused(tmp_path: Path, header: str, said: str) -> None:
    """A column without a name can neither be judged nor left out by name; one of two readings is the weaker one."""
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\n1,2,3\n")
    answer = CliRunner().invoke(app, ["verify", str(path), "--qi", "a,b"])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr


def test_a_parquet_file_needs_names_too(tmp_path: Path) -> None:
    """Parquet keeps an empty name, as a frame does."""
    path = tmp_path / "table.parquet"
    pl.DataFrame({"a": ["x"], "": ["y"]}).write_parquet(path)
    with pytest.raises(BadInput, match="column 2 has no name"):
        anonymising.read_table(path, ",")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--keep", "age"), "the policy generalises age"),
        (("--keep", "name,"), "--keep: a name is empty"),
        (("--keep", "name,name"), "--keep names name twice"),
        (("--beside", "{other}:group:reason=0"), "values of s, 1 or more"),
        (("--beside", "{other}:group:reason="), "values of s, 1 or more"),
        (("--beside", "{other}:group:reason=3,reason=1"), "names reason twice"),
        (("--beside", "{other}:group,group"), "names group twice"),
        (("--beside", "{other}:"), "a name is empty"),
    ],
)
def test_what_would_weaken_a_release_in_silence_is_refused(small: Path, arguments: tuple[str, ...], said: str) -> None:
    """No value at all, or the last of two numbers, is less than was meant; a generalised column is not kept as it
    is."""
    other, policy, out = small.with_name("other.csv"), small.with_name("small.yaml"), small.with_name("out.csv")
    other.write_text("name;group;reason\np;1;a\n")
    policy.write_text(policy.read_text() + "subject: name\n")
    given = [one.format(other=other) for one in arguments]
    asked = ["anonymise", str(small), "--policy", str(policy), "--out", str(out), "--separator", ";", *given]
    answer = CliRunner().invoke(app, asked)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr
    assert not out.exists()


# ── risk ─────────────────────────────────────────────────────────────────────────────────


def test_risk_of_the_raw_table_is_arxs(tmp_path: Path) -> None:
    """ARX's own figures, from the command line, with the population as a number."""
    asked = ("risk", TABLE, "--qi", QI, "--separator", ";", "--population", "317238626", "--json")
    found = merajut(*asked, "--limit", "prosecutor.average=0.2", folder=tmp_path)
    assert found.returncode == 1
    assert "prosecutor.average is 0.413036, above the limit 0.2" in found.stderr
    risk = json.loads(found.stdout)
    assert (risk["classes"], round(risk["population_uniqueness"]["dankar"] * 100, 4)) == (12_458, 1.4546)


def test_a_population_may_be_a_file(tmp_path: Path) -> None:
    """A CSV population is text, its counts are numbers; a count that is none is refused without being shown."""
    table, people = tmp_path / "table.csv.gz", tmp_path / "people.csv"
    table.write_bytes(gzip.compress(b"zip,child\n11,a\n11,a\n12,b\n"))
    people.write_text("zip,people\n11,4\n12,2\n")
    asked = ("risk", table, "--qi", "zip", "--subject", "child", "--population", people, "--population-count", "people")
    found = merajut(*asked, folder=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "journalist.highest: 0.5" in found.stdout
    people.write_text(f"zip,people\n11,4\n12,{SECRET}\n")
    found = merajut(*asked, folder=tmp_path)
    assert found.returncode == 2
    assert "whole numbers" in found.stderr
    assert SECRET not in found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--limit", "prosecutor.highest=0.1", "--limit", "prosecutor.highest=1"),
            "given twice for prosecutor.highest",
        ),
        (("--limit", "prosecutor.highest=20"), "from 0 to 1"),
        (("--limit", "prosecutor.highest=nan"), "from 0 to 1"),
        (("--limit", "prosecutor.highest=inf"), "from 0 to 1"),
        (("--limit", "=0.2"), "from 0 to 1"),
        (("--population", "1000", "--population-count", "age"), "give its table with --population"),
        (("--population-count", "age"), "give its table with --population"),
        (("--subject", "birth"), "holds nulls"),
    ],
)
def test_a_limit_that_never_bites_is_refused(small: Path, arguments: tuple[str, ...], said: str) -> None:
    """20 for 20 % is never exceeded, of two limits the last would count, and rows without a person count as one."""
    answer = CliRunner().invoke(app, ["risk", str(small), "--qi", "age", "--separator", ";", *arguments])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr


# ── standing alone ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrong", [False, True], ids=["well", "refused"])
def test_the_commands_do_without_dagster(small: Path, wrong: bool) -> None:
    """Somebody who has a file and a policy needs no lakehouse, and should not wait for one to be imported."""
    arguments = ["risk", str(small), "--qi", "nothing" if wrong else "age", "--separator", ";"]
    code = (
        "import sys\nfrom merajut_assets.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit as end:\n    print('ended', end.code)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'dagster', 'resources', 'deltalake'}))"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert finished.stdout.endswith(f"ended {2 if wrong else 0}\n[]\n")
