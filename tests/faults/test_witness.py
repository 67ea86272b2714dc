"""The witness detects faults in histories, and in the replies of a server that cheats."""

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from fault_test import (ALL_COMMANDS, WITH_ADMINISTRATORS, WITNESS_DIRECTORY, FaultTest, Witness,
                        record)
from lib.server import Server

CHEATING_SERVER = Path(__file__).resolve().parent / "cheating_server.py"

KILLS = 4
LEASE_COMMANDS = {**ALL_COMMANDS, "revokes": 0}

EXCLUSION = "holders of a key never exceed its limit"
ORDER = "grants come in the order of the queue"
FENCE = "fences rise with the grants"
LEASE = "a lease lasts exactly its time"
SERVICE = "every request gets a reply, and no timeout is early"

# The rule that each cheat breaks.
RULES = {
    "none": None,
    "double": EXCLUSION,
    "reader": EXCLUSION,
    "writer": EXCLUSION,
    "pass": ORDER,
    "lifo": ORDER,
    "fence": FENCE,
    "forget": SERVICE,
    "early": SERVICE,
    "expire": LEASE,
    "late": LEASE,
    "keep": LEASE,
    "renewed": LEASE,
    "refuse": LEASE,
    "mistake": LEASE,
    "twice": LEASE,
    "reissue": FENCE,
    "resume": LEASE,
    "loses": LEASE,
    "moved": LEASE,
}


class CheatingServer:
    def __init__(self, cheat):
        self.cheat = cheat

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, str(CHEATING_SERVER), self.cheat],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


def test_the_judge_distinguishes_correct_from_wrong_histories():
    result = subprocess.run([WITNESS_DIRECTORY / "witness", "selftest"], text=True,
                            capture_output=True, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("\nok ") >= 40 and "not ok" not in result.stdout, result.stdout


@pytest.mark.parametrize("cheat", RULES)
def test_the_witness_detects_a_server_that_cheats(cheat):
    # For cheats about leases and waits the holds are about as long as these. Administrators would
    # end most of them before.
    about_leases = cheat in ("expire", "late", "early")
    with CheatingServer(cheat) as server:
        witness = Witness(server, seconds=4, lease=1, two_phase=1, last=3, connections=32,
                          hold_us=900000 if about_leases else 10000,
                          run_out=2000 if about_leases else 4,
                          **(LEASE_COMMANDS if about_leases else ALL_COMMANDS)).start()
        status = witness.finish()
    wrong = [line.split(" - ")[1] for line in witness.output.splitlines()
             if line.startswith("not ok")]
    if RULES[cheat] is None:
        assert status == 0 and not wrong, witness.output
    else:
        assert status == 1 and RULES[cheat] in wrong, witness.output
    assert witness.figures["grants"] > 20, witness.output


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_the_witness_accepts_a_correct_server(threads):
    with FaultTest("--threads", threads) as test:
        witness = Witness(test.server, seconds=5, kills=1, two_phase=1, semaphores=1,
                          keys=6, connections=200).start()
        witness.check(grants=500)
        test.settle()
        record(f"the witness, {threads} threads", witness=witness)


@pytest.mark.parametrize("threads", ["1", "8"])
@pytest.mark.parametrize("flags", [[], ["--no-auto-release-on-disconnect"]],
                         ids=["auto-release", "no-auto-release"])
def test_readers_writers_and_administrators_agree(threads, flags):
    with FaultTest("--threads", threads, *WITH_ADMINISTRATORS, *flags) as test:
        witness = Witness(test.server, seconds=5, kills=1, two_phase=1, semaphores=1, keys=4,
                          connections=100, lease=1 if flags else 30, hold_us=5000,
                          **ALL_COMMANDS).start()
        witness.check(grants=500)
        for command in "shared", "moved", "revocations":
            assert witness.figures[command] > 20, witness.output
        test.settle()
        record(f"the witness with administrators, {threads} threads, {len(flags)} flags",
               witness=witness, revocations=witness.figures["revocations"])


def test_holds_exclude_each_other_over_kills_of_the_server(tmp_path):
    flags = ["--threads", "2", *WITH_ADMINISTRATORS, "--fence-state-file", str(tmp_path / "fences")]
    with ExitStack() as servers:
        server = servers.enter_context(Server(*flags))
        witness = Witness(server, seconds=2 * KILLS + 2, drains=1, two_phase=1, semaphores=1,
                          keys=4, connections=100, hold_us=5000, **ALL_COMMANDS).start()
        for _ in range(KILLS):
            time.sleep(1)
            server.kill()
            server = servers.enter_context(Server(*flags, port=server.port))
        witness.check(grants=500)
    # Each kill closed all connections of the witness.
    assert witness.figures["cut"] >= KILLS, witness.output
    assert witness.figures["revocations"] > 20, witness.output
    record(f"the witness, {KILLS} kills of the server", witness=witness)
