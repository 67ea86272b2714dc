"""Manual pages agree with `--help` and with the protocol's header, and mandoc reports nothing."""

import re
import shutil
import subprocess

import pytest
from lib.server import ROOT
from programs import BUILD, PAGES, PROGRAMS, commands_of, flags_of, help_of, spellings_of

MADE = {page.name.split(".")[0]: BUILD / "man" / page.name.removesuffix(".in") for page in PAGES}
WRITTEN = sorted((ROOT / "tools/man").glob("*.[1-8]"))
ALL = [*MADE.values(), *WRITTEN]
HEADER = (ROOT / "include/dflockd/protocol.h").read_text(encoding="ascii")
PROTOCOL = (ROOT / "tools/man/dflockd-protocol.7").read_text(encoding="ascii")

needs_mandoc = pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc")


def mandoc(*args):
    return subprocess.run(["mandoc", *map(str, args)], capture_output=True, text=True, check=False)


def items(source):
    """The flags that the page explains, each as an item of a list."""
    lines = re.findall(r"^\.It (Fl .*)$", source, re.M)
    return ["-" + name for line in lines for name in re.findall(r"Fl (\S+)", line)]


def sections(source):
    """The page without its subsections about commands, and these by name."""
    parts = re.split(r"^\.Ss (.*)\n", source, flags=re.M)
    named = dict(zip(parts[1::2], parts[2::2]))
    rest = {name: re.split(r"^\.Sh ", text, maxsplit=1, flags=re.M) for name, text in named.items()}
    return (parts[0] + "".join(texts[1] for texts in rest.values() if len(texts) > 1),
            {name: texts[0] for name, texts in rest.items()})


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_page_explains_every_flag_once_and_no_other(program):
    main, _ = sections(MADE[program].read_text(encoding="utf-8"))
    found = items(main)
    assert len(found) == len(set(found))
    assert set(found) == spellings_of(program)


@pytest.mark.parametrize("program", [each for each in PROGRAMS if commands_of(each)])
def test_a_page_explains_every_command_with_the_flags_that_only_it_has(program):
    main, parts = sections(MADE[program].read_text(encoding="utf-8"))
    common = set(items(main))
    for command in commands_of(program):
        found = items(parts[command])
        assert len(found) == len(set(found))
        assert common | set(found) == common | spellings_of(program, command)
        # A command repeats a common flag only if it differs.
        shared = {flag for flag in flags_of(program, command) if flag in flags_of(program)}
        assert not set(found) & set().union(*(flag.spellings for flag in shared))


def words(text):
    """The words of a text, with one blank between them and without punctuation."""
    return " " + " ".join(re.sub(r"[();,.:]", "", text).split()) + " "


@needs_mandoc
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_page_explains_a_flag_as_help_does(program):
    """Variables and default are included."""
    shown = words(re.sub(r".\x08", "", mandoc("-T", "ascii", "-O", "width=500",
                                              MADE[program]).stdout))
    for command in [(), *((each,) for each in commands_of(program))]:
        for flag in flags_of(program, *command):
            assert words(flag.line) in shown


@pytest.mark.parametrize("program", [each for each in PROGRAMS if commands_of(each)])
def test_a_page_has_every_exit_status_and_no_other(program):
    listed = re.search(r"^Exit status:\n\n((?: +\d.*\n)+)", help_of(program), re.M)[1]
    page = MADE[program].read_text(encoding="utf-8")
    section = page.split(".Sh EXIT STATUS\n")[1].split("\n.Sh ")[0]
    shown = [words(part) for part in re.split(r"^\.It ", section, flags=re.M)[1:]]
    assert [each.replace(" El ", " ") for each in shown] == \
        [words(line) for line in listed.splitlines()]


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_a_page_mentions_only_flags_that_exist(page):
    mentioned = set(re.findall(r"\bFl -([a-z0-9-]+)", page.read_text(encoding="utf-8")))
    known = set().union(*(spellings_of(program, *command) for program in PROGRAMS
                          for command in [(), *((each,) for each in commands_of(program))]))
    assert {f"--{name}" for name in mentioned} <= known


@needs_mandoc
@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_mandoc_reports_nothing(page):
    done = mandoc("-T", "lint", "-W", "all", page)
    # Other pages depend on the machine; the next test checks ours.
    reports = [line for line in (done.stdout + done.stderr).splitlines()
            if "referenced manual not found" not in line and "mandoc.db" not in line]
    assert reports == []


@pytest.mark.skipif(not shutil.which("groff"), reason="no groff")
@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_groff_formats_a_page_in_80_columns_without_a_warning(page):
    """man(1) leaves 2 of the columns empty."""
    done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-ww", "-rLL=78n", page],
                          capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_has_at_most_80_columns(program):
    for command in [(), *((each,) for each in commands_of(program))]:
        assert [line for line in help_of(program, *command).splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_references_to_our_pages_are_valid(page):
    names = {(each.name.split(".")[0], each.name.rsplit(".")[-1]) for each in ALL}
    referred = re.findall(r"\.Xr (\S*dflock\S*) (\d)", page.read_text(encoding="utf-8"))
    assert set(referred) <= names
    assert re.search(rf"^\.Dt {page.stem.upper()} {page.suffix[1:]}$",
                     page.read_text(encoding="utf-8"), re.M)


# ---- the protocol ----

def table(name):
    """The words of an X-macro of the header."""
    body = re.search(rf"#define {name}\(X\)((?:.*\\\n)*.*)", HEADER)[1]
    return re.findall(r'X\(\w+, "(\w+)"\)', body)


def constants():
    return re.findall(r"^#define DFLOCKD_(\w+)\s+(\d+)$", HEADER, re.M)


def test_the_protocols_page_has_every_command_and_no_other():
    assert set(re.findall(r"^\.It Ic (\w+)", PROTOCOL, re.M)) == set(table("DFLOCKD_COMMANDS"))


def test_the_protocols_page_has_every_reply_and_no_other():
    quoted = set(re.findall(r"\bQl ([a-z_]+)\b", PROTOCOL))
    assert quoted == set(table("DFLOCKD_OUTCOMES"))


@pytest.mark.parametrize("name, value", constants())
def test_the_protocols_page_has_every_limit(name, value):
    assert re.search(rf"(?<!\d){value}(?!\d)", PROTOCOL), name
