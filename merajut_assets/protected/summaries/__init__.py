"""One module per dataset; importing this package imports them all, by which every summary is registered."""

from __future__ import annotations

import importlib
import pkgutil

from merajut_assets.protected.summary import registered_summaries, summary_of

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["registered_summaries", "summary_of"]
