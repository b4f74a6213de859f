"""How a step fails: in words that quote no record.

Dagster stores the text of an exception, with those it was raised from, in its event log and shows it in
the UI. The texts of Polars, pandera, DuckDB and others quote values. So every function that Dagster
calls is `guarded`: our own errors, whose texts name tables, columns, rules and remedies only, keep
their text; of any other only its class and the place in our code are told. What an error of ours may
say is decided where it is raised.
"""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg

REPOSITORY = Path(__file__).resolve().parent.parent
OWN_PACKAGES = ("merajut_assets", "resources", "partitions")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def guarded(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function` (also a generator) failing by `dg.Failure` with a clean text and nothing chained to it.

    For the functions of assets, checks and ops: apply it directly below Dagster's decorator. What steers
    a run (`RetryRequested`, interruption) passes. Only a `Failure` that its author allows retries for is
    retried."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*arguments: Arguments.args, **named: Arguments.kwargs) -> Iterator[Any]:
            try:
                yield from cast("Iterator[Any]", function(*arguments, **named))
                return
            except dg.RetryRequested:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, its text must not travel
                failure = clean_failure(error)
            raise failure

        return cast("Callable[Arguments, Result]", generate)

    @functools.wraps(function)
    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return function(*arguments, **named)
        except dg.RetryRequested:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not travel
            failure = clean_failure(error)
        # Raised outside the handler: inside it, Python would attach the original with its text.
        raise failure

    return call


def clean_failure(error: Exception) -> dg.Failure:
    """The failure to report instead of `error`."""
    if isinstance(error, dg.Failure):
        return dg.Failure(error.description, error.metadata, error.allow_retries)
    return dg.Failure(
        describe(error), metadata={"error_class": type(error).__name__, "place": place(error)}, allow_retries=False
    )


def describe(error: BaseException) -> str:
    """What may be said about an error: class and text of our own, class and place of any other."""
    if is_own(error):
        return f"{type(error).__name__}: {error}"
    return (
        f"{type(error).__name__} at {place(error)}; its text is withheld because it may quote a record. "
        "Repeat the step on generated data to see it, or read the code at that place"
    )


def is_own(error: BaseException) -> bool:
    """Whether the class of an error is declared in this repository, and its text therefore clean."""
    return type(error).__module__.split(".")[0] in OWN_PACKAGES


def place(error: BaseException) -> str:
    """The innermost line of our own code that an error passed, such as `resources/lake.py:120`."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        path = Path(frame.filename)
        if path == Path(__file__).resolve() or not path.is_relative_to(REPOSITORY):
            continue
        inside = path.relative_to(REPOSITORY)
        if inside.parts[0] in OWN_PACKAGES:
            return f"{inside.as_posix()}:{frame.lineno}"
    return "a place outside our code"
