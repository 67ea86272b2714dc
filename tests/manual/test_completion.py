"""Completion in bash, zsh and fish: each shell completes every flag and offers no other."""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time

import pytest
from lib.server import Server
from lib.wire_client import Client
from programs import BUILD, PROGRAMS, commands_of, flags_of, help_of, spellings_of

COMPLETION = BUILD / "completion"
LINES = [(program, *command) for program in PROGRAMS
         for command in [(), *((each,) for each in commands_of(program))]]
FILE_FLAGS = {"dflockd": "--fence-state-file", "dflockd-bench": "--hdr",
              "dflockctl": "--auth-token-file"}
CHOICES = {("dflockd-bench", "--load"): {"lock", "semaphore", "try", "two-phase", "renew", "ping",
                                         "shared", "shared-two-phase"},
           ("dflockd-bench", "--keys"): {"own", "shared", "uniform:", "zipf:"},
           ("dflockd-bench", "--protocol"): {"dflockd", "redis"},
           ("dflockctl", "ls", "--sort"): {"key", "kind", "holders", "waiters", "lease", "server"}}
CHOICES = {line: words for line, words in CHOICES.items() if line[0] in PROGRAMS}
SECONDS = 30
# A completion finds dflockctl, but no server.
REACHABLE = {"PATH": f"{BUILD}:{os.environ['PATH']}", "DFLOCKD_SERVERS": "unix:/no/where",
             "LC_ALL": "C.UTF-8"}


def shell(name):
    return pytest.mark.skipif(not shutil.which(name), reason=f"no {name}")


def each_line(function):
    return pytest.mark.parametrize("line", LINES, ids=" ".join)(function)


def run(*command, cwd=None, **variables):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd,
                          timeout=SECONDS, stdin=subprocess.DEVNULL,
                          env={**os.environ, **REACHABLE, **variables})
    assert done.stderr == "" and done.returncode == 0, done
    return done.stdout.splitlines()


# ---- the shells ----

def bash(line, cwd=None, **variables):
    """The words that bash offers at the end of a line, which it splits as at a prompt."""
    words = [word for word in re.split(r"([=:])|\s+", line) if word]
    if line.endswith((" ", "=")):
        words.append("")
    script = ('source "$1"; program=$2; shift 2; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
              'compopt() { :; }; specification=$(complete -p "$program");'
              '[[ $specification =~ -F\\ ([a-z_]+) ]]; "${BASH_REMATCH[1]}";'
              '((${#COMPREPLY[@]})) && printf "%s\\n" "${COMPREPLY[@]}"; true')
    return set(run("bash", "--norc", "-c", script, "bash", COMPLETION / f"{words[0]}.bash",
                   words[0], *words, cwd=cwd, **variables))


def fish(line, cwd=None, **variables):
    program = line.split()[0]
    offered = run("fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]",
                  COMPLETION / f"{program}.fish", line, cwd=cwd, **variables)
    return {each.split("\t")[0] for each in offered}


class Zsh:
    """A zsh on a terminal. Its program is a function that prints its arguments."""

    def __init__(self, folder, program, **variables):
        function = folder / f"_{program}"
        function.write_text((COMPLETION / f"{program}.zsh").read_text(encoding="utf-8"),
                            encoding="utf-8")
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(shutil.which("zsh"), ["zsh", "-f", "-i"],
                      {"TERM": "dumb", "HOME": str(folder), **REACHABLE, **variables})
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.send(f"PS1= PS2= fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; "
                 "unsetopt beep; zstyle ':completion:*' list-prompt ''; LISTMAX=0; "
                 f"{program}() {{ print -r -- \"called<$*>\" }}; print rea''dy\n")
        self.until("ready")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.terminal)
        os.waitpid(self.pid, 0)

    def send(self, text):
        os.write(self.terminal, text.encode())

    def until(self, pattern):
        received = ""
        end = time.monotonic() + SECONDS
        while not (found := re.search(pattern, received)):
            ready, _, _ = select.select([self.terminal], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {pattern} in: {received}"
            received += os.read(self.terminal, 65536).decode(errors="replace")
        return found

    def complete(self, line):
        """The arguments that a line has after a tab."""
        self.send(line + "\t\n")
        return self.until(r"called<([^\n]*)>\r?\n")[1]


# ---- every flag ----

@shell("bash")
@each_line
def test_bash_offers_every_flag_and_no_other(line):
    assert bash(" ".join(line) + " -") == spellings_of(*line)


@shell("fish")
@each_line
def test_fish_offers_every_flag_and_no_other(line):
    offered = fish(" ".join(line) + " -")
    assert {each.rstrip("=") for each in offered} == spellings_of(*line)


@shell("zsh")
@each_line
def test_zsh_completes_every_flag(line, tmp_path):
    known = spellings_of(*line)
    with Zsh(tmp_path, line[0]) as terminal:
        for flag in sorted(known):
            start = flag[:-1]
            if any(other.startswith(start) for other in known - {flag}):
                start = flag
            if any(other.startswith(start) for other in known - {flag}):
                continue
            done = terminal.complete(" ".join([*line, start]))
            assert done.rstrip("= ") == " ".join([*line[1:], flag])


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_zsh_file_has_every_flag_and_no_other(program):
    text = (COMPLETION / f"{program}.zsh").read_text(encoding="utf-8")
    parts = re.split(r"^    ([a-z]+)\)$", text, flags=re.M)
    named = {"": parts[0], **dict(zip(parts[1::2], parts[2::2]))}
    for command in ["", *commands_of(program)]:
        found = re.findall(r"^ +'(--?[a-z0-9-]+)=?\[", named[command], re.M)
        assert len(found) == len(set(found))
        assert set(found) == spellings_of(program, *filter(None, [command]))


# ---- values ----

@pytest.mark.parametrize("offers", [pytest.param(bash, marks=shell("bash")),
                                    pytest.param(fish, marks=shell("fish"))])
class TestValues:
    @pytest.mark.parametrize("line", CHOICES, ids=" ".join)
    def test_the_choices_of_a_flag_are_offered(self, offers, line):
        text = " ".join(line)
        assert offers(f"{text} ") == CHOICES[line]
        one = sorted(CHOICES[line])[-1]
        # Fish offers flag and value, bash the value alone.
        assert {each.split("=")[-1] for each in offers(f"{text}={one[:-1]}")} == {one}

    @pytest.mark.parametrize("program", PROGRAMS)
    def test_files_are_offered_for_flags_that_take_a_file(self, offers, program, tmp_path):
        (tmp_path / "some file").touch()
        for text in (f"{program} {FILE_FLAGS[program]} so", f"{program} {FILE_FLAGS[program]}=so"):
            offered = {each.split("=")[-1].replace("\\", "") for each in offers(text, tmp_path)}
            assert offered == {"some file"}

    @each_line
    def test_nothing_is_offered_for_flags_that_take_any_value(self, offers, line, tmp_path):
        (tmp_path / "x").touch()
        for flag in flags_of(*line):
            name = flag.written
            if not flag.takes_value or (*line, name) in CHOICES:
                continue
            if re.match("File|Path", flag.line):
                assert offers(f"{' '.join(line)} {name} ", tmp_path) == {"x"}
            else:
                assert offers(f"{' '.join(line)} {name} ", tmp_path) == set()


@shell("zsh")
def test_zsh_completes_values(tmp_path):
    (tmp_path / "some-file").touch()
    for line, words in CHOICES.items():
        with Zsh(tmp_path, line[0]) as terminal:
            for word in words:
                done = terminal.complete(f"{' '.join(line)}={word[:-1]}")
                assert done.replace("\\", "").rstrip() == " ".join(line[1:]) + "=" + word
            file_flag = FILE_FLAGS[line[0]]
            assert terminal.complete(f"{line[0]} {file_flag} some-") == f"{file_flag} some-file"


@pytest.mark.parametrize("line", CHOICES, ids=" ".join)
def test_the_program_accepts_the_offered_values_and_no_other(line):
    for word, valid in [*((word, True) for word in CHOICES[line]), ("nonsense", False)]:
        value = word + "10" if word.endswith(":") else word
        # A good value leads to an error about the server, which does not exist.
        done = subprocess.run([BUILD / line[0], *line[1:], value, "--servers", "unix:/no/where"],
                              capture_output=True, text=True, check=False, timeout=SECONDS)
        assert done.returncode != 0
        assert (line[-1] not in done.stderr) is valid, done


# ---- commands ----

WITH_COMMANDS = [each for each in PROGRAMS if commands_of(each)]


@pytest.mark.parametrize("offers", [pytest.param(bash, marks=shell("bash")),
                                    pytest.param(fish, marks=shell("fish"))])
@pytest.mark.parametrize("program", WITH_COMMANDS)
class TestCommands:
    def test_every_command_is_offered(self, offers, program):
        for command in commands_of(program):
            assert command in offers(f"{program} {command[:-1]}")
            assert command in offers(f"{program} --servers one:1 {command[:-1]}")

    def test_the_command_to_run_is_completed_as_a_command_line(self, offers, program, tmp_path):
        (tmp_path / "some file").touch()
        helps = "\n".join(help_of(program, each) for each in commands_of(program))
        for command in re.findall(r"^Usage: \S+ (\w+) .* -- ", helps, re.M):
            assert "taskset" in offers(f"{program} {command} key -- taskse")
            offered = offers(f"{program} {command} key --timeout 5 -- cat so", tmp_path)
            assert {each.replace("\\", "") for each in offered} == {"some file"}


@shell("zsh")
@pytest.mark.parametrize("program", WITH_COMMANDS)
def test_zsh_completes_commands_and_the_command_to_run(program, tmp_path):
    (tmp_path / "some-file").touch()
    with Zsh(tmp_path, program) as terminal:
        assert terminal.complete(f"{program} acqu") == "acquire"
        assert terminal.complete(f"{program} lock key -- cat some-") == "lock key -- cat some-file"


# ---- keys ----

KEYS = ["plain", "jobs:nightly", "jobs:daily=1", "it's", "a$b", "star*(x)", 'quo"te', "back\\slash",
        "gr\u00fcn", "tab\\x09", "-dash"]


@pytest.fixture(scope="module")
def keyed():
    """A server with those keys, one that is not UTF-8, an idle one, and that of dflockctl."""
    with Server() as server, Client(server) as client:
        for key in KEYS:
            client.acquire(key)
        assert client.call("l", b"not\xff8", "0").startswith("ok ")
        for idle in ("idle", "dflockctl.probe"):
            assert client.call("r", idle, client.acquire(idle)) == "ok"
        yield f"{server.host}:{server.port}"


def unquoted(word):
    """A word of the shell as a program receives it."""
    return run("bash", "-c", f"printf %s {word}")[0]


@shell("bash")
def test_bash_offers_keys(keyed):
    for command in ("lock", "sem", "acquire", "release", "renew", "show", "shard", "ls"):
        offered = bash(f"dflockctl {command} ", DFLOCKD_SERVERS=keyed)
        assert {unquoted(each) for each in offered} == {*KEYS, "idle"}
    assert bash("dflockctl show pl", DFLOCKD_SERVERS=keyed) == {"plain"}
    assert bash("dflockctl lock plain it", DFLOCKD_SERVERS=keyed) == {"it\\'s"}
    assert "plain" not in bash("dflockctl show plain ", DFLOCKD_SERVERS=keyed)
    # Only the part after the colon is a word for bash.
    assert bash("dflockctl show jobs:n", DFLOCKD_SERVERS=keyed) == {"nightly"}
    assert bash("dflockctl show jobs:", DFLOCKD_SERVERS=keyed) == {"nightly", "daily=1"}
    assert bash(f"dflockctl show --servers {keyed} pl") == {"plain"}
    assert bash(f"dflockctl --servers={keyed} show pl") == {"plain"}
    assert bash(r"dflockctl show a\$", DFLOCKD_SERVERS=keyed) == {r"a\$b"}


@shell("fish")
def test_fish_offers_keys(keyed):
    for command in ("lock", "sem", "acquire", "release", "renew", "show", "shard", "ls"):
        offered = fish(f"dflockctl {command} ", DFLOCKD_SERVERS=keyed)
        assert {*KEYS, "idle"} - {"-dash"} <= {each.replace("\\\\", "\\") for each in offered}
        assert "dflockctl.probe" not in offered
    assert fish("dflockctl show pl", DFLOCKD_SERVERS=keyed) == {"plain"}
    assert fish(f"dflockctl show --servers {keyed} jobs:n") == {"jobs:nightly"}
    assert fish(f"dflockctl --servers={keyed} show pl") == {"plain"}


@shell("zsh")
def test_zsh_completes_keys(keyed, tmp_path):
    with Zsh(tmp_path, "dflockctl", DFLOCKD_SERVERS=keyed) as terminal:
        for start, key in (("pl", "plain"), ("jobs:n", "jobs:nightly"), ("it", "it's"),
                           ("star", "star*(x)"), ("quo", 'quo"te'), ("gr", "gr\u00fcn"),
                           ("a", "a$b"), ("idl", "idle"), ("dflo", "dflo")):
            assert terminal.complete(f"dflockctl show {start}") == f"show {key}"
        assert terminal.complete("dflockctl acquire pl") == "acquire plain"
    with Zsh(tmp_path, "dflockctl") as terminal:
        assert terminal.complete(f"dflockctl show --servers {keyed} pl").endswith(" plain")
        assert terminal.complete(f"dflockctl --servers={keyed} lock pl").endswith(" plain")


@pytest.mark.parametrize("offers", [pytest.param(bash, marks=shell("bash")),
                                    pytest.param(fish, marks=shell("fish"))])
def test_no_key_is_offered_without_a_server(offers):
    assert offers("dflockctl show pl") == set()
    assert offers("dflockctl show pl", DFLOCKD_SERVERS="nonsense,,") == set()
    assert offers("dflockctl show pl", PATH=os.environ["PATH"]) == set()
