"""The installed header, libraries and pkg-config file build a program. The examples run."""

import os
import re
import subprocess
import time
import zlib
from contextlib import ExitStack

import pytest
from clients import place as places
from lib.server import Server

TOKEN = "[0-9a-f]{32}"
# A sanitized library needs a sanitized program.
SANITIZE = [f"-fsanitize={os.environ['SANITIZE']}"] if os.environ.get("SANITIZE") else []
WARNINGS = ["-O2", "-Wall", "-Wextra", "-Werror", "-Wpedantic"]


def run(*command, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120,
                          check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def prefix(tmp_path_factory, root, build):
    """The prefix of a `make install`."""
    folder = tmp_path_factory.mktemp("installed")
    run("make", "-s", "install", f"PREFIX={folder}", f"BUILD={os.path.relpath(build, root)}",
        cwd=root)
    return folder


@pytest.fixture(scope="session")
def flags(prefix):
    """Runs pkg-config. Returns its output."""
    def flags(*options):
        environment = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "lib" / "pkgconfig"))
        return run("pkg-config", *options, "libdflockd", env=environment).split()
    return flags


@pytest.fixture(scope="session")
def compiled(tmp_path_factory, root, flags, prefix):
    """Compiles an example like a user."""
    def compiled(source, *more, name="program", linking=()):
        program = tmp_path_factory.mktemp("compiled") / name
        run("gcc", *WARNINGS, *SANITIZE, "-pthread", *more, "-o", program, source,
            *flags("--cflags"), *(linking or [*flags("--libs"), f"-Wl,-rpath,{prefix}/lib"]))
        return program
    return compiled


@pytest.fixture(scope="session")
def example(root, compiled):
    return lambda name: compiled(root / "tools" / "examples" / f"{name}.c")


def at(server):
    return f"127.0.0.1:{server.port}"


def answers(server, *lines):
    with server.connect() as connection:
        connection.sendall(("\n".join(lines) + "\n").encode())
        return connection.makefile().readline()


# ---- installed files ----

def test_pkg_config_has_version_and_paths(flags, prefix, root):
    header = (prefix / "include" / "dflockd" / "version.h").read_text()
    version = re.search(r'DFLOCKD_VERSION "(.*)"', header)
    assert flags("--modversion") == [version[1]]
    assert flags("--cflags", "--libs") == [f"-I{prefix}/include", f"-L{prefix}/lib", "-ldflockd"]


def declared(prefix):
    text = (prefix / "include" / "dflockd" / "client.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"static inline [^{]*", "", text)
    functions = r"(?<!typedef size_t )(?<!typedef void )\b(dflockd_\w+)\("
    return set(re.findall(functions, text))


def test_the_shared_library_exports_the_functions_of_the_header_with_versions(prefix):
    listed = run("readelf", "--dyn-syms", "--wide", prefix / "lib" / "libdflockd.so.0")
    symbol = r"(?:FUNC|OBJECT|NOTYPE)\s+(?:GLOBAL|WEAK)\s+DEFAULT\s+(?!UND)\w+\s+(\S+)"
    exported = set(re.findall(symbol, listed))
    names = {name.partition("@@")[0] for name in exported if not name.startswith("LIBDFLOCKD")}
    assert names == declared(prefix)
    assert all(name.endswith("@@LIBDFLOCKD_0.1") for name in exported
               if not name.startswith("LIBDFLOCKD"))
    assert "libdflockd.so.0" in run("readelf", "--dynamic", prefix / "lib" / "libdflockd.so.0")


def test_the_static_library_exports_no_other_symbols(prefix):
    listed = run("nm", "--defined-only", "--extern-only", "--format=posix",
                 prefix / "lib" / "libdflockd.a")
    names = {line.split()[0] for line in listed.splitlines() if len(line.split()) > 1}
    sanitizers = {name for name in names if not name.startswith("dflockd_")
                  and re.match(r"_*(asan|tsan|ubsan|odr|sancov)", name)}
    assert names - sanitizers == declared(prefix)


def test_the_libraries_have_no_variable_except_a_count_of_threads(build):
    """State belongs to a client. Only the look-ups of a process share a limit."""
    listed = run("nm", "--format=sysv", build / "library" / "libdflockd.o")
    rows = [[field.strip() for field in line.split("|")] for line in listed.splitlines()]
    written = {row[0] for row in rows if len(row) == 7 and row[3] == "OBJECT"
               and re.match(r"\.(data|bss)(?!\.rel\.ro)", row[6])}
    # The purpose of a client's certificate: GnuTLS takes a writable one and only reads it.
    ours = {name for name in written if not name.startswith("_")}
    assert {name.partition(".")[0] for name in ours} == {"purpose", "wanted",
                                                            "lookup_threads"}


def test_the_header_compiles_as_c_and_cxx(tmp_path, flags):
    for name, compiler, standard in (("c.c", "gcc", "c11"), ("cxx.cc", "g++", "c++11")):
        source = tmp_path / name
        source.write_text("#include <dflockd/client.h>\nint main() { return 0; }\n")
        run(compiler, f"-std={standard}", *WARNINGS, "-fsyntax-only", source, *flags("--cflags"))


def test_a_program_links_the_static_library(root, compiled, flags, prefix):
    if SANITIZE:
        pytest.skip("with a sanitizer only the shared one is tried")
    static = [f"{prefix}/lib/libdflockd.a", *flags("--static", "--libs-only-l")[1:], "-pthread"]
    program = compiled(root / "tools" / "examples" / "sharding.c", "-flto", linking=static)
    assert "libdflockd" not in run("ldd", program)
    with Server() as server:
        assert re.fullmatch(f"token={TOKEN} server=0\n", run(program, at(server)))


# ---- examples ----

def test_hold_keeps_the_lock_for_45_seconds(example):
    with Server() as server:
        holder = subprocess.Popen([example("hold"), at(server)], stdout=subprocess.PIPE, text=True)
        try:
            assert re.fullmatch(f"acquired key=foo token={TOKEN}\n", holder.stdout.readline())
            end = time.monotonic() + 43  # after two leases of 20 seconds
            while time.monotonic() < end:
                assert answers(server, "l", "foo", "0") == "timeout\n"
                time.sleep(1)
            assert holder.communicate(timeout=60)[0] == "done critical section\n"
            assert holder.returncode == 0
        finally:
            holder.kill()
        assert answers(server, "l", "foo", "0").startswith("ok ")


def test_nine_workers_take_turns(example):
    with Server() as server:
        lines = run(example("fifo"), at(server)).splitlines()
    turns = [re.fullmatch(rf"(acquired|released)  \((\d)\): ({TOKEN})", line).groups()
             for line in lines]
    acquired, released = turns[::2], turns[1::2]
    assert {event for event, *_ in acquired} == {"acquired"}
    assert {event for event, *_ in released} == {"released"}
    assert [turn[1:] for turn in acquired] == [turn[1:] for turn in released]
    assert sorted(worker for _, worker, _ in acquired) == list("012345678")
    tokens = [token for *_, token in acquired]
    assert tokens == sorted(tokens)


@pytest.fixture
def fleet():
    with ExitStack() as stack:
        yield [stack.enter_context(Server()) for _ in range(3)]


def used(fleet, key):
    return [number for number, server in enumerate(fleet)
            if f'"key":"{key}"' in answers(server, "stats", "_", "_")]


def test_a_key_goes_to_one_of_three_servers(example, fleet):
    place = zlib.crc32(b"my-key") % 3
    assert re.fullmatch(f"token={TOKEN} server={place}\n",
                        run(example("sharding"), *map(at, fleet)))
    assert used(fleet, "my-key") == [place]


def test_strategy_sends_a_key_to_the_first_server(example, fleet):
    assert re.fullmatch(f"token={TOKEN}\n", run(example("strategy"), *map(at, fleet)))
    assert used(fleet, "my-key") == [0]


def test_events_continues_while_it_waits(example):
    with Server() as server, server.connect() as holder:
        holder.sendall(b"l\nfoo\n0\n")
        assert holder.recv(100).startswith(b"ok ")
        program = subprocess.Popen([example("events"), at(server)], stdout=subprocess.PIPE,
                                   text=True)
        time.sleep(1.5)
        holder.close()
        output, _ = program.communicate(timeout=60)
        assert re.fullmatch(r"\.{2,}done, fence \d+\n", output)


def test_the_examples_of_the_readme_work(root, tmp_path, compiled):
    """With the default server, in its own network if the kernel permits one."""
    source = tmp_path / "readme.c"
    (text,) = re.findall(r"```c\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    source.write_text(text)
    program = compiled(source)
    if places.kind() is not places.HostsNamespace:
        pytest.skip("the kernel permits no network of its own")
    with places.HostsNamespace() as place, place.serve("localhost"):
        assert re.fullmatch(r"fence \d{10,}\n", run(*place.within([str(program)])))


@pytest.mark.parametrize("name", ["events", "fifo", "hold", "sharding", "strategy"])
@pytest.mark.parametrize("server", ["127.0.0.1:1", "127.0.0.1:99999"])
def test_an_example_that_fails_prints_why(example, name, server):
    done = subprocess.run([example(name), server], capture_output=True, text=True, timeout=60,
                          check=False)
    assert (done.stdout, done.returncode) == ("", 1)
    assert all(line.startswith(f"{name}: ") for line in done.stderr.splitlines())
    assert server in done.stderr
