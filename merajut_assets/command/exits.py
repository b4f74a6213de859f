"""How a command ends: 0 well, 1 a problem was found or a run failed, 2 wrong usage or input, 3 a policy
that cannot be met.

Belongs here: turning errors into one clear line and an exit code. No traceback and no text of a foreign
error is shown, because it may quote a record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

PROBLEM = 1
BAD_INPUT = 2
NO_SOLUTION = 3
INTERRUPTED = 130


class BadInput(ValueError):
    """What was asked for cannot be done. Says what to give instead."""


class ProblemFound(RuntimeError):
    """What was asked for was done, and is not as it should be."""


class NoSolution(RuntimeError):
    """No release satisfies the policy. Says which requirement fails, and what would be enough."""


@contextmanager
def clean_exit() -> Iterator[None]:
    """Run a command; whatever it raises becomes one line on standard error and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        _say("stopped; run the command again to complete it")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        raise typer.Exit(PROBLEM) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be shown unseen
        text, code = explained(error)
        _say(text)
        raise typer.Exit(code) from None


def explained(error: Exception) -> tuple[str, int]:
    """The line that says what went wrong, and the exit code."""
    for own, code in ((BadInput, BAD_INPUT), (ProblemFound, PROBLEM), (NoSolution, NO_SOLUTION)):
        # What the commands raise themselves needs none of the imports below, among them Dagster's.
        if isinstance(error, own):
            return str(error), code
    from merajut_assets.failures import describe, is_own

    text = str(error) if is_own(error) else describe(error)
    is_input = isinstance(error, _input_errors()) and not isinstance(error, _found_problems())
    return text, BAD_INPUT if is_input else PROBLEM


def _input_errors() -> tuple[type[Exception], ...]:
    from merajut_assets.compliance.restoring import RestoreRefused
    from merajut_assets.compliance.subjects import UnknownSubject
    from merajut_assets.sources.generate import GenerationError
    from partitions import ReleaseNameError
    from resources.lake import TableNotFound
    from resources.publication import PublicationError
    from resources.settings import SettingsError
    from resources.vault import FileKeyDestroyed, WrongKeyError

    return (
        FileKeyDestroyed,
        GenerationError,
        PublicationError,
        ReleaseNameError,
        RestoreRefused,
        SettingsError,
        TableNotFound,
        UnknownSubject,
        WrongKeyError,
    )


def _found_problems() -> tuple[type[Exception], ...]:
    """What is amiss in the installation, though an error of input by its kind."""
    from resources.publication import PublicationReplaced

    return (PublicationReplaced,)


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"merajut: {text}", markup=False, highlight=False)
