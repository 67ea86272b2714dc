"""README's example of HTTP works as it is printed."""

import re
import shutil
import subprocess

import pytest
from lib.http_client import HttpServer, Session
from lib.server import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MANUAL = (ROOT / "tools/man/dflockd-http.7").read_text(encoding="ascii")

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="no curl")


def example():
    blocks = [block for block in re.findall(r"```bash\n(.*?)```", README, re.S) if "curl" in block]
    assert len(blocks) == 1
    return blocks[0]


def run(script, server, folder):
    address = f"http://{server.http_host}:{server.http_port}"
    changed = script.replace("http://127.0.0.1:8080", address)
    assert changed != script
    return subprocess.run(["bash", "-eu", "-c", changed], capture_output=True, text=True,
                          check=False, cwd=folder, timeout=60)


@needs_curl
def test_the_example_of_readme_works(tmp_path):
    with HttpServer() as server:
        done = run(example(), server, tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done
        acquired, renewed, shown = done.stdout.splitlines()
        assert re.fullmatch(r'\{"status":"ok","token":"[0-9a-f]{32}","lease_ttl_s":60\}', acquired)
        assert renewed == '{"remaining_s":33}'
        assert '"holder_count":1' in shown


def manual_lines():
    """The commands of the manual's examples; the session is deleted at the end."""
    blocks = re.findall(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed", MANUAL, re.S | re.M)
    lines = re.findall(r"^\$ ((?:.*\\\n)*.*)$", "".join(blocks).replace("\\e\n", "\\\n"), re.M)
    assert len(lines) == 10
    return sorted(lines, key=lambda line: "DELETE" in line)


@needs_curl
def test_the_examples_of_the_manual_work(tmp_path):
    """With this server's session, token and fence instead of the printed ones."""
    secret = "adm1n"
    printed = {name: re.search(rf'"{name}":"([0-9a-f]+)"', MANUAL)[1]
               for name in ("session_id", "token", "fence")}
    real, variables = {}, [f"secret={secret}"]
    with HttpServer("--admin-token", secret) as server, Session(server) as other:
        for line in manual_lines():
            if "/revoke" in line:
                real["fence"] = other.acquire("deploy")[:16]
            for name, value in real.items():
                line = line.replace(printed[name], value)
            if re.match(r"\w+=", line):
                variables.append(line)
                continue
            done = run("\n".join([*variables, line.replace("curl ", "curl -sSf ")]), server,
                       tmp_path)
            assert (done.returncode, done.stderr) == (0, ""), (line, done)
            for name in ("session_id", "token"):
                if found := re.search(rf'"{name}":"([0-9a-f]+)"', done.stdout):
                    real.setdefault(name, found[1])
