"""Floods: garbage, long lines, more requests than buffers, keys that collide."""

import random
import threading

import pytest
from collisions import FAMILIES
from crowd import Crowd
from fault_test import FaultTest, record
from lib.process import cpu_ns
from lib.wire_client import CLOSED, MEGABYTE, RESET, Client, request

# A family that the table's hash did not scatter would cost a walk over all earlier keys.
COLLIDING_COST_MAX = 3


def test_megabytes_of_garbage_do_not_harm_other_clients(seed):
    chance = random.Random(seed)
    whole = [chance.randbytes(MEGABYTE) for _ in range(4)]
    # Without newlines it is one long line; with more of them, many short requests.
    lines = [bytes(byte if byte % 8 else 10 for byte in data) for data in whole[:2]]

    def throw(data):
        for part in range(0, len(data), 65536):
            with Client(test.server) as client:
                client.send(data[part:part + 65536])
                client.fin()
                while isinstance(client.read_line(), bytes):
                    pass
                assert client.end in (CLOSED, RESET)

    def fault():
        throwers = [threading.Thread(target=throw, args=(data,)) for data in whole + lines]
        for thrower in throwers:
            thrower.start()
        for thrower in throwers:
            thrower.join()
        return {"megabytes": len(throwers)}

    with FaultTest() as test:
        test.warm_up(fault)
        test.measure("garbage", fault)


@pytest.mark.parametrize("before", ["", "l\n", "l\nkey\n"], ids=["command", "key", "arg"])
def test_lines_of_64_kib_on_500_connections_get_an_error_each(before):
    def fault(count=500):
        with Crowd(test.server) as crowd:
            crowd.do("connect", count)
            assert crowd.do("send", before + "x" * 65536 + "\n") == [count]
            words = crowd.count_words("answers", 2, 20)
        assert words == {"error": count, "(closed)": count}, words

    with FaultTest() as test:
        test.warm_up(fault)
        test.measure(f"500 lines of 64 KiB as {'key' if before == 'l' else before!r}", fault)


def test_clients_that_send_at_full_speed_delay_others_little():
    def fault(seconds=4):
        with Crowd(test.server, processes=2) as crowd:
            crowd.do("connect", 8)
            results = crowd.do("blast", "ping\n_\n\n", seconds)
        sent = sum(result["sent"] for result in results)
        assert sum(result["answered"] for result in results) == sent
        return {"requests": sent}

    with FaultTest() as test:
        test.warm_up(lambda: fault(1))
        test.measure("16 connections blast pings", fault)


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_collide_under_a_common_hash_cost_no_extra_time(family, seed):
    """Compares the processor time for the same number of locks held at once."""
    keys = FAMILIES[family]()
    chance = random.Random(seed)
    length = len(keys[0])
    others = [b"%0*x" % (length, chance.getrandbits(4 * length)) for _ in keys]
    assert len(set(keys)) == len(set(others)) == len(keys) >= 10000

    def cost_us(names):
        with Client(test.server) as client:
            before_ns = cpu_ns(test.server)
            requests = b"".join(request("l", name, "0 600") for name in names)
            feeder = threading.Thread(target=client.send, args=(requests,))
            feeder.start()
            for name in names:
                assert client.read_line().startswith(b"ok "), name
            feeder.join()
            spent_ns = cpu_ns(test.server) - before_ns
        test.settle()
        return spent_ns / 1000 / len(names)

    with FaultTest("--max-locks", "100000") as test:
        cost_us(others)
        usual = min(cost_us(others) for _ in range(3))
        colliding = min(cost_us(keys) for _ in range(3))
        record(f"{len(keys)} keys that collide under {family}", usual=f"{usual:.2f} us",
               colliding=f"{colliding:.2f} us", times=f"{colliding / usual:.2f}")
        assert colliding <= COLLIDING_COST_MAX * usual
