"""A backup does not bring erased people back: nothing opens before they are erased again."""

from __future__ import annotations

import shutil

import pytest

from merajut_assets.compliance.certificates import ErasureReason, ErasureRegister
from merajut_assets.compliance.erasure import erase
from merajut_assets.compliance.evidence import forgotten_erasures, rows_of_erased
from merajut_assets.compliance.reapplying import erase_again
from merajut_assets.conformed.raw_rows import read_raw_rows
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject
from resources.lakehouse import Lakehouse
from resources.vault import ForgetfulVault
from tests.compliance.small_lake import MARKER, SmallLake

EVIDENCE = "compliance"


@pytest.fixture
def brought_back(small: SmallLake) -> SmallLake:
    """A child was erased, then everything but the evidence of it was taken back from a backup made before."""
    backup = small.directory.with_name("backup")
    shutil.copytree(small.directory, backup)
    erase(small.lakehouse, Subject.CHILD, "panti", small.ids[0], ErasureReason.COURT_ORDER)
    assert rows_of_erased(small.lakehouse) == {}
    for part in small.directory.iterdir():
        if part.name != EVIDENCE:
            shutil.rmtree(part)
    shutil.copytree(backup, small.directory, dirs_exist_ok=True)
    return SmallLake(Lakehouse(data_directory=str(small.directory)), small.directory, small.ids, small.sibling)


def test_a_restored_vault_opens_nothing(brought_back: SmallLake) -> None:
    """It once read the erased child's rows again, and the next run would have released them."""
    lakehouse = brought_back.lakehouse
    assert forgotten_erasures(lakehouse) == len(brought_back.ids)
    with pytest.raises(ForgetfulVault, match="erase-again"):
        read_raw_rows(lakehouse, registry.raw_table("panti", "children"), ["full_name"], "test")
    with pytest.raises(ForgetfulVault):
        lakehouse.lake.read("conformed/child")
    brought_back.change("UPDATE children SET reason_for_care = 'poverty'")
    with pytest.raises(ForgetfulVault):
        brought_back.land_all()


def test_the_erased_are_erased_again(brought_back: SmallLake) -> None:
    """Vault, conformed, kept originals and older versions, as the first time; the others are untouched."""
    lakehouse = brought_back.lakehouse
    (certificate,) = erase_again(lakehouse)
    assert certificate.is_complete
    assert certificate.rows_removed["conformed/child"] == 1
    assert forgotten_erasures(lakehouse) == 0
    assert rows_of_erased(lakehouse) == {}
    for secret in (MARKER, *brought_back.token(*brought_back.ids)):
        assert brought_back.places_with(secret) == []
    assert lakehouse.lake.read("conformed/child").height > 1
    assert lakehouse.audit.verify().is_intact
    assert {one.reason for one in ErasureRegister(lakehouse.settings).all()} >= {ErasureReason.COURT_ORDER}


def test_certificates_tell_when_the_register_of_tombstones_went_with_the_vault(brought_back: SmallLake) -> None:
    """Whoever restores by hand may take the small file for a part of the vault."""
    brought_back.lakehouse.settings.tombstones.unlink()
    assert brought_back.lakehouse.vault.forgotten() == 0
    assert forgotten_erasures(brought_back.lakehouse) == len(brought_back.ids)
