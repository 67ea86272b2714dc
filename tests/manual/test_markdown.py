"""README and the other Markdown pages: links lead to files, and commands and flags exist."""

import re
import shutil
import subprocess
from functools import cache

import pytest
from lib.server import ROOT
from programs import PROGRAMS, commands_of, spellings_of

EXAMPLES = ROOT / "tests/clients/examples"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / ".github").glob("*.md")),
         ROOT / "tools/dist/README.md", ROOT / "tests/README.md"]
# Flags of other programs that the pages mention.
FOREIGN_FLAGS = {"--file", "--security-opt", "--now", "--system", "--cflags", "--libs", "--args"}

each_page = pytest.mark.parametrize("page", PAGES,
                                    ids=lambda page: str(page.relative_to(ROOT)))


@cache
def files():
    """The paths of all sources."""
    return [str(path) for top in ("src", "include", "tests", "tools", "perf")
            for path in (ROOT / top).rglob("*") if path.is_file()]


def anchors(page):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@each_page
def test_links_lead_to_files_and_headings(page):
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_flags_exist(page):
    known = set().union(*(spellings_of(program, *command) for program in PROGRAMS
                          for command in [(), *((each,) for each in commands_of(program))]))
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9](?!\w|-?[…*])",
                          page.read_text(encoding="utf-8")))
    assert used <= known | FOREIGN_FLAGS


@each_page
def test_files_in_backquotes_exist(page):
    """Paths from the top of the repository, or the ends of paths, as `session.c`."""
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"`([\w./-]+\.(?:c|h|py)|(?:src|include|tests|tools|perf)/[\w./-]*)`", text)
    missing = [name for name in names if not (ROOT / name).exists()
               and not any(path.endswith("/" + name) for path in files())]
    assert missing == []


def test_readme_shows_a_tested_example_and_links_to_each_kind():
    """tests/clients/test_example.py runs these files."""
    assert re.findall(r"```python\n(.*?)```", README, re.S) == \
        [(EXAMPLES / "hold_sync.py").read_text(encoding="utf-8")]
    linked = set(re.findall(r"\(tests/clients/examples/(\w+\.\w+)\)", README))
    assert linked == {"fifo_async.py", "sharding.py", "custom_strategy.py", "raw.sh"}


def test_commands_of_dflockctl_in_readme_exist():
    used = re.findall(r"^(?:\w+=\$\()?dflockctl (\w+)", README, re.M)
    assert used
    assert set(used) <= set(commands_of("dflockctl"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd")
def test_units_are_valid(tmp_path):
    blocks = [block for page in PAGES
              for block in re.findall(r"```ini\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
              if "ExecStart=" in block]
    assert blocks
    for block in blocks:
        unit = tmp_path / "example.service"
        unit.write_text(re.sub(r"(?<=[= ])/usr/local/bin/\w+", "/bin/true", block))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True,
                              text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_shell_blocks_are_valid_shell():
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            subprocess.run(["bash", "-n"], input=block, text=True, check=True)
