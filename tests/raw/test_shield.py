"""What raw stores: tokens, flags, one blob per row; and what is left when a key is gone."""

from __future__ import annotations

import io
from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject
from merajut_assets.raw import landing
from merajut_assets.raw.identifiers import IDENTIFIERS, contains_nik, nik_agrees
from resources.encryption import DecryptionError, decrypt_rows

MARKER = "PENANDA-RAHASIA-7f3a"


def land(source: pl.DataFrame, contract, keys) -> landing.Landed:
    parsed = landing.parse(source, contract)
    return landing.shield(parsed.frame, landing.judge(parsed, contract), contract, keys.subjects, keys.named)


def opened(landed: pl.DataFrame, contract, keys) -> pl.DataFrame:
    row_keys = landing.row_keys(landed, contract, keys.subjects, keys.named)
    personal, readable = decrypt_rows(
        landed[landing.ENCRYPTED], row_keys, landing.blob_schema(contract), landing.blob_context(contract)
    )
    assert readable.all()
    return personal


def valid(kind: str, *texts: str | None) -> list[bool | None]:
    identifier = IDENTIFIERS[kind]
    return identifier.is_valid(identifier.normalise(pl.Series("x", texts, dtype=pl.String))).to_list()


# ── identifiers ──────────────────────────────────────────────────────────────────────────


def test_niks_are_judged_by_their_structure():
    """An invalid number merges nobody; a valid one that is called invalid splits a child in two."""
    assert valid(
        "nik",
        "3273010502120001",  # a boy of 5 February 2012
        "3273014502120001",  # a girl of that day
        "3273012902120001",  # 29 February of a leap year
        "3273016902000001",  # a girl of 29 February 2000
        "9401010101000001",  # Papua
        None,
    ) == [True, True, True, True, True, None]
    assert (
        valid(
            "nik",
            "3273012902130001",  # no leap year
            "3273013002120001",
            "3273013104120001",  # 31 April
            "3273013213120001",
            "3273010013120001",
            "3273017202120001",  # day 72
            "3273014002120001",  # day 40
            "0073010502120001",  # no province
            "2273010502120001",
            "9973010502120001",
            "3273010502120000",  # serial numbers begin at 1
            "327301050212000",
            "32730105021200011",
            "327301O502120001",
            "",
        )
        == [False] * 15
    )


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), st.text(max_size=18), st.from_regex(r"[0-9]{16}", fullmatch=True)), max_size=6)
)
def test_no_text_makes_the_judgement_of_identifiers_fail(texts):
    """A date that no calendar has inside a NIK once ended a whole landing, and the error quoted it."""
    series = pl.Series("x", texts, dtype=pl.String)
    for identifier in IDENTIFIERS.values():
        normal = identifier.normalise(series)
        judged = identifier.is_valid(normal)
        assert judged.len() == len(texts)
        assert judged.is_null().to_list() == [text is None for text in texts]
    assert contains_nik(series).len() == len(texts)


@settings(max_examples=60, deadline=None)
@given(st.dates(date(1940, 1, 1), date(2026, 1, 1)), st.booleans(), st.integers(1, 9999))
def test_every_number_that_the_register_gives_out_is_valid_and_agrees(born, is_woman, serial):
    """The same construction as the register's, over all days of a life."""
    day = born.day + (40 if is_woman else 0)
    nik = f"327301{day:02d}{born:%m%y}{serial:04d}"
    assert valid("nik", nik) == [True]
    sex = pl.Series(["F" if is_woman else "M", "M" if is_woman else "F", None])
    agrees = nik_agrees(pl.Series([nik] * 3), pl.Series([born] * 3), sex)
    assert agrees[0] is True
    assert agrees[1] is False
    assert contains_nik(pl.Series([f"lihat {nik}, ya"])).to_list() == [True]


def test_phones_and_addresses():
    """Notations differ from clerk to clerk; validity must not."""
    assert valid("phone", "081234567890", "+62 812-3456-7890", "62812 3456 7890", "(021) 5551234", None) == [
        *[True] * 4,
        None,
    ]
    assert valid("phone", "0812", "0012345678", "08123456789012345", "telepon") == [False] * 4
    assert valid("email", "Budi@Example.org ", "a.b+c@sub.example.co.id", None) == [True, True, None]
    assert valid("email", "budi", "budi@", "@example.org", "budi@example", "a b@example.org") == [False] * 5


def test_niks_in_texts_are_found_however_they_are_grouped():
    """Somebody types a number into a note as it stands on the card: in groups."""
    assert (
        contains_nik(
            pl.Series(
                [
                    "NIK 3273014502120001.",
                    "NIK:3273.01.450212.0001",
                    "32 7301 450212 0001 ibu",
                    "3273-0145-0212-0001",
                    "nomor 3273014502120001",
                ]
            )
        ).to_list()
        == [True] * 5
    )
    assert (
        contains_nik(
            pl.Series(["", "tidak ada", "32730145021200017", "2273014502120001", "3273019902120001", "0812 3456 7890"])
        ).to_list()
        == [False] * 6
    )
    assert contains_nik(pl.Series([None], dtype=pl.String)).to_list() == [None]


# ── tokens and flags ─────────────────────────────────────────────────────────────────────


def test_one_number_has_one_token_in_every_notation(children, source_children, keys):
    """Linking rests on this: a dot too many would make two children of one."""
    source = source_children(
        {"nik": "3273014502120001"},
        {"nik": "3273.01.450212.0001"},
        {"nik": " 3273-0145-0212-0001 "},
        {"nik": "3273014502120002"},
        {"nik": "0073014502120001"},
        {"nik": None},
    )
    frame = land(source, children, keys).frame
    tokens = frame["nik_token"].to_list()
    assert tokens[0] == tokens[1] == tokens[2] != tokens[3]
    assert tokens[4:] == [None, None], "an invalid number must link nobody"
    assert frame["is_nik_valid"].to_list() == [True, True, True, True, False, None]


def test_tokens_change_with_their_key_and_hide_the_number(children, source_children, keys):
    """A token that could be made without the key could be made by anyone with a list of numbers."""
    source = source_children({})
    frame = land(source, children, keys).frame
    other = type(keys)()
    other.named = lambda purpose: b"z" * 32
    again = landing.derived_flags(landing.parse(source, children).frame, children, other.named)
    assert frame["nik_token"][0] != again[0][0]
    assert len(frame["nik_token"][0]) == 32
    assert "3273" not in frame["nik_token"][0]


def test_agreement_of_a_number_is_judged_for_valid_numbers_only(children, source_children, keys):
    """Accuracy counts what can be compared; an invalid number is another fault."""
    source = source_children(
        {}, {"sex": "M"}, {"birth_date": "2012-02-06"}, {"nik": "0073014502120001"}, {"nik": None}, {"sex": None}
    )
    assert land(source, children, keys).frame["is_nik_consistent"].to_list() == [True, False, False, None, None, None]


def test_texts_say_only_whether_they_hold_a_number(keys):
    """The text stays in the blob; conformed may know that it is personal."""
    contract = registry.raw_table("panti", "health_records")
    rows = {column.name: [None, None] for column in contract.columns}
    rows |= {"health_record_id": ["1", "2"], "child_id": ["A", "B"], "notes": ["NIK 3273014502120001", "sehat"]}
    frame = land(pl.DataFrame(rows, schema=dict.fromkeys(rows, pl.String)), contract, keys).frame
    assert frame["notes_has_nik"].to_list() == [True, False]
    assert "notes" not in frame.columns


# ── blobs ────────────────────────────────────────────────────────────────────────────────


def test_the_blob_brings_everything_back(children, source_children, keys):
    """Raw's rows are the archive: what does not come back is gone for ever."""
    source = source_children(
        {"full_name": 'Dewi "Sari"\n\u00e9\u4e2d; \\', "exit_date": "2024-02-29"},
        {"birth_date": "2015-02-30", "nik": None},
        {"full_name": None, "village_code": None, "abuse_type": None},
    )
    parsed = landing.parse(source, children)
    landed = land(source, children, keys).frame
    personal = [column.name for column in children.personal_columns]
    assert_frame_equal(opened(landed, children, keys), parsed.frame.select(*personal, landing.UNPARSED))
    assert_frame_equal(
        landed.select(column.name for column in children.plain_columns),
        parsed.frame.select(column.name for column in children.plain_columns),
    )


@pytest.mark.parametrize("identifier", sorted(registry.tables("raw")))
def test_no_personal_column_is_stored_outside_the_blob(identifier, keys):
    """The lake's files are read by the whole pipeline; only blobs die with their subject."""
    contract = registry.tables("raw")[identifier]
    frame = pl.DataFrame(
        {column.name: [None] for column in contract.columns},
        schema={**{column.name: column.dtype for column in contract.columns}},
    ).with_columns(pl.lit(None, pl.String).alias(landing.UNPARSED))
    frame = frame.with_columns(pl.lit("id").alias(name) for name in contract.subject_columns.values())
    landed = landing.shield(frame, pl.Series("failed_rules", [None], pl.String), contract, keys.subjects, keys.named)
    outside = set(landed.frame.columns)
    assert not outside & {column.name for column in contract.personal_columns}
    expected = {column.name for column in contract.plain_columns} | {landing.FAILED_RULES, "data_origin"}
    for column in contract.columns:
        if column.token is not None:
            expected |= {f"{column.name}_token", f"is_{column.name}_valid"}
        if column.privacy == "free_text":
            expected.add(f"{column.name}_has_nik")
    expected |= {landing.ENCRYPTED} if contract.subjects else {landing.UNPARSED}
    assert outside - {"is_nik_consistent"} == expected


def test_the_stored_frame_shows_no_personal_value(children, source_children, keys):
    """A column is one way out, bytes are another: the whole serialised frame is searched."""
    personal = ("full_name", "nik", "village_code", "reason_for_care", "abuse_type", "birth_date")
    source = source_children(*[{name: f"{MARKER}-{name}"} for name in personal])
    buffer = io.BytesIO()
    land(source, children, keys).frame.write_ipc(buffer)
    assert MARKER.encode() not in buffer.getvalue()


def test_a_blob_belongs_to_its_table(children, source_children, keys):
    """A blob that is moved to another table must not open there."""
    landed = land(source_children({}), children, keys).frame
    row_keys = landing.row_keys(landed, children, keys.subjects, keys.named)
    with pytest.raises(DecryptionError) as caught:
        decrypt_rows(landed[landing.ENCRYPTED], row_keys, landing.blob_schema(children), b"raw/panti/guardians")
    assert "Sari" not in str(caught.value)


# ── subjects ─────────────────────────────────────────────────────────────────────────────


def consents(*rows: tuple[str | None, str | None]) -> pl.DataFrame:
    contract = registry.raw_table("panti", "consents")
    frame = {column.name: [None] * len(rows) for column in contract.columns}
    frame |= {
        "consent_id": [f"C{number}" for number in range(len(rows))],
        "child_id": [child for child, _ in rows],
        "guardian_id": [guardian for _, guardian in rows],
        "purpose": ["research"] * len(rows),
        "status": ["granted"] * len(rows),
        "decided_on": ["2025-01-01"] * len(rows),
        "modified_at": ["2025-01-01T00:00:00Z"] * len(rows),
    }
    return pl.DataFrame(frame, schema=dict.fromkeys(frame, pl.String))


def test_rows_about_an_erased_person_are_left_out(children, source_children, keys):
    """A re-run after an erasure must not bring the person back."""
    keys.erased.add(("child", "panti:CH-2"))
    landed = land(source_children({}, {}, {}), children, keys)
    assert landed.frame["child_id"].to_list() == ["CH-1", "CH-3"]
    assert landed.erased == 1


@pytest.mark.parametrize(("kind", "number"), [("child", "panti:K1"), ("guardian", "panti:G1")])
def test_erasing_either_of_two_people_takes_the_row(kind, number, keys):
    """A row about a child and a guardian is about both, whoever of them goes."""
    contract = registry.raw_table("panti", "consents")
    source = consents(("K1", "G1"), ("K2", "G2"))
    stored = land(source, contract, keys).frame
    keys.erased.add((kind, number))
    assert land(source, contract, keys).frame["consent_id"].to_list() == ["C1"]
    row_keys = landing.row_keys(stored, contract, keys.subjects, keys.named)
    assert [key is None for key in row_keys] == [True, False]


def test_what_a_guardian_took_back_outlives_the_guardian_and_not_the_child(keys):
    """Were it dropped at the next landing, another guardian's older grant would count again."""
    contract = registry.raw_table("panti", "consents")
    source = consents(("K1", "G1"), ("K2", "G1"), ("K3", "G1"), ("K4", "G2")).with_columns(
        pl.Series("status", ["granted", "withdrawn", "granted", "withdrawn"]),
        pl.Series("valid_until", [None, None, "2026-01-01", None], dtype=pl.String),
    )
    before = land(source, contract, keys)
    keys.erased.add(("guardian", "panti:G1"))
    after = land(source, contract, keys)
    assert after.frame.select("consent_id", "guardian_id").rows() == [("C1", None), ("C2", None), ("C3", "G2")]
    assert (before.erased, after.erased) == (0, 3)
    opened(after.frame, contract, keys)
    # What was landed before the erasure is told in the same way, whoever holds the old rows.
    again, spared = landing.without_erased(before.frame, contract, keys.subjects)
    assert spared.to_list() == [False, True, True, False]
    assert again["guardian_id"].to_list() == ["G1", None, None, "G2"]
    keys.erased.add(("child", "panti:K2"))
    assert land(source, contract, keys).frame["consent_id"].to_list() == ["C2", "C3"]


def test_a_table_that_outlives_somebody_holds_decisions_and_nothing_personal():
    """Whether such a row stays is told by its plain columns, and what it says of the erased person goes."""
    outliving = [table for table in registry.tables("raw").values() if table.outlives]
    assert outliving
    for table in outliving:
        assert not table.personal_columns
        assert {"status", "valid_until"} <= {column.name for column in table.plain_columns}
        assert set(table.outlives) < set(table.subject_columns)


def test_no_single_person_s_key_opens_a_row_about_two(keys):
    """Otherwise a row would stay readable after one of the two was erased."""
    contract = registry.raw_table("panti", "consents")
    (key,) = landing.row_keys(consents(("K1", "G1")), contract, keys.subjects, keys.named)
    assert key not in keys.subjects(Subject.CHILD, ["panti:K1"]).values()
    assert key not in keys.subjects(Subject.GUARDIAN, ["panti:G1"]).values()
    only_child = landing.row_keys(consents(("K1", None)), contract, keys.subjects, keys.named)
    assert only_child == [keys.subjects(Subject.CHILD, ["panti:K1"])["panti:K1"]]


def test_rows_about_nobody_have_the_table_s_key(keys):
    """A story about an institution has no subject, and is encrypted all the same."""
    contract = registry.raw_table("media", "stories")
    frame = pl.DataFrame({"child_id": [None, "K1"]}, schema={"child_id": pl.String})
    first, second = landing.row_keys(frame, contract, keys.subjects, keys.named)
    assert first == keys.named("row/raw/media/stories")
    assert second == keys.subjects(Subject.CHILD, ["panti:K1"])["panti:K1"], "ids are those of the system at home"


def test_refused_and_good_rows_are_all_stored(children, source_children, keys):
    """Quarantine is made of raw: a row that is not stored cannot be put right."""
    landed = land(source_children({}, {"sex": "P"}, {"birth_date": "x"}), children, keys)
    assert landed.frame.height == 3
    assert landed.frame[landing.FAILED_RULES].to_list() == [None, "sex.allowed", "birth_date.type"]
    assert landed.refused == {"sex.allowed": 1, "birth_date.type": 1}
    assert opened(landed.frame, children, keys)["full_name"].null_count() == 0
    assert landed.frame["modified_at"].to_list() == [datetime(2026, 1, 1)] * 3
