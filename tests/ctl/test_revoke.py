"""`revoke`: only what was shown is taken away, and only by an administrator."""

import json

import pytest
from ctl import LOST, REFUSED, STRANGE, TIMED_OUT, USAGE, Running, Terminal, address, ctl
from lib.older_server import OlderServer
from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.wire_client import Client, eventually

SECRET = "administrator"
DECLINED = 130
ADMIN = {"DFLOCKD_AUTH_TOKEN": SECRET}


@pytest.fixture
def server():
    with Server("--threads", "1", "--default-lease-ttl", "3", "--admin-token", SECRET) as running:
        yield running


@pytest.fixture
def holder(server):
    """A client named "night job" that holds `key`, and its token."""
    with Client(server) as client:
        assert client.call("name", "_", "night job") == "ok"
        yield client, client.acquire("key", "0 1000")


def revoke(server, *arguments, secret=SECRET):
    return ctl(server, "revoke", *arguments, variables={"DFLOCKD_AUTH_TOKEN": secret})


def is_held(grant):
    client, token = grant
    return client.call("n", "key", f"{token} 1000").startswith("ok ")


def readers(clients, key="key"):
    """The fences of shared grants to the clients, in their order."""
    replies = [client.call("rl", key, "0 1000") for client in clients]
    assert all(reply.startswith("ok ") for reply in replies)
    return [reply.split()[1] for reply in replies]


# ---- what is revoked ----

def test_revoke_hands_the_lock_to_the_next_waiter(server, holder):
    with Client(server) as waiter:
        assert waiter.call("e", "key") == "queued"
        done = revoke(server, "key", "--yes")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(
            f"revoked: lock key, fence {holder[1][:16]}, held by night job 127.0.0.1:")
        assert not is_held(holder)
        assert waiter.call("w", "key", "5").startswith("ok ")


def test_revoke_ends_the_command_of_a_lock(server):
    with Running(server, "lock", "key", "--", "sh", "-c", "echo held; sleep 30") as running:
        assert running.line() == "held"
        assert revoke(server, "key", "-y").returncode == 0
        status, _, errors = running.finish()
    assert status == LOST and "an administrator revoked it" in errors


def test_revoke_takes_the_slot_of_a_semaphore(server):
    with Client(server) as client:
        token = client.call("sl", "key", "0 1 1000").split()[1]
        assert revoke(server, "key", "--yes").stdout.startswith("revoked: semaphore key, fence ")
        assert client.call("sn", "key", token) == "error"


@pytest.mark.parametrize("spell", [str, str.upper, lambda text: str(int(text, 16))],
                         ids=["as shown", "upper case", "decimal"])
def test_one_of_several_holders_is_named_by_its_fence(server, spell):
    with Client(server) as first, Client(server) as second:
        tokens = readers([first, second])
        done = revoke(server, "key", "--fence", spell(tokens[1][:16]), "--yes")
        assert done.returncode == 0 and done.stdout.count("\n") == 1
        assert is_held((first, tokens[0])) and not is_held((second, tokens[1]))


def test_several_holders_need_a_fence(server):
    with Client(server) as first, Client(server) as second:
        tokens = readers([first, second])
        done = revoke(server, "key", "--yes")
        assert done.returncode == USAGE and "give --fence, or --all" in done.stderr
        assert all(token[:16] in done.stdout for token in tokens)
        assert is_held((first, tokens[0])) and is_held((second, tokens[1]))


def test_a_lock_and_a_semaphore_of_one_key_need_a_fence(server, holder):
    client, token = holder
    slot = client.call("sl", "key", "0 2 1000").split()[1]
    assert revoke(server, "key", "--yes").returncode == USAGE
    assert revoke(server, "key", "--yes", "--fence", slot[:16]).returncode == 0
    assert is_held(holder) and client.call("sn", "key", slot) == "error"


def test_all_holders_are_revoked_on_request(server):
    with Client(server) as first, Client(server) as second, Client(server) as writer:
        tokens = readers([first, second])
        assert writer.call("e", "key") == "queued"
        done = revoke(server, "key", "--all", "--yes")
        assert (done.returncode, done.stderr, done.stdout.count("revoked: ")) == (0, "", 2)
        assert not is_held((first, tokens[0])) and not is_held((second, tokens[1]))
        assert writer.call("w", "key", "5").startswith("ok ")


def test_holders_that_the_server_does_not_list_are_reported(server):
    clients = [Client(server) for _ in range(103)]
    tokens = readers(clients)
    done = revoke(server, "key", "--yes", "--fence", tokens[101][:16])
    assert done.returncode == 0 and not is_held((clients[101], tokens[101]))
    done = revoke(server, "key", "--yes", "--fence", "1" * 16)
    assert done.returncode == REFUSED and "no such grant, the server has no --a" in done.stderr
    done = revoke(server, "key", "--all", "--yes")
    assert done.returncode == TIMED_OUT and "2 more held it; run it again" in done.stderr
    assert done.stdout.count("revoked: ") == 100
    assert is_held((clients[100], tokens[100])) and is_held((clients[102], tokens[102]))
    assert revoke(server, "key", "--all", "--yes").returncode == 0
    for client in clients:
        client.close()


def test_revoke_asks_the_server_of_the_key(server):
    with Server("--admin-token", SECRET) as other, Client(server) as one, Client(other) as two:
        for key in ("a", "b", "c", "d"):
            tokens = {address(server): one.acquire(key), address(other): two.acquire(key)}
            shard = ctl([server, other], "shard", key).stdout.strip()
            done = revoke([server, other], key, "--yes")
            assert f"fence {tokens[shard][:16]}" in done.stdout


# ---- the question ----

def asked(server, *arguments):
    return Terminal(server, "revoke", *arguments, variables=ADMIN, columns=200)


def test_revoke_asks_on_a_terminal(server, holder):
    with asked(server, "key") as terminal:
        terminal.see("revoke the lock 'key' held by night job 127.0.0.1:",
                     f"(fence {holder[1][:16]})? [y/N]")
        assert is_held(holder)
        terminal.type(b"y\n")
        assert terminal.finish() == 0
        assert "revoked: lock key" in terminal.text()
    assert not is_held(holder)


@pytest.mark.parametrize("answer", [b"\n", b"n\n", b"yesterday\n", b"\x04"])
def test_any_other_answer_revokes_nothing(server, holder, answer):
    with asked(server, "key") as terminal:
        terminal.see("[y/N]")
        terminal.type(answer)
        assert terminal.finish() == DECLINED
        assert "nothing is revoked" in terminal.text()
    assert is_held(holder)


def test_all_holders_are_shown_before_the_question(server):
    with Client(server) as first, Client(server) as second:
        tokens = readers([first, second])
        with asked(server, "key", "--all") as terminal:
            terminal.see(*(token[:16] for token in tokens), "revoke all 2 grants of 'key'? [y/N]")
            terminal.type(b"yes\n")
            assert terminal.finish() == 0
        assert not is_held((first, tokens[0])) and not is_held((second, tokens[1]))


def test_a_holder_that_came_after_the_question_keeps_the_lock(server, holder):
    client, token = holder
    with Client(server) as next_one, asked(server, "key") as terminal:
        terminal.see("[y/N]")
        assert client.call("r", "key", token) == "ok"
        later = next_one.acquire("key", "0 1000")
        terminal.type(b"y\n")
        assert terminal.finish() == LOST
        assert f"no longer held with the fence {token[:16]}" in terminal.text()
        assert is_held((next_one, later))


def test_without_a_terminal_revoke_needs_yes(server, holder):
    done = ctl(server, "revoke", "key", variables=ADMIN, input="y\n")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "cannot ask without a terminal; confirm with --yes" in done.stderr
    assert is_held(holder)


# ---- refusals ----

def test_only_an_administrator_revokes(holder, server):
    done = ctl(server, "revoke", "key", "--yes")
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert "'key': the server has no --admin-token, or the secret is another one; give the " \
           "secret of the server's --admin-token with --auth-token-file" in done.stderr
    assert is_held(holder)
    done = revoke(server, "key", "--yes", secret="wrong")
    assert done.returncode == REFUSED and "--auth-token-file" in done.stderr and is_held(holder)


def test_a_server_without_administrators_is_reported():
    with Server() as server, Client(server) as client:
        client.acquire("key", "0 1000")
        done = ctl(server, "revoke", "key", "--yes")
        assert done.returncode == REFUSED and "the server has no --admin-token, or" in done.stderr
        done = revoke(server, "key", "--yes")
    assert done.returncode == REFUSED
    assert done.stderr.endswith(": the server does not use a secret; revoke needs a server with "
                                "--admin-token\n")


def test_an_ordinary_secret_does_not_revoke(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n", encoding="ascii")
    with Server("--auth-token", "ordinary", "--admin-token", SECRET) as server:
        with Running(server, "lock", "key", variables={"DFLOCKD_AUTH_TOKEN": "ordinary"}) as run:
            assert len(run.line()) == 32
            done = revoke(server, "key", "--yes", secret="ordinary")
            assert done.returncode == REFUSED and "secret is another one" in done.stderr
            done = ctl(server, "revoke", "key", "--yes", "--auth-token-file", str(secret))
            assert done.returncode == 0


def test_a_key_that_nobody_holds_is_reported(server, holder):
    done = revoke(server, "other", "--yes")
    assert (done.returncode, done.stdout) == (LOST, "")
    assert done.stderr == "dflockctl: 'other': nobody holds it\n"
    done = revoke(server, "key", "--yes", "--fence", "00000000000000ff")
    assert done.returncode == LOST and "no holder has the fence 00000000000000ff" in done.stderr
    assert is_held(holder)


@pytest.mark.parametrize("arguments, wanted", [
    (("--fence", "xyz"), "--fence: 'xyz' is not a fence"), (("--fence", ""), "--fence: ''"),
    (("--fence", "0"), "--fence: '0'"), (("--fence", "1" * 21), "--fence: '111"),
    (("--fence", "-1"), "--fence: '-1'"), (("--fence", "0x12345678901234"), "--fence: '0x"),
    (("--fence", "1", "--all"), "--all: cannot be combined with --fence")])
def test_a_wrong_fence_is_reported(arguments, wanted):
    done = ctl((), "revoke", "key", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (USAGE, 1)
    assert done.stderr.startswith("dflockctl: " + wanted)


def without_revoke(server):
    done = ctl(server, "revoke", "key", "--yes")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (STRANGE, "", 1)
    assert "this server does not support revoke" in done.stderr


def test_an_older_server_is_reported():
    with OlderServer() as older:
        without_revoke(older.address)
        assert "revoke" not in older.commands


def test_the_original_server_is_reported():
    with OriginalServer(original_python_or_skip()) as original:
        without_revoke(original)


def test_the_server_logs_who_revoked(server, holder):
    assert revoke(server, "key", "--yes").returncode == 0
    eventually(lambda: any("revoked" in line for line in server.log))
    assert json.dumps(SECRET)[1:-1] not in "".join(server.log)
