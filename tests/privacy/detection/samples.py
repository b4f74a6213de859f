"""Values of every kind, and values that only look alike, made from the lists by a seed. Nobody's values.

Used by the tests, by the measurement that docs/personal_data_detection.md shows, and by benchmarks/detect.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from merajut_assets.privacy.detection import Reference
from merajut_assets.sources.identity import read_reference

REFERENCE = Path(__file__).parents[3] / "data" / "reference"
Maker = Callable[[Reference, np.random.Generator, int], pl.Series]


def reference() -> Reference:
    return read_reference(REFERENCE)


def drawn(pool: pl.Series, generator: np.random.Generator, count: int) -> pl.Series:
    return pool.gather(generator.integers(0, len(pool), count))


def padded(generator: np.random.Generator, low: int, high: int, count: int, width: int) -> pl.Series:
    return pl.Series(generator.integers(low, high, count)).cast(pl.String).str.zfill(width)


def joined(*parts: pl.Series | str) -> pl.Series:
    return pl.select(pl.concat_str([pl.lit(part) for part in parts])).to_series()


def _register_number(
    lists: Reference, generator: np.random.Generator, count: int, earliest: str, latest: str, women: float
) -> pl.Series:
    first, last = (np.datetime64(day).astype("datetime64[D]").astype(int) for day in (earliest, latest))
    day = pl.Series(generator.integers(first, last, count)).cast(pl.Int32).cast(pl.Date)
    shown = day.dt.day().cast(pl.Int32) + 40 * pl.Series((generator.random(count) < women).astype(np.int32))
    date = joined(shown.cast(pl.String).str.zfill(2), day.dt.strftime("%m%y"))
    return joined(drawn(lists.districts, generator, count), date, padded(generator, 1, 10_000, count, 4))


def niks(lists: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return _register_number(lists, generator, count, "1950-01-01", "2026-01-01", 0.5)


def cards(lists: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return _register_number(lists, generator, count, "2005-01-01", "2026-01-01", 0.0)


def npwps(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    """With marks, half of them with the leading 0 of the new form."""
    digits = generator.integers(0, 10, (count, 8))
    digits[:, 0] = generator.integers(1, 10, count)
    doubled = digits * (1 + np.arange(8) % 2)
    check = (-np.where(doubled > 9, doubled - 9, doubled).sum(axis=1)) % 10
    body = pl.Series(["".join(map(str, row)) for row in digits.tolist()])
    lead = pl.Series(np.where(generator.random(count) < 0.5, "0", ""))
    return joined(
        lead,
        *(body.str.slice(0, 2), ".", body.str.slice(2, 3), ".", body.str.slice(5, 3), "."),
        *(pl.Series(check).cast(pl.String), "-", padded(generator, 1, 1000, count, 3), ".000"),
    )


def bpjs_numbers(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return padded(generator, 10**9, 4 * 10**9, count, 13)


def passports(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return joined(drawn(pl.Series(["A", "B", "C", "E", "X"]), generator, count), padded(generator, 0, 10**7, count, 7))


def phones(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    """Real prefixes of operators and towns, in the ways in which people write numbers."""
    prefixes = pl.read_csv(REFERENCE / "identity" / "phone_prefixes.csv", infer_schema=False)
    chosen = prefixes[generator.integers(0, prefixes.height, count)]
    lead = drawn(pl.Series(["0", "+62 ", "62", "+62-"]), generator, count)
    rest = padded(generator, 2_000_000, 10_000_000, count, 7)
    marked = joined("-", rest.str.slice(0, 3), "-", rest.str.slice(3))
    return joined(lead, chosen["national_prefix"], rest.zip_with(pl.Series(generator.random(count) < 0.5), marked))


def names(lists: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    """Two names of the list, some with what people put before and behind."""
    before = drawn(pl.Series(["", "", "", "H. ", "Hj. ", "Ibu ", "Bapak ", "Dr. "]), generator, count)
    behind = drawn(pl.Series(["", "", "", "", ", S.Pd.", ", S.H."]), generator, count)
    return joined(before, drawn(lists.names, generator, count), " ", drawn(lists.names, generator, count), behind)


def other_names(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    """Names of the sample world, most of which no list here has."""
    from merajut_assets.sources.generate import people

    return people.full_names(generator, generator.random(count) < 0.5)


def mails(lists: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    local = joined(drawn(lists.names, generator, count).str.to_lowercase(), padded(generator, 1, 999, count, 1))
    return joined(
        local, drawn(pl.Series(["@mail.example", "@kantor.co.example", "@sekolah.sch.example"]), generator, count)
    )


def accounts(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return padded(generator, 10**9, 10**10, count, 10)


def plates(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    region = drawn(pl.Series(["B", "D", "AB", "L", "KT", "DK", "BM"]), generator, count)
    letters = drawn(pl.Series(["AB", "XYZ", "QR", "C"]), generator, count)
    return joined(region, " ", padded(generator, 1, 9999, count, 1), " ", letters)


def postal_codes(lists: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return drawn(lists.postal_codes, generator, count)


def addresses(lists: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    """Streets named after people, and villages with their district."""
    street = drawn(pl.Series(["Jl. ", "Jalan ", "Gg. ", "Jln. "]), generator, count)
    hamlet = joined(" RT ", padded(generator, 1, 20, count, 2), "/RW ", padded(generator, 1, 9, count, 2))
    by_street = joined(
        street, drawn(lists.names, generator, count), " No. ", padded(generator, 1, 200, count, 1), hamlet
    )
    by_village = joined(
        "Kel. ", drawn(lists.places, generator, count), ", Kec. ", drawn(lists.places, generator, count)
    )
    return by_street.zip_with(pl.Series(generator.random(count) < 0.7), by_village)


# Kind, the name of a column that says so, and how its values are made.
PERSONAL: tuple[tuple[str, str, Maker], ...] = (
    ("nik", "nik", niks),
    ("kk", "no_kk", cards),
    ("npwp", "npwp", npwps),
    ("bpjs", "no_bpjs", bpjs_numbers),
    ("passport", "passport", passports),
    ("phone", "telepon", phones),
    ("email", "email", mails),
    ("bank_account", "no_rekening", accounts),
    ("vehicle_plate", "nopol", plates),
    ("postal_code", "kode_pos", postal_codes),
    ("address", "alamat", addresses),
    ("person_name", "nama", names),
)


def _schools(column: str) -> Maker:
    def made(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
        schools = pl.read_parquet(REFERENCE / "school_register" / "schools.parquet", columns=[column])
        return drawn(schools[column], generator, count)

    return made


def _moments(generator: np.random.Generator, count: int) -> pl.Series:
    return pl.Series(generator.integers(1_500_000_000, 1_780_000_000, count))


def _day(form: str) -> Maker:
    return lambda _, generator, count: (
        (_moments(generator, count) * 1_000_000).cast(pl.Datetime("us")).dt.strftime(form)
    )


def _uuids(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return pl.Series([str(uuid.UUID(bytes=generator.bytes(16), version=4)) for _ in range(count)])


def _companies(lists: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    kind = drawn(pl.Series(["PT ", "CV ", "UD ", "Koperasi ", "Yayasan "]), generator, count)
    return joined(
        kind, drawn(lists.names, generator, count), drawn(pl.Series([" Jaya", " Pangan", " Tekstil"]), generator, count)
    )


def _running(prefix: str, width: int) -> Maker:
    return lambda _, generator, count: joined(prefix, pl.Series(np.arange(count)).cast(pl.String).str.zfill(width))


def _digits(width: int, low: int | None = None) -> Maker:
    least = 10 ** (width - 1) if low is None else low
    return lambda _, generator, count: padded(generator, least, 10**width, count, width)


def _dated_orders(lists: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return joined(_day("%Y%m%d")(lists, generator, count), padded(generator, 0, 10**8, count, 8))


def _amounts(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return pl.Series(generator.integers(1, 10**7, count) * 500)


def _shown_amounts(_: Reference, generator: np.random.Generator, count: int) -> pl.Series:
    return pl.Series([f"{one:,}".replace(",", ".") for one in generator.integers(10**4, 10**10, count).tolist()])


def _coordinates(low: float, high: float) -> Maker:
    return lambda _, generator, count: pl.Series([f"{one:.6f}" for one in generator.uniform(low, high, count).tolist()])


def _one_of(*values: str) -> Maker:
    return lambda _, generator, count: drawn(pl.Series(values), generator, count)


# What is taken for something else easily.
LOOK_ALIKE: tuple[tuple[str, Maker], ...] = (
    ("order_number_16", _digits(16)),
    ("order_number_dated", _dated_orders),
    ("order_number_15", _digits(15)),
    ("order_number_13", _digits(13)),
    ("order_number_12", _digits(12, low=0)),
    ("reference_10", accounts),
    ("running_number", _running("", 13)),
    ("key", _running("CH-", 10)),
    ("microseconds", lambda _, generator, count: _moments(generator, count) * 1_000_000 + 7),
    ("seconds", lambda _, generator, count: _moments(generator, count)),
    ("iso_timestamp", _day("%Y-%m-%dT%H:%M:%SZ")),
    ("iso_day", _day("%Y-%m-%d")),
    ("local_day", _day("%d-%m-%Y")),
    ("day_as_number", _day("%d%m%Y")),
    ("year_first_day_as_number", _day("%Y%m%d")),
    ("rupiah", _amounts),
    ("rupiah_with_dots", _shown_amounts),
    ("latitude", _coordinates(-11, 6)),
    ("longitude", _coordinates(95, 141)),
    ("uuid", _uuids),
    ("five_digits", _digits(5)),
    ("npsn", _schools("npsn")),
    ("school", _schools("sekolah")),
    ("district_code", lambda lists, generator, count: drawn(lists.districts, generator, count)),
    ("place", lambda lists, generator, count: drawn(lists.places, generator, count)),
    ("company", _companies),
    ("district", _schools("kecamatan")),
    ("product", _one_of("beras 5 kg", "Minyak goreng", "Buku tulis", "Seragam SD", "Susu bubuk", "Obat batuk")),
)
