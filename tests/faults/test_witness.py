"""The witness detects faults in histories, and in the replies of a server that cheats."""

import subprocess
import sys
from pathlib import Path

import pytest
from fault_test import WITNESS_DIRECTORY, FaultTest, Witness, record

CHEATING_SERVER = Path(__file__).resolve().parent / "cheating_server.py"

# The rule that each cheat breaks.
RULES = {
    "none": None,
    "double": "holders of a key never exceed its limit",
    "lifo": "grants come in the order of the queue",
    "fence": "fences rise with the grants",
    "forget": "every request gets a reply, and no timeout is early",
    "early": "every request gets a reply, and no timeout is early",
    "expire": "a lease lasts exactly its time",
    "late": "a lease lasts exactly its time",
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
    assert result.stdout.count("\nok ") >= 20 and "not ok" not in result.stdout, result.stdout


@pytest.mark.parametrize("cheat", RULES)
def test_the_witness_detects_a_server_that_cheats(cheat):
    # For cheats about leases and waits the holds are about as long as these.
    about_leases = cheat in ("expire", "late", "early", "none")
    with CheatingServer(cheat) as server:
        witness = Witness(server, seconds=4, lease=1, two_phase=1, last=3, connections=32,
                          hold_us=900000 if about_leases else 2000,
                          run_out=2000 if about_leases else 4).start()
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
