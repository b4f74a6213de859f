"""What is in the repository, and what must never be.

Everything is asked of the files that git would carry: tracked ones and new ones that are not ignored.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MAXIMUM_BYTES = 40 * 1024 * 1024
_LARGEST_TEXT = 2 * 1024 * 1024

# Put together from pieces, so that this file does not find itself.
_PACKAGE_HOSTS = tuple(
    ".".join(parts)
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs", "org"), ("crates", "io"))
)
_HOME_PATH = re.compile(r"(?<![\w.$})-])/(?:home|Users|root|work|tmp)/[\w.-]+/")
_PRIVATE_KEY = re.compile("-----BEGIN [A-Z ]*PRIVATE " + "KEY-----")
_LOCK_FILES = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "package-lock.json", "yarn.lock", "pnpm-lock.yaml"}
_REQUIREMENT = re.compile(r"^[A-Za-z0-9][\w.-]*(\[[\w,-]+\])?==[\w.+!-]+( ;[^\\]+)? \\$")
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


@cache
def files() -> tuple[Path, ...]:
    """Files that git carries or would carry; outside a checkout, all that are not made at run time."""
    if (REPOSITORY / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
        candidates = [REPOSITORY / name for name in listed if name]
    else:
        made = {".venv", "target", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
        candidates = [path for path in REPOSITORY.rglob("*") if made.isdisjoint(path.relative_to(REPOSITORY).parts)]
    return tuple(path for path in candidates if path.is_file() and not path.is_symlink())


@cache
def texts() -> dict[str, str]:
    """Path → content of every text file outside data/ (whose files are others' and are left as they came)."""
    found = {}
    for path in files():
        name = path.relative_to(REPOSITORY).as_posix()
        content = path.read_bytes() if not name.startswith("data/") and path.stat().st_size < _LARGEST_TEXT else b"\0"
        if b"\0" not in content:
            found[name] = content.decode("utf-8")
    return found


def _naming(pattern: re.Pattern[str]) -> list[str]:
    return [name for name, text in texts().items() if pattern.search(text)]


def test_repository_stays_small() -> None:
    """A newcomer clones it before anything else."""
    assert sum(path.stat().st_size for path in files()) < MAXIMUM_BYTES


def test_no_lock_file_of_a_tool_that_records_addresses() -> None:
    """Such files pin the machine's own mirror; elsewhere they install nothing or something else."""
    assert [path.name for path in files() if path.name in _LOCK_FILES] == []


def test_no_package_host_is_named() -> None:
    """Where packages come from is each machine's own setting."""
    assert _naming(re.compile("|".join(map(re.escape, _PACKAGE_HOSTS)))) == []


def test_no_path_of_somebodys_machine_is_named() -> None:
    """What works only where it was written does not work."""
    assert _naming(_HOME_PATH) == []


def test_no_private_key_and_nothing_made_at_run_time_is_carried() -> None:
    """A key that was once committed is public for good."""
    assert _naming(_PRIVATE_KEY) == []
    names = [path.relative_to(REPOSITORY).as_posix() for path in files()]
    allowed = ("data/reference/", "data/benchmark/", "data/README.md")
    assert [name for name in names if name.startswith("data/") and not name.startswith(allowed)] == []
    assert [name for name in names if name.endswith((".key", ".duckdb", ".pyc"))] == []
    assert [name for name in names if name.startswith(("dbt_project/target/", ".venv/"))] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_package_is_pinned_with_hashes_and_no_address(name: str) -> None:
    """A version can be replaced by another file under the same number; a hash cannot."""
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    assert lines
    assert "://" not in "".join(lines)
    assert [line for line in lines if not (_REQUIREMENT.match(line) or _HASH.match(line))] == []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if _REQUIREMENT.match(line):
            assert _HASH.match(following), f"{line.split('==')[0]} has no hash"


def test_every_direct_dependency_is_pinned_within_its_bounds() -> None:
    """requirements.in says what we ask for; a pin that has drifted from it would be installed unasked."""
    from packaging.requirements import Requirement

    for source in ("requirements.in", "requirements-dev.in"):
        wanted = [
            Requirement(text)
            for line in (REPOSITORY / source).read_text(encoding="utf-8").splitlines()
            if (text := line.split("#")[0].strip()) and not text.startswith("-")
        ]
        compiled = (REPOSITORY / source).with_suffix(".txt").read_text(encoding="utf-8")
        pins = {
            requirement.name.lower(): str(requirement.specifier).removeprefix("==")
            for line in compiled.splitlines()
            if _REQUIREMENT.match(line)
            for requirement in [Requirement(line.removesuffix(" \\"))]
        }
        assert wanted
        for requirement in wanted:
            assert requirement.specifier.contains(pins[requirement.name.lower()]), f"make lock: {requirement.name}"


def test_make_lists_its_targets_and_shell_scripts_parse() -> None:
    """`make` alone is the first thing that a newcomer types."""
    listed = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    declared = re.search(r"^\.PHONY:(.*)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert declared is not None
    for target in declared[1].split():
        assert f"make {target} " in listed
    subprocess.run(["bash", "-n", ".ci/run"], cwd=REPOSITORY, check=True)
    assert (REPOSITORY / ".ci" / "run").stat().st_mode & 0o111
