"""The command line: commands, flags and variables, and messages about wrong ones."""

import re

import pytest
from ctl import USAGE, ctl
from lib.server import ROOT, Server

COMMANDS = ["lock", "sem", "acquire", "release", "renew", "ls", "show", "stats", "ping", "top",
            "shard"]
# Of every command: flag and its variable.
SERVER_FLAGS = {
    "servers": "SERVERS", "auth-token": "AUTH_TOKEN", "auth-token-file": "AUTH_TOKEN_FILE",
    "tls": "TLS", "tls-ca": "TLS_CA", "tls-client-cert": "TLS_CLIENT_CERT",
    "tls-client-key": "TLS_CLIENT_KEY", "tls-server-name": "TLS_SERVER_NAME",
    "tls-insecure": "TLS_INSECURE", "connect-timeout": "CONNECT_TIMEOUT_S"}


def assert_reported(done, *wanted):
    """Standard error has one line with all of `wanted`; standard output is empty."""
    assert (done.returncode, done.stdout) == (USAGE, ""), done
    assert done.stderr.startswith("dflockctl: ") and done.stderr.count("\n") == 1, done.stderr
    for one in wanted:
        assert one in done.stderr, done.stderr


def test_a_missing_command_is_reported():
    assert_reported(ctl((),), "no command", "--help")


@pytest.mark.parametrize("wrong, like", [
    ("lokc", "lock"), ("locks", "lock"), ("list", "ls"), ("status", "stats"),
    ("unlock", "release"), ("run", "lock"), ("get", None), ("foo", None), ("renw", "renew"),
    ("ping6", "ping"), ("\x1b[31m", None), ("x" * 1000, None), ("", None)])
def test_an_unknown_command_is_reported_with_a_similar_one(wrong, like):
    done = ctl((), wrong)
    assert_reported(done, f"did you mean: dflockctl {like}" if like else "--help")
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("arguments, wanted", [
    (("ls", "--colour"), ("--colour", "--help")), (("--colour", "ls"), ("--colour", "--help")),
    (("show", "--try", "key"), ("--try", "not a flag of show")),
    (("ls", "key", "other"), ("'other'", "ls --help")),
    (("lock", "--", "true"), ("no key or no command",)),
    (("lock", "key", "true"), ("'true': another key or a command? write: ", "-- COMMAND")),
    (("sem", "key", "true"), ("'true': too many arguments before --",)),
    (("lock", "k", "--tiemout", "3", "--", "true"), ("--tiemout: unknown flag", "--timeout?")),
    (("--tsl", "ls"), ("--tsl: unknown flag; did you mean --tls?",)),
    (("lock", "key", "a", "key", "--", "true"), ("key 'key': given twice",)),
    (("lock", "key", "-c", "x", "--", "true"), ("-c: cannot be combined",)),
    (("lock", "key", "sh", "-c", "x"), ("'sh': another key or a command?", "-- sh -c LINE",
                                        "or only -c LINE")),
    (("lock", "key", "other", "/bin/bash", "-c", "x"), ("'/bin/bash': another key",)),
    (("lock", "key", "python3", "-c", "x"), ("'python3': another key",)),
    (("lock", "-c", "x", "key", "dash"), ("'dash': another key",)),
    (("lock", "key", "--timeout", "1s", "--", "true"), ("--timeout: '1s' is not", "decimals")),
    (("lock", "key", "--lease", "0.5", "--", "true"), ("--lease: '0.5' is not a whole",)),
    (("sem", "key", "-n", "0", "--", "true"), (" -n: '0' is not",)),
    (("acquire", "key", "--on-loss", "TERM"), ("--on-loss", "--while")),
    (("acquire", "key", "--while", "1", "--on-loss", "TREM"), ("--on-loss: 'TREM'",)),
    (("acquire", "key", "--while", "1", "--on-loss", "0"), ("--on-loss: '0'",)),
    (("lock", "key", "-n", "3", "--", "true"), ("-n: not a flag of lock", "use sem", "--try")),
    (("lock", "key", "-w", "0.5", "--", "true"), ("-w: not a flag of lock; --timeout",)),
    (("lock", "key", "--wait=1", "--", "true"), ("--wait: not a flag of lock; --timeout",)),
    (("acquire", "key", "--nonblock"), ("--nonblock: not a flag of acquire; --try",)),
    (("lock", "-x", "key", "--", "true"), ("-x: not a flag of lock; leave it out",)),
    (("--timeout", "3", "lock", "k"), ("--timeout: write it after the command",)),
    (("help", "foo"), ("'foo': unknown command; dflockctl --help lists them",)),
    (("lock", "my key", "--", "true"), ("white space; use a key without blanks",)),
    (("lock", "key", "--timeout", ".", "--", "true"), ("--timeout: '.' is not",)),
    (("lock", "key", "--timeout", "", "--", "true"), ("--timeout",)),
    (("lock", "key", "--lease", "--", "true"), ("--lease: needs a value",)),
    (("sem", "key", "-n3", "--", "true"), ("-n3: unknown flag", "-n 3")),
    (("sem", "key", "-n", "x", "--", "true"), (" -n: 'x' is not",)),
    (("sem", "key", "--limit", "x", "--", "true"), (" --limit: 'x' is not",)),
    (("release", "key", ""), ("TOKEN: empty; did acquire fail?",)),
    (("release", "key", "abc"), ("TOKEN: not a token (32 hex digits", "acquire printed")),
    (("show", "k" * 300), ("has 300 bytes", "256")),
    (("ls", "--servers", "a,b:99999"), ("--servers: 'b:99999'",)),
    (("show", "one", "two"), ("'two'", "show --help")), (("show",), ("no key",)),
    (("ls", "--sort"), ("--sort", "needs a value")),
    (("ping", "--count", "x"), ("--count", "'x'")), (("ping", "--count", "-1"), ("--count",)),
    (("top", "--interval", "-1"), ("--interval",)), (("stats", "--interval", "0"), ("--interval",)),
    (("stats", "--count", "2"), ("--count", "--interval")),
    (("ls", "--keys", "--json"), ("--keys", "--json")),
    (("renew", "key", "0" * 32, "--lease", "0"), ("--lease",)),
    (("renew", "key", "0" * 32, "--lease", "-1"), ("--lease",)),
    (("renew", "key", "A" * 32), ("TOKEN: not a token", "lower case")),
    (("release", "", "0" * 32), ("key: empty",)), (("release", "a b", "0" * 32), ("white space",)),
    (("release", "k" * 257, "0" * 32), ("has 257 bytes", "256")),
    (("ls", ""), ("key: empty",)), (("show", "a\tb"), ("white space",)),
    (("shard", ""), ("key: empty",)),
    (("ls", "--servers", ""), ("--servers",)), (("ls", "--servers", "a,,b"), ("--servers",)),
    (("shard", "key", "--servers", "host:0"), ("host:0",)),
    (("ls", "--servers", "host:port"), ("host:port",)),
    (("ls", "--servers", "http://a:6388"), ("'http://a:6388'", "leave out http://")),
    (("ls", "--servers", "/tmp/x"), ("'/tmp/x'", "for a path write unix:/tmp/x")),
    (("ls", "--servers", "a:82836"), ("'a:82836'", "a port is a number from 1 to 65535")),
    (("ls", "--auth-token", "two\nlines"), ("--auth-token", "newline")),
    (("ls", "--auth-token-file", "/nowhere/secret"), ("--auth-token-file", "/nowhere/secret")),
    (("ls", "--tls-ca", "file"), ("--tls-ca", "--tls")),
    (("ls", "--tls-insecure"), ("--tls-insecure", "--tls")),
    (("ls", "--tls", "--tls-client-cert", "a"), ("--tls-client-key",)),
    (("acquire", "key", "--while", "1", "--no-hold"), ("--while", "--no-hold"))])
def test_wrong_arguments_are_reported_in_one_line(arguments, wanted):
    assert_reported(ctl((), *arguments), *wanted)


@pytest.mark.parametrize("variable, value", [
    ("SERVERS", "a,,b"), ("TLS", "perhaps"), ("TLS_CA", "file"), ("TLS_INSECURE", "1"),
    ("CONNECT_TIMEOUT_S", "soon"), ("AUTH_TOKEN_FILE", "/nowhere/secret"), ("AUTH_TOKEN", " ")])
def test_a_wrong_variable_is_reported_by_name(variable, value):
    name = f"DFLOCKD_{variable}"
    done = ctl((), "ls", variables={name: value})
    assert_reported(done)
    assert re.search(rf"\b{name}\b", done.stderr)


def test_a_variable_that_resembles_one_is_reported(server):
    done = ctl(server, "lock", "key", "--", "true", variables={"DFLOCKD_SERVER": "x"})
    assert (done.returncode, done.stderr) == (
        0, "dflockctl: warning: DFLOCKD_SERVER: unknown variable; did you mean DFLOCKD_SERVERS?\n")


def test_variables_of_other_programs_are_not_reported(server):
    sources = "".join((ROOT / file).read_text()
                      for file in ("src/server/options.c", "perf/bench/settings.c"))
    names = {*re.findall(r'"([A-Z][A-Z_]{2,})"', sources), "KEY", "KEYS", "TOKEN", "TOKENS",
             "FENCE", "FENCES", "LEASE", "SERVICE_HOST", "SERVICE_PORT", "PORT_6388_TCP"}
    names -= {*SERVER_FLAGS.values(), "REPLY_TIMEOUT_S"}
    others = {f"DFLOCKD_{name}": "1" for name in names}
    assert len(others) > 20
    assert ctl(server, "ping", variables=others).stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command):
    helps = [ctl((), *words) for words in ((command, "--help"), (command, "-h"), ("help", command))]
    for done in helps:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: dflockctl {command} [flags]")
        for flag, variable in SERVER_FLAGS.items():
            assert re.search(rf"^  --(\[no-\])?{flag}( [A-Z]+)?$", done.stdout, re.MULTILINE)
            assert f"DFLOCKD_{variable}" in done.stdout
    assert len({done.stdout for done in helps}) == 1


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",)])
def test_help_lists_commands_and_exit_statuses(words):
    done = ctl((), *words)
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^  {command} +[A-Z]", done.stdout, re.MULTILINE)
    for status in (0, 64, 69, 70, 71, 75, 76, 77, 126, 127, 128):
        assert re.search(rf"^ +{status}  ?\w", done.stdout, re.MULTILINE)


def test_version_is_printed():
    done = ctl((), "--version")
    assert done.returncode == 0 and re.fullmatch(r"dflockctl \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("words", [
    ("--servers", "{}", "ping"), ("ping", "--servers", "{}"), ("ping", "--servers={}"),
    ("-servers", "{}", "ping"), ("--servers", "127.0.0.1:1", "ping", "--servers", "{}")])
def test_flags_precede_or_follow_the_command(server, words):
    place = f"{server.host}:{server.port}"
    assert ctl("127.0.0.1:1", *(word.format(place) for word in words)).returncode == 0


def test_seconds_may_begin_with_a_point(server):
    assert ctl(server, "lock", "key", "--timeout", ".5", "--", "true").returncode == 0


def test_flags_precede_or_follow_the_words(server):
    for words in (("--timeout", "1", "key"), ("key", "--timeout", "1")):
        assert ctl(server, "lock", *words, "--", "true").returncode == 0


def test_the_default_server_is_local():
    assert ctl((), "shard", "key").stdout == "127.0.0.1:6388\n"


def test_an_empty_variable_counts_as_unset():
    with Server() as server:
        empty = {f"DFLOCKD_{name}": "" for name in SERVER_FLAGS.values() if name != "SERVERS"}
        assert ctl(server, "ping", variables=empty).returncode == 0


def test_the_manual_names_every_variable():
    page = (ROOT / "tools/man/dflockctl.1.in").read_text().split(".Sh ENVIRONMENT")[1]
    sources = "".join(file.read_text() for file in (ROOT / "tools/dflockctl").glob("*.c"))
    for name in {*re.findall(r'(?:getenv|setenv|set_variable)\("(\w+)"', sources),
                 *re.findall(r'"(DFLOCKD_\w+)"', sources)}:
        assert re.search(rf"\b{name}\b", page), name
