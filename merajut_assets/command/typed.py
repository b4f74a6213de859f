"""How a command is written so that it can be typed where somebody is.

Belongs here: the way from the working directory to the program. Which command to type is decided by those
who advise it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

PROGRAM = "merajut"


def typed(arguments: str) -> str:
    """`merajut <arguments>`, with the path to the program unless it is found without one."""
    program = Path(sys.executable).with_name(PROGRAM)
    found = shutil.which(PROGRAM)
    if not program.exists() or (found is not None and program.samefile(found)):
        return f"{PROGRAM} {arguments}"
    return f"{os.path.relpath(program)} {arguments}"
