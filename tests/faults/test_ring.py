"""The limits of a worker's ring: receive buffers and completions. One worker reaches them."""

import pytest
from crowd import Crowd
from fault_test import FaultTest
from lib.wire_client import request

BUFFERS = 512
COMPLETIONS = 8192


def test_more_readable_sockets_than_receive_buffers_are_all_served():
    requests = 100  # 4 KiB for each connection: one buffer

    def fault(count=4 * BUFFERS):
        text = (request("l", "own-{n}-" + "k" * 20, "0 600") + request("ping")).decode()
        with Crowd(test.server) as crowd:
            crowd.do("connect", count)
            for _ in range(5):
                with test.server.stopped():
                    crowd.do("send", text, requests)
                words = crowd.count_words("answers", 2 * requests, 60)
                # The first `l` of each gets the key; the others time out.
                assert words["ok"] + words["timeout"] == 2 * requests * count, words
        return {"connections": count}

    with FaultTest("--threads", "1", "--max-locks", "10000") as test:
        test.warm_up(lambda: fault(BUFFERS))
        # The bystanders wait while the server is stopped.
        test.measure("2,048 sockets readable at once, 512 buffers", fault,
                     others={"p99_ms": 20000, "worst_ms": 20000}, memory_kib=4096)


@pytest.mark.parametrize("text, answer", [
    (request("ping").decode(), {"ok": 12000}),
    (request("l", "own-{n}", "0 600").decode(), {"ok": 12000}),
    (request("l", "shared", "0 600").decode(), {"ok": 2, "timeout": 11998})],
    ids=["ping", "own keys", "one key"])
def test_more_completions_than_the_queue_holds_lose_nothing(text, answer):
    def fault(count=12000):
        assert count > COMPLETIONS
        with Crowd(test.server, processes=2) as crowd:
            crowd.do("connect", count // 2)
            with test.server.stopped():
                crowd.do("send", text)
            words = crowd.count_words("answers", 1, 60)
            if "{n}" in text:  # two processes with the same numbers
                words = {"ok": words["ok"] + words.pop("timeout", 0)}
            assert sum(words.values()) == count and set(words) <= set(answer), words
            if "shared" in text:
                assert words["ok"] == 1, words
            # Again at once, by closing.
            with test.server.stopped():
                crowd.kill()
        return {"connections": count}

    with FaultTest("--threads", "1", "--max-locks", "20000") as test:
        test.warm_up(fault)
        test.measure(f"12,000 completions at once: {text.split()[0]} {text.split()[1]}", fault,
                     others={"p99_ms": 20000, "worst_ms": 20000}, memory_kib=8192)
