"""Long queues: thousands of waiters leave at once, or hand a lock on."""

import pytest
from crowd import Crowd
from fault_test import FaultTest
from lib.wire_client import eventually, request


@pytest.mark.parametrize("how", ["kill", "close"])
def test_10000_waiters_that_leave_one_key_at_once_cause_no_delays(how):
    def fault(count=10000):
        with Crowd(test.server, processes=2) as crowd, test.client() as holder, \
                test.client() as heir:
            token = holder.acquire("queue", "0 600")
            crowd.do("connect", count // 2)
            crowd.do("send", "l\nqueue\n600\n")
            eventually(lambda: holder.stats()["locks"] and any(
                lock["waiters"] == count for lock in holder.stats()["locks"]))
            assert heir.call("e", "queue") == "queued"
            if how == "kill":
                crowd.kill()
            else:
                crowd.do("leave", how)
            eventually(lambda: [lock["waiters"] for lock in holder.stats()["locks"]
                                if lock["key"] == "queue"] == [1])
            assert holder.call("r", "queue", token) == "ok"
            assert heir.call("w", "queue", "10").startswith("ok ")
        return {"waiters": count}

    with FaultTest() as test:
        test.warm_up(fault)
        test.measure(f"10,000 waiters leave at once by {how}", fault, memory_kib=4096)


def test_a_lock_goes_through_5000_waiters_in_their_order():
    def fault(count=5000):
        with Crowd(test.server) as crowd, test.client() as holder:
            token = holder.acquire("chain", "0 600")
            crowd.do("connect", count)
            assert crowd.do("enqueue", "chain") == [count]
            crowd.start("hand_on", "chain", 60)
            assert crowd.members[0].stdout.readline() == "waiting\n"
            assert holder.call("r", "chain", token) == "ok"
            result = crowd.results()[0]
            assert result["order"] == list(range(count))
            assert result["released"] == count
            assert holder.call("l", "chain", "0").startswith("ok ")
        return {"waiters": count, "a hand-over": f"{result['us']:.0f} us"}

    with FaultTest() as test:
        test.warm_up(lambda: fault(1000))
        test.measure("a chain through 5,000 waiters", fault, memory_kib=4096)


def test_one_release_causes_10000_grants():
    """The end of one holder of 10,000 locks grants each of them to its waiter."""
    count = 10000

    def fault():
        with Crowd(test.server) as crowd, test.client() as holder:
            holder.send(b"".join(request("l", f"key-{number}", "0 600")
                                 for number in range(count)))
            assert all(holder.read_line().startswith(b"ok ") for _ in range(count))
            crowd.do("connect", count)
            crowd.do("send", "l\nkey-{n}\n60\n")
            eventually(lambda: sum(lock["waiters"] for lock in
                                   holder.stats()["locks"]) == count)
            holder.close()
            words = crowd.count_words("answers", 1, 30)
            assert words == {"ok": count}, words

    with FaultTest("--max-locks", "20000") as test:
        test.warm_up(fault)
        test.measure("10,000 grants caused by one close", fault, memory_kib=4096)
