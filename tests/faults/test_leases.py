"""Masses of leases expire in time, and do not delay clients."""

import threading
import time

import pytest
from fault_test import TIME_FACTOR, FaultTest, Witness
from lib.wire_client import eventually, request

LEASES = 100000
LATE_MS_MAX = 50 * 20 * TIME_FACTOR  # the target is 20 ms


@pytest.mark.parametrize("threads", ["1", "2"])
def test_100000_leases_that_end_in_a_second_end_in_time_without_delays(threads):
    requests = b"".join(request("l", f"lease-{number}", "0 1") for number in range(LEASES))

    def take_all(holder):
        feeder = threading.Thread(target=holder.send, args=(requests,))
        begin = time.monotonic()
        feeder.start()
        answers = 0
        while answers < LEASES:
            answers += holder.socket.recv(1 << 20).count(b"\n")
        feeder.join()
        return time.monotonic() - begin

    def fault():
        # The witness's leases expire all the time, each with a waiter.
        witness = Witness(test.server, seconds=3, keys=100, connections=600, run_out=9000,
                          lease=1).start()
        time.sleep(0.5)
        with test.client() as holder:
            taken = take_all(holder)
            time.sleep(1)
            eventually(lambda: not any(lock["key"].startswith("lease-") for lock in
                                       holder.stats()["locks"]), LATE_MS_MAX / 1000)
        witness.check(grants=100)
        assert witness.figures["run_outs"] >= 10, witness.output
        assert witness.figures["late_us"] <= 1000 * LATE_MS_MAX, witness.output
        return {"granted in": f"{taken:.2f} s",
                "at most late": f"{witness.figures['late_us']} us of "
                                f"{witness.figures['run_outs']}"}

    with FaultTest("--threads", threads, "--max-locks", "200000") as test:
        test.warm_up(fault)
        test.measure(f"100,000 leases end in a second, {threads} threads", fault,
                     memory_kib=8192)
