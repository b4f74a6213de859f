"""How options are read so that none of them is passed over.

Belongs here: what holds of the options of a command whatever they mean. Does not belong here: which options there
are (`cli`), and what their values may be.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from merajut_assets.command.exits import BadInput


class OnceCommand(TyperCommand):
    """A command that refuses an option given twice: the last one would count, and `--k 50 … --k 2` ask for 2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter(given).items():
            if times > 1 and isinstance(option, TyperOption) and not option.multiple and not option.is_flag:
                ctx.fail(f"{option.opts[0]} is given {times} times; give it once")
        return super().parse_args(ctx, args)


def refuse_others(context: typer.Context, when: str, *used: str) -> None:
    """Raises BadInput where an option was given besides those that are `used`, by the names of their parameters."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name not in used and source is not None and source.name == "COMMANDLINE":
            raise BadInput(f"{option.opts[0]} asks for nothing {when}; leave it out")
