"""libdflockd(3) agrees with the header: functions, statuses, structures. Its example works."""

import os
import re
import subprocess

import pytest
from lib.server import ROOT, Server
from programs import BUILD

HEADER = re.sub(r"/\*.*?\*/", "",
                (ROOT / "include/dflockd/client.h").read_text(encoding="utf-8"), flags=re.S)
PAGE = (ROOT / "tools/man/libdflockd.3").read_text(encoding="utf-8")

# A sanitized library needs a sanitized program.
SANITIZE = [f"-fsanitize={os.environ['SANITIZE']}"] if os.environ.get("SANITIZE") else []


def plain(text):
    return " ".join(text.replace("*", " * ").split())


def declared():
    found = re.findall(r"^(?:static inline )?([a-z][\w *]*?)(dflockd_\w+)\(([^)]*)\)(?:;|$)",
                       HEADER, re.M)
    assert len(found) > 30
    return sorted(plain(f"{kind} {name} ( {' , '.join(arguments.split(','))} )")
                  for kind, name, arguments in found if not kind.startswith("typedef"))


def shown():
    found = []
    synopsis = PAGE.split(".Sh DESCRIPTION")[0]
    for kind, call in re.findall(r'^\.Ft (.*)\n(\.Fn .*|\.Fo (?:.*\n)+?\.Fc)', synopsis, re.M):
        name = call.split()[1]
        arguments = re.findall(r'"([^"]*)"', call.replace("\\:", ""))  # a place to break the line
        kind = kind.strip('"')
        found.append(plain(f"{kind} {name} ( {' , '.join(arguments)} )"))
    return sorted(found)


def test_every_function_is_shown_as_it_is_declared_and_no_other():
    assert shown() == declared()


def test_every_function_is_explained():
    text = PAGE.split(".Sh DESCRIPTION")[1]
    explained = set(re.findall(r"\bFn (dflockd_\w+)", text))
    assert explained == {line.split(" (")[0].split()[-1] for line in declared()}


def test_every_status_has_its_text_and_no_other():
    table = re.search(r"#define DFLOCKD_STATUSES\(X\)((?:.*\\\n)*.*)", HEADER)[1]
    expected = re.findall(r'X\((\w+), "([^"]*)"\)', table)
    found = re.findall(r"^\.It Dv DFLOCKD_STATUS_(\w+)\n(.*)\.$", PAGE, re.M)
    assert [(name, text.lower().replace("\\-", "-")) for name, text in found] == \
        [(name, text.lower()) for name, text in expected]


def test_every_member_of_the_options_is_explained_and_no_other():
    members = set()
    for name in ("dflockd_options", "dflockd_lock_options"):
        body = re.search(rf"struct {name} {{(.*?)\n}};", HEADER, re.S)[1]
        body = re.sub(r"\(\*(\w+)\)\([^)]*\)", r" \1", body)
        members |= set(re.findall(r"(\w+);", body))
    explained = re.findall(r"^\.It Fa (.*)$", PAGE, re.M)
    assert {name for line in explained for name in line.split(" , ")} == members


def members_of(text, name):
    body = re.search(rf"^struct {name} {{(.*?)\n}};", text, re.M | re.S)[1]
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    return [plain(member) for member in body.split(";")]


@pytest.mark.parametrize("name", [
    "dflockd_options", "dflockd_lock_options", "dflockd_request", "dflockd_reply"])
def test_every_structure_is_shown_as_it_is_declared(name):
    declared_members = [member.replace(
        "dflockd_shard_function * shard",
        plain("size_t (*shard)(void *context, const char *key, size_t server_count)"))
        for member in members_of(HEADER, name)]
    assert members_of(PAGE, name) == declared_members


def run_example(folder, source, server):
    """Builds an example that is for the default port, and runs it with `server`."""
    source = source.replace("dflockd_options_init(&options);", "dflockd_options_init(&options);"
                            f'const char *server = "{server}";'
                            "options.servers = &server; options.server_count = 1;")
    (folder / "example.c").write_text(source, encoding="ascii")
    subprocess.run(["gcc", "-Wall", "-Werror", *SANITIZE, "-I", ROOT / "include", "-o",
                    folder / "example", folder / "example.c", BUILD / "libdflockd.so.0",
                    f"-Wl,-rpath,{BUILD}"], check=True)
    return subprocess.run([folder / "example"], capture_output=True, text=True, check=False,
                          timeout=20)


def page_example():
    source = re.search(r"\.Bd -literal -offset indent\n(#include.*?)\.Ed", PAGE, re.S)[1]
    return source.replace("\\e", "\\")


def test_the_example_holds_a_lock(tmp_path):
    with Server() as server:
        done = run_example(tmp_path, page_example(), f"127.0.0.1:{server.port}")
    assert re.fullmatch(r"alone, fence [1-9]\d*\n", done.stdout)
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("server", ["127.0.0.1:99999", "127.0.0.1:1"])
def test_the_examples_report_a_failure(tmp_path, server):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for source in (page_example(), re.search(r"```c\n(.*?)```", readme, re.S)[1]):
        done = run_example(tmp_path, source, server)
        assert (done.returncode, done.stdout) == (1, "") and done.stderr.strip()


def test_the_examples_report_a_wrong_key(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for source in (page_example(), re.search(r"```c\n(.*?)```", readme, re.S)[1]):
        done = run_example(tmp_path, re.sub(r'"deploy"|"my-key"', '"my key"', source), "localhost")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "an argument is out of range\n"
