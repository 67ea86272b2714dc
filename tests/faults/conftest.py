"""Makes tests/lib, the client of tests/wire and the helpers beside this file importable."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
sys.path.append(str(HERE.parent / "wire"))

from lib.seed import seed  # noqa: E402,F401
