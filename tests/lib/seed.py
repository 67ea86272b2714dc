"""The seed of a random test."""

import os
import random

import pytest


@pytest.fixture
def seed():
    """A new seed for each test. The environment variable SEED replays one."""
    value = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {value} (SEED={value} replays it)")
    return value
