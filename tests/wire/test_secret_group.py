"""Secrets in files that only root and a group can read, as tools/dist/README.md recommends for the
unit: the server reads them through the group, also at a reload, and in a user namespace.

The dynamic user, the supplementary group and the namespace are those that systemd would give by
DynamicUser=, SupplementaryGroups= and PrivateUsers=; no test starts systemd."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from lib.server import BINARY, ROOT
from lib.wire_client import Client, eventually
from startup import ServerAsGiven

DIST = ROOT / "tools" / "dist"
TEXTS = [DIST / "README.md", DIST / "dflockd.service", ROOT / "tools/man/dflockd.8.in"]
USER, GROUP = 61500, 61501  # no account has these numbers
AS_SERVICE = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--bounding-set=-all",
              "--inh-caps=-all"]
NAMESPACE = ["unshare", "--user", "--map-current-user"]


def starts(*command):
    return shutil.which(command[0]) is not None and \
        subprocess.run(command, capture_output=True, check=False).returncode == 0


as_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"),
                             reason="needs root and setpriv")
each_place = pytest.mark.parametrize("namespace", [
    pytest.param([], id="host"),
    pytest.param(NAMESPACE, id="user-namespace", marks=pytest.mark.skipif(
        not starts(*NAMESPACE, "true"), reason="no user namespaces"))])


@contextmanager
def folder_of_the_group():
    """Yields a folder of root and GROUP, and a copy of the server that all users can run."""
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        program = Path(top) / "dflockd"
        shutil.copy(BINARY, program)
        program.chmod(0o755)
        folder = Path(top) / "etc"
        subprocess.run(["install", "-d", "-m", "0750", "-g", str(GROUP), folder], check=True)
        yield folder, program


def install(secret, path):
    """The command of the README, with a number for the group."""
    subprocess.run(["install", "-m", "0640", "-g", str(GROUP), "/dev/stdin", path],
                   input=secret, text=True, check=True)


def accepts(server, secret):
    with Client(server) as client:
        return client.call("auth", "_", secret) == "ok"


def service(program, path, groups, namespace):
    server = ServerAsGiven(environment={"DFLOCKD_AUTH_TOKEN_FILE": str(path)})
    server.command = [*AS_SERVICE, *groups, *namespace, str(program), "--port=0",
                      "--read-timeout=1"]
    return server


@as_root
@each_place
def test_a_reload_reads_a_new_secret_through_the_group(namespace):
    with folder_of_the_group() as (folder, program):
        path = folder / "auth-token"
        install("first\n", path)
        with service(program, path, [f"--groups={GROUP}"], namespace) as server:
            assert accepts(server, "first")
            install("second\n", path)
            server.terminate(signal.SIGHUP)
            eventually(lambda: any("secret reloaded" in line for line in server.log))
            assert accepts(server, "second")
            eventually(lambda: not accepts(server, "first"))


@as_root
@each_place
def test_other_users_cannot_read_the_secret(namespace):
    with folder_of_the_group() as (folder, program):
        path = folder / "auth-token"
        install("first\n", path)
        done = subprocess.run([*AS_SERVICE, "--clear-groups", *namespace, program, "--port=0",
                               "--check", f"--auth-token-file={path}"],
                              capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1 and "Permission denied" in done.stderr, done


# ---- the texts ----


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_texts_recommend_the_group_and_a_restart_for_loaded_credentials(path):
    text = path.read_text(encoding="utf-8")
    # systemd refuses a group with the name of the unit's dynamic user.
    groups = re.findall(r"(?:SupplementaryGroups=|groupadd --system )(\S+)", text)
    assert len(groups) == 2 and set(groups) == {"dflockd-secrets"}
    assert "AUTH_TOKEN_FILE=/etc/dflockd/auth-token" in text
    assert "AUTH_TOKEN_FILE=%d" not in text
    after = text[text.index("LoadCredential="):][:600]
    assert "restart" in after
