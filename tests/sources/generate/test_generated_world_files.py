"""The world as files: same arguments, same bytes; nothing that looks complete and is not."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal

from merajut_assets.sources.generate import GenerationError, generate_world, write_panti_database
from merajut_assets.sources.generate.catalogue import contract_of, generated_contracts, location_of, system_of
from merajut_assets.sources.generate.plan import BLOCK_CHILDREN
from merajut_assets.sources.generate.shared import Shared
from merajut_assets.sources.generate.world import make_block
from merajut_assets.sources.reader import Location, read

if TYPE_CHECKING:
    from tests.sources.generate.conftest import World


def _digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "sources").rglob("*"))
        if path.is_file()
    }


def test_equal_arguments_give_equal_bytes_and_another_seed_another_world(tmp_path: Path, reference: Path) -> None:
    """Releases are compared across runs: a world that differs by a byte would look like changed sources."""
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        generate_world(300, seed, tmp_path / name, reference)
    one, same, other = (_digests(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert set(one) == set(other)
    assert one["sources/panti/panti.sqlite"] != other["sources/panti/panti.sqlite"]


def test_a_world_of_several_blocks_is_the_same_again(
    world: World, shared: Shared, reference: Path, tmp_path: Path
) -> None:
    """Parts are appended to databases and Parquet files: neither may note when or how often."""
    parameters = shared.parameters
    generate_world(parameters.children, parameters.seed, tmp_path, reference)
    assert _digests(tmp_path) == _digests(world.root)


def test_files_lie_where_the_contracts_say_and_carry_the_worlds_date(world: World) -> None:
    """Landing finds files by contract alone and takes their time as the source's time."""
    last_minute = datetime(2026, 10, 31, 23, 59, tzinfo=UTC).timestamp()
    for contract in generated_contracts():
        assert (world.root / location_of(contract)).stat().st_mtime == last_minute
    assert (world.root / "sources/hris/employees.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert not (world.root / "sources/donations/Contact.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_a_present_world_is_left_alone_and_a_damaged_one_is_made_again(tmp_path: Path, reference: Path) -> None:
    """`make demo` runs twice: the second time must neither wait nor touch a file."""
    first = generate_world(60, 1, tmp_path, reference)
    before = {path: path.stat().st_ino for path in (tmp_path / "sources").rglob("*.*") if path.is_file()}
    again = generate_world(60, 1, tmp_path, reference)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.rows == first.rows
    assert again.seconds < 1.0
    assert before == {path: path.stat().st_ino for path in (tmp_path / "sources").rglob("*.*") if path.is_file()}
    (tmp_path / "sources/donations/Contact.csv").unlink()
    assert generate_world(60, 1, tmp_path, reference).is_new
    assert generate_world(61, 1, tmp_path, reference).is_new


def test_a_killed_generation_leaves_nothing_that_looks_complete(tmp_path: Path, reference: Path) -> None:
    """Half a world without a word about it once passed for a whole one; the next run must repair it."""
    code = (
        "import sys; from pathlib import Path; from merajut_assets.sources.generate import generate_world;"
        f"generate_world(200_000, 1, Path({str(tmp_path)!r}), Path({str(reference)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("sources/.generating/sources/panti/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob("sources/.generating/sources/panti/*")), "killed before it had written anything"
    assert not (tmp_path / "sources/world.json").exists()
    assert not (tmp_path / "sources/panti").exists()
    assert generate_world(60, 1, tmp_path, reference).is_new
    assert not (tmp_path / "sources/.generating").exists()
    assert (tmp_path / "sources/world.json").exists()


def test_a_failure_while_moving_takes_the_old_world_s_claim_away(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the folders' exchange the directory holds parts of two worlds; world.json must not vouch for it."""
    generate_world(60, 1, tmp_path, reference)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target.name == "media":
            raise OSError("disk gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="disk gone"):
        generate_world(60, 2, tmp_path, reference)
    assert not (tmp_path / "sources/world.json").exists()


def test_blocks_do_not_depend_on_each_other(shared: Shared, world: World) -> None:
    """Bounded memory rests on blocks made alone; a block that reads a neighbour's stream would change with it."""
    last = make_block(shared, shared.parameters.block(1))
    make_block(shared, shared.parameters.block(0))
    again = make_block(shared, shared.parameters.block(1))
    for name, frame in last.tables.items():
        assert_frame_equal(frame, again.tables[name])
    assert_frame_equal(last.planted, again.planted)
    contract = contract_of("panti", "children")
    written = world.frame(contract.identifier).tail(len(last.tables[("panti", "children")]))
    expected = last.tables[("panti", "children")].select(column.name for column in contract.columns)
    assert_frame_equal(written, expected)
    assert shared.parameters.block(1).children == shared.parameters.children - BLOCK_CHILDREN


def test_bad_arguments_are_refused_before_anything_is_written(tmp_path: Path, reference: Path) -> None:
    """A wrong call must say what to do and leave no trace."""
    with pytest.raises(GenerationError, match="at least one child"):
        generate_world(0, 1, tmp_path, reference)
    with pytest.raises(GenerationError, match="negative"):
        generate_world(5, -1, tmp_path, reference)
    with pytest.raises(GenerationError, match=r"wilayah/regencies.csv is missing"):
        generate_world(5, 1, tmp_path, tmp_path)
    assert not (tmp_path / "sources").exists()


def test_only_one_generation_at_a_time(tmp_path: Path, reference: Path) -> None:
    """Two processes in one staging folder would mix their worlds."""
    errors: list[str] = []

    def second(step: str, done: int, steps: int) -> None:
        if not errors:
            with pytest.raises(GenerationError, match="another process") as caught:
                generate_world(5, 2, tmp_path, reference)
            errors.append(str(caught.value))

    generate_world(20, 1, tmp_path, reference, until=date(2025, 3, 14), progress=second)
    assert errors


def test_any_last_day_and_the_smallest_world_work(tmp_path: Path, reference: Path) -> None:
    """A leap day as the last day, and one child: the ends of all ranges."""
    for children, until in ((1, date(2024, 2, 29)), (40, date(2025, 1, 1)), (40, date(2026, 7, 1))):
        summary = generate_world(children, 5, tmp_path / f"{until}", reference, until=until)
        assert summary.rows["panti.children"] >= children


def test_the_case_management_can_be_copied_to_a_database_by_url(tmp_path: Path, world: World) -> None:
    """Deployments keep it on a server; what arrives there must be what the file holds."""
    url = f"sqlite:///{tmp_path / 'copy.db'}"
    counts = write_panti_database(world.root, url)
    assert counts["children"] == world.summary.rows["panti.children"]
    for name in ("children", "health_records"):
        contract = contract_of("panti", name)
        copied = read(contract, system_of("panti"), Location(world.root, url)).frame
        assert_frame_equal(copied, world.frame(contract.identifier))
    with pytest.raises(GenerationError, match="cannot be reached") as caught:
        write_panti_database(world.root, "postgresql://somebody:secret@127.0.0.1:1/none?connect_timeout=1")
    assert "secret" not in str(caught.value)
    with pytest.raises(GenerationError, match="generate the world first"):
        write_panti_database(tmp_path, url)
    engine = sa.create_engine(url)
    assert sa.inspect(engine).has_table("orphanages")
    engine.dispose()


@pytest.mark.parametrize("contract", generated_contracts(), ids=lambda contract: contract.identifier)
def test_every_table_has_the_contract_s_columns_and_its_drops(world: World, contract) -> None:
    """A column too few stops landing; without the undeclared ones nobody would see that they are dropped."""
    table = world.tables[contract.identifier]
    assert table.frame.columns == [column.name for column in contract.columns]
    assert set(table.undeclared) == set(contract.drops)
    assert len(table.frame) == world.summary.rows[contract.identifier] > 0
    assert not [name for name in table.frame.columns if table.frame[name].null_count() == len(table.frame)]


def test_the_population_adds_up_to_the_national_figure(world: World, reference: Path) -> None:
    """The issue anchors the synthetic population to the World Bank's latest figure, to the person."""
    population = world.frame("reference.population")
    figures = pl.read_csv(reference / "world_bank/population.csv").filter(pl.col("Country Code") == "IDN")
    assert population["inhabitants"].sum() == int(figures.sort("Year")["Value"][-1])
    assert population["regency_code"].n_unique() == 514
    assert population.select("regency_code", "sex", "birth_month").is_unique().all()
    assert population["inhabitants"].min() >= 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_world() -> None:
    """A million children must stream: five times the children may not cost five times the memory."""
    script = Path(__file__).parents[3] / "benchmarks" / "generate.py"
    answer = subprocess.run([sys.executable, script, "10000", "50000"], check=True, capture_output=True, text=True)
    small, large = json.loads(answer.stdout)
    assert large["rows"] - small["rows"] > 900_000
    assert large["peak_megabytes"] < small["peak_megabytes"] + 250
    assert large["peak_megabytes"] < 1500
