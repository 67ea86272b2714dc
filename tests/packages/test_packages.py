"""The source archive and the Debian packages: they build, install, serve, and purge completely.

The tests install packages and remove them. Run them as root on a machine for this only; they are
skipped on a machine that has any file of dflockd."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from lib.server import BINARY, ROOT, Server

BUILD = BINARY.parent
STATE = Path("/var/lib/dflockd")
DEFAULTS = Path("/etc/default/dflockd")
UNITS = Path("/lib/systemd/system")
VERSION = re.search(r'DFLOCKD_VERSION "(.*)"',
                    (ROOT / "include/dflockd/version.h").read_text(encoding="ascii"))[1]
MINUTES = 60
# Caches and logs of other programs, and dpkg's own records, which are checked separately.
OTHERS = ("/var/cache", "/var/log", "/var/tmp", "/var/lib/apt", "/var/lib/dpkg")


def skip_reason():
    if os.geteuid() != 0:
        return "needs root, to install packages"
    if not shutil.which("apt-get"):
        return "needs apt-get"
    left = [str(path) for path in (STATE, DEFAULTS, Path("/usr/bin/dflockd")) if path.exists()]
    if left or known_to_dpkg():
        return f"this machine has a dflockd already: {', '.join(left + known_to_dpkg())}"
    return None


def run(*command, cwd=ROOT, minutes=1, **options):
    done = subprocess.run(list(map(str, command)), cwd=cwd, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, timeout=minutes * MINUTES,
                          **options)
    if done.returncode != 0:
        pytest.fail(f"{shlex.join(map(str, command))}:\n{done.stdout[-3000:]}", pytrace=False)
    return done.stdout


def known_to_dpkg():
    """Our packages that are installed, or removed but not purged."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Source}\n"], capture_output=True,
                          text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [row[0] for row in rows if row[-1] == "dflockd"]


pytestmark = pytest.mark.skipif(bool(skip_reason()), reason=str(skip_reason()))


def make(*targets, cwd=ROOT, minutes=15):
    """Runs make as from a shell, without the variables of a make above."""
    environment = {name: value for name, value in os.environ.items()
                   if not re.match("DFLOCKD|MAKE|MFLAGS", name)}
    return run("make", *targets, cwd=cwd, minutes=minutes, env=environment)


@pytest.fixture(scope="module")
def folder():
    make("deb", f"BUILD={BUILD}", minutes=25)
    return BUILD / "deb"


@pytest.fixture(scope="module")
def packages(folder):
    """The files of all packages except debug symbols, by name."""
    found = {file.name.split("_")[0]: file for file in folder.glob("*.deb")}
    return {name: file for name, file in found.items() if not name.endswith("-dbgsym")}


def contents(package):
    lines = run("dpkg-deb", "--contents", package).splitlines()
    return {line.split()[5].removeprefix(".") for line in lines}


def field(package, name):
    return run("dpkg-deb", "--field", package, name).strip()


# ---- contents ----

def test_the_packages_have_the_version_of_the_protocols_header(packages):
    for package in packages.values():
        assert field(package, "Version") == f"{VERSION}-0upstream1"


def test_lintian_finds_no_error_and_no_warning(folder):
    changes, = folder.glob("*.changes")
    output = run("lintian", "--allow-root", "--fail-on", "error,warning", changes)
    assert not re.search("^[EW]:", output, re.M), output


def test_the_server_comes_with_units_options_profile_and_pages(packages):
    assert contents(packages["dflockd"]) >= {
        "/usr/bin/dflockd", "/lib/systemd/system/dflockd.service",
        "/lib/systemd/system/dflockd.socket", "/etc/default/dflockd",
        "/usr/share/dflockd/seccomp.json", "/usr/share/dflockd/fail2ban/dflockd.conf",
        "/usr/share/man/man8/dflockd.8.gz", "/usr/share/man/man7/dflockd-protocol.7.gz"}


def test_every_program_comes_with_its_page_and_completion(packages):
    for package in packages.values():
        files = contents(package)
        for program in [Path(file).name for file in files if re.match("/usr/bin/.", file)]:
            assert any(re.fullmatch(rf"/usr/share/man/man[18]/{program}\.[18]\.gz", file)
                       for file in files)
            assert {f"/usr/share/bash-completion/completions/{program}",
                    f"/usr/share/zsh/vendor-completions/_{program}",
                    f"/usr/share/fish/vendor_completions.d/{program}.fish"} <= files


def test_every_installed_program_is_in_a_package(packages, tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr", f"BUILD={BUILD}", "-o", "all")
    programs = {file.name for file in (tmp_path / "usr/bin").iterdir()}
    packed = set().union(*(contents(package) for package in packages.values()))
    assert programs == {Path(file).name for file in packed if re.match("/usr/bin/.", file)}


def test_the_licence_of_the_packages_is_that_of_the_source():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    copyright_file = (ROOT / "tools/dist/debian/copyright").read_text(encoding="utf-8")
    text = re.sub(r"^ \.?", "", copyright_file.split("\nLicense: Expat\n")[-1], flags=re.M)
    assert text.split() == licence.split("\n", 4)[4].split()
    assert re.search(r"Copyright \(c\) (.*)", licence)[1] in copyright_file


# ---- installation, upgrade, removal ----

def files_of_the_machine():
    found = set()
    for top in ("/etc", "/opt", "/srv", "/usr", "/var", "/lib/systemd"):
        for place, folders, files in os.walk(top):
            if place.startswith(OTHERS) or "__pycache__" in place:
                folders.clear()
                continue
            found.update(os.path.join(place, name) for name in (*folders, *files))
    return {path for path in found if "__pycache__" not in path and not path.startswith(OTHERS)}


def environment_of_the_unit():
    """The environment that systemd would give the server: the unit's variables, then the file's."""
    text = (UNITS / "dflockd.service").read_text(encoding="ascii")
    assert "EnvironmentFile=-/etc/default/dflockd\n" in text
    pairs = re.findall(r"^Environment=(\w+)=(.*)$", text, re.M)
    pairs = [(name, value.replace("%S", "/var/lib")) for name, value in pairs]
    pairs += re.findall(r"^(\w+)=(.*)$", DEFAULTS.read_text(encoding="utf-8"), re.M)
    return dict(pairs)


class Installed(Server):
    """The server with the command and environment of its unit, and without capabilities. (systemd
    would mount the private directory for its user; here the server is its owner.)"""

    def __init__(self):
        super().__init__(environment=environment_of_the_unit())
        unit = (UNITS / "dflockd.service").read_text(encoding="ascii")
        program = shlex.split(re.search(r"^ExecStart=(.*)$", unit, re.M)[1])
        self.command = ["setpriv", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
                        "--no-new-privs", *program]


def ask_by_nc(port, request):
    return run("nc", "-N", "127.0.0.1", str(port), input=request)


def set_option(variable, value):
    text = DEFAULTS.read_text(encoding="utf-8")
    assert f"#{variable}=" in text
    DEFAULTS.write_text(re.sub(rf"^#?{variable}=.*$", f"{variable}={value}", text, flags=re.M),
                        encoding="utf-8")


def keep_state():
    """Makes the directories of a unit with DynamicUser and StateDirectory, as systemd does."""
    private = Path("/var/lib/private/dflockd")
    made = not private.parent.exists()
    private.mkdir(mode=0o700, parents=True)
    STATE.symlink_to("private/dflockd")
    return private.parent if made else None


@pytest.fixture(scope="module")
def machine(packages):
    """The machine's files; removes our packages afterwards in any case."""
    before = files_of_the_machine()
    yield before
    if known_to_dpkg():
        run("dpkg", "--purge", *known_to_dpkg())


def test_packages_install_serve_upgrade_and_purge(packages, machine, tmp_path):
    install = ["dpkg", "--install", "--force-confold", *packages.values()]
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")

    run(*install, minutes=5, env=environment)
    for unit in ("dflockd.service", "dflockd.socket"):
        output = run("systemd-analyze", "verify", "--man=no", UNITS / unit)
        assert output == ""
    wanted = Path("/etc/systemd/system")
    assert (wanted / "multi-user.target.wants/dflockd.service").exists()
    assert not (wanted / "sockets.target.wants/dflockd.socket").exists()
    assert run("dflockd-bench", "--version").split() == ["dflockd-bench", VERSION]
    assert run("dflockctl", "shard", "key", "--servers", "one,two").strip()
    program = tmp_path / "events"
    run("sh", "-c", f"gcc -Wall -o {program} tools/examples/events.c"
        " $(pkg-config --cflags --libs libdflockd)")

    # The server uses the options of the file, and stores fences in the unit's directory.
    made = keep_state()
    set_option("DFLOCKD_PORT", "0")
    with Installed() as server:
        assert re.fullmatch(r"ok [0-9a-f]{32} 33\n", ask_by_nc(server.port, "l\nkey\n0\n"))
        assert re.fullmatch(r"\.*done, fence [1-9]\d+\n", run(program, f"127.0.0.1:{server.port}"))
        server.terminate()
        assert server.wait() == 0
    fences = (STATE / "fences").read_bytes()

    # Upgrade and removal keep options and state.
    run(*install, minutes=5, env=environment)
    assert "\nDFLOCKD_PORT=0\n" in DEFAULTS.read_text(encoding="utf-8")
    assert (STATE / "fences").read_bytes() == fences
    with Installed() as server:
        first = int(ask_by_nc(server.port, "l\nkey\n0\n").split()[1][:16], 16)
        assert first >= int.from_bytes(fences, "big")
    run("dpkg", "--remove", *packages)
    assert not Path("/usr/bin/dflockd").exists() and not (UNITS / "dflockd.service").exists()
    assert DEFAULTS.exists() and (STATE / "fences").exists()

    # A purge removes them.
    run("dpkg", "--purge", *packages)
    if made:
        made.rmdir()
    assert known_to_dpkg() == []
    assert list(Path("/var/lib/dpkg/info").glob("*dflockd*")) == []
    after = files_of_the_machine()
    assert sorted(after - machine) == [] and sorted(machine - after) == []


# ---- the source archive ----

def test_the_archive_builds_from_scratch_and_serves(tmp_path):
    archive = BUILD / f"dflockd-{VERSION}.tar.gz"
    make("dist", f"BUILD={BUILD}")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path)
        tops = {name.split("/")[0] for name in packed.getnames()}
    assert tops == {f"dflockd-{VERSION}"}
    source = tmp_path / f"dflockd-{VERSION}"
    make("-j2", cwd=source)
    with Server(binary=source / "build/dflockd") as server:
        assert ask_by_nc(server.port, "ping\n_\n_\n") == "ok\n"
    # The archive that it packs has the same bytes.
    make("dist", cwd=source)
    again = source / "build" / archive.name
    assert hashlib.sha256(again.read_bytes()).digest() == \
        hashlib.sha256(archive.read_bytes()).digest()
