"""SQL dumps: read without a server, and without letting the dump do anything but fill tables."""

from __future__ import annotations

import gzip

import pytest

from merajut_assets.contracts.base import SourceFormat

SQLITE = """BEGIN TRANSACTION;
CREATE TABLE "people" ("ID" VARCHAR(9) NOT NULL, "Name" VARCHAR(255), City TEXT, PRIMARY KEY ("ID"));
INSERT INTO "people" VALUES('1','Siti ''R'' Rahmawati; x','');
INSERT INTO "people" VALUES('2','','Medan');
COMMIT;
"""
MYSQL = r"""/* a comment; with 'quotes' */
DROP TABLE IF EXISTS people;
CREATE TABLE IF NOT EXISTS `people` (
  `ID` varchar(13) NOT NULL COMMENT 'number, of a person',
  Name varchar(5) DEFAULT NULL, -- a name
  `City` enum('a','b'),
  PRIMARY KEY (`ID`), KEY `k` (`Name`,`City`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8;
/*!40000 ALTER TABLE `people` DISABLE KEYS */;
INSERT INTO other VALUES (1, 2);
INSERT INTO people(Name,`ID`,City) VALUES
('Siti \'R\' Rahmawati', '1', ''), (NULL, 2, 'a\\b;\n''c');
INSERT INTO `people` VALUES ('3','x','y');
"""


def rows(bench, content, name="people.sql", **options):
    bench.put(name, content)
    return bench.read(SourceFormat.SQL_DUMP, name, **options).frame.rows()


def refused(bench, content, name="people.sql", **options):
    bench.put(name, content)
    return bench.refusal(lambda: bench.read(SourceFormat.SQL_DUMP, name, **options))


def test_a_dump_of_sqlite(bench):
    assert rows(bench, SQLITE) == [("1", "Siti 'R' Rahmawati; x", None), ("2", None, "Medan")]


def test_a_dump_of_mysql_compressed_or_not(bench):
    expected = [("1", "Siti 'R' Rahmawati", None), ("2", None, "a\\b;\n'c"), ("3", "x", "y")]
    assert rows(bench, MYSQL, dialect="mysql") == expected
    assert rows(bench, gzip.compress(MYSQL.encode()), "people.sql.gz", dialect="mysql") == expected


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("", "empty"),
        (SQLITE.replace("COMMIT;", ""), "truncated"),
        (SQLITE[:-30], "invalid_sql"),
        (SQLITE.replace("'2','','Medan'", "'2','Siti Rahmawati'"), "invalid_sql"),
        (SQLITE.replace("'2',''", "'1','Siti Rahmawati'"), "invalid_sql"),
        (SQLITE.replace('"people"', '"other"'), "absent"),
        (SQLITE.encode("utf-16"), "encoding"),
        (SQLITE.replace("Medan", "Me\0dan"), "nul"),
        (SQLITE.replace("City TEXT", "Town TEXT"), "missing_column"),
        (SQLITE.replace("City TEXT", "City TEXT, Religion TEXT DEFAULT ''"), "invalid_sql"),
    ],
)
def test_bad_dumps_of_sqlite_are_refused(bench, content, rule):
    assert refused(bench, content).rule == rule


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH DATABASE '{path}' AS x; CREATE TABLE x.y (a);",
        "PRAGMA writable_schema = ON;",
        "VACUUM INTO '{path}';",
        "SELECT load_extension('{path}');",
        "INSERT INTO people WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM r) SELECT n, n, n FROM r;",
        "INSERT INTO people VALUES (9, zeroblob(900000000), 1);",
    ],
)
def test_a_dump_may_do_nothing_but_fill_tables(bench, statement):
    """A dump is somebody else's program: it must reach neither the disk nor use up the machine."""
    target = bench.location.data_directory / "written"
    script = SQLITE.replace("COMMIT;", "COMMIT;" + statement.format(path=target))
    assert refused(bench, script).rule == "invalid_sql"
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (MYSQL.rstrip().removesuffix(";"), "truncated"),
        (MYSQL.rstrip()[:-5], "truncated"),
        (MYSQL[: MYSQL.index("Siti") + 5], "invalid_sql"),
        (MYSQL.replace("('3','x','y')", "('3','Siti Rahmawati')"), "ragged_row"),
        (MYSQL.replace("('3','x','y')", "('3',now(),'y')"), "invalid_sql"),
        (MYSQL.replace("CREATE TABLE IF NOT EXISTS `people`", "CREATE TABLE x"), "invalid_sql"),
        ("CREATE TABLE x (a int);", "absent"),
        (MYSQL.replace("`City` enum('a','b'),", ""), "missing_column"),
        (MYSQL.replace("`City` enum('a','b'),", "City text, Religion text,"), "undeclared_column"),
    ],
)
def test_bad_dumps_of_mysql_are_refused(bench, content, rule):
    assert refused(bench, content, dialect="mysql").rule == rule


def test_damaged_compression_and_unknown_dialects(bench):
    whole = gzip.compress(MYSQL.encode())
    assert refused(bench, whole[:-9], "people.sql.gz", dialect="mysql").rule == "compression"
    assert refused(bench, SQLITE, dialect="oracle").rule == "option"
