"""Makes tests/lib, the client of tests/wire and the helpers beside this file importable."""

import os
import random
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
sys.path.append(str(HERE.parent / "wire"))


@pytest.fixture
def seed():
    """A fresh seed for each test; `FAULT_SEED` replays one."""
    value = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {value} (FAULT_SEED={value} replays it)")
    return value
