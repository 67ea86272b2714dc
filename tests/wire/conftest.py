"""Makes tests/lib and the helpers beside this file importable; prints the seed of a test."""

import os
import random
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]


@pytest.fixture
def seed():
    """A fresh seed for each test; `WIRE_SEED` replays one."""
    value = int(os.environ.get("WIRE_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {value} (WIRE_SEED={value} replays it)")
    return value
