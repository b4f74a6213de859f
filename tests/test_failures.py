"""Nothing that a step fails with may carry a value out of a record into Dagster's event log."""

import dagster as dg
import polars as pl
import pytest

from merajut_assets.failures import clean_failure, guarded
from resources.lake import LakeError
from resources.lakehouse import Lakehouse

SECRET = "PENANDA-RAHASIA-7f3a"


def _parse(_context: object = None) -> None:
    pl.Series([SECRET]).cast(pl.Int64)


def _everything_logged(asset: dg.AssetsDefinition) -> str:
    with dg.instance_for_test() as instance:
        result = dg.materialize([asset], instance=instance, raise_on_error=False)
        assert not result.success
        return "\n".join(str(entry) for entry in instance.all_logs(result.run_id))


def test_an_unguarded_asset_would_leak() -> None:
    """Shows that the leak is real: without it, the next test would prove nothing."""

    @dg.asset
    def leaking() -> None:
        _parse()

    assert SECRET in _everything_logged(leaking)


def test_a_guarded_asset_tells_class_and_place_only() -> None:
    """Polars quotes the value that it could not cast; the event log keeps it for months."""

    @dg.asset
    @guarded
    def clean(context: dg.AssetExecutionContext) -> None:
        _parse()

    logged = _everything_logged(clean)
    assert SECRET not in logged
    assert "InvalidOperationError" in logged


def test_a_guarded_generator_is_clean_as_well() -> None:
    """The marts are a generator: its body runs long after the function was called."""

    @dg.asset
    @guarded
    def clean(context: dg.AssetExecutionContext):
        if context.run_id:
            _parse()
        yield dg.MaterializeResult()

    logged = _everything_logged(clean)
    assert SECRET not in logged
    assert "InvalidOperationError" in logged


def test_own_errors_keep_their_text_and_lose_what_they_were_raised_from() -> None:
    """The remedy in the text is what a reader needs; the chained parser error is what leaks."""

    @dg.asset
    @guarded
    def refusing() -> None:
        try:
            _parse()
        except pl.exceptions.PolarsError as error:
            raise LakeError("raw/panti/children is damaged; land it again") from error

    logged = _everything_logged(refusing)
    assert SECRET not in logged
    assert "LakeError: raw/panti/children is damaged; land it again" in logged


def test_a_failure_keeps_its_text_metadata_and_permission_to_retry() -> None:
    """A locked source is to be tried again, so that the guard must not forbid it."""
    failure = clean_failure(dg.Failure("locked", metadata={"rows": 3}, allow_retries=True))
    assert (failure.description, failure.allow_retries) == ("locked", True)
    assert failure.metadata["rows"].value == 3
    assert clean_failure(ValueError(SECRET)).allow_retries is False


def test_what_steers_a_run_passes() -> None:
    """Taken for an error, a request for a retry would end the run."""

    @guarded
    def again() -> None:
        raise dg.RetryRequested(max_retries=1)

    with pytest.raises(dg.RetryRequested):
        again()


def test_resources_and_results_pass_through_the_guard() -> None:
    """Dagster finds context and resources by the signature, which a wrapper could hide."""

    @dg.asset
    @guarded
    def counted(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"directory": lakehouse.data_directory, "run": context.run_id})

    result = dg.materialize([counted], resources={"lakehouse": Lakehouse(data_directory="here")})
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["directory"].value == "here"
