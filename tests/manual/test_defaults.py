"""build/dflockd.default, which packages install as /etc/default/dflockd."""

import re

from lib.server import ROOT, Server
from programs import BUILD, flags_of

TEXT = (BUILD / "dflockd.default").read_text(encoding="utf-8")
UNIT = (ROOT / "tools/dist/dflockd.service").read_text(encoding="ascii")
VARIABLES = dict(re.findall(r"^#([A-Z][A-Z0-9_]+)=(.*)$", TEXT, re.M))


def test_it_has_every_variable_with_its_default_and_names_those_of_the_unit():
    expected = {}
    for flag in flags_of("dflockd"):
        found = re.search(r"\. (DFLOCKD_[A-Z0-9_]+)", flag.line)
        if found and not flag.line.startswith("Not supported"):
            default = re.search(r"\(default ([^()]*)\)", flag.line)
            expected[found[1]] = default[1] if default else ""
    assert VARIABLES == expected
    for name in re.findall(r"^Environment=(\w+)=", UNIT, re.M):
        assert name in TEXT.split("\n\n", maxsplit=1)[0]
    assert all(line.startswith("#") for line in TEXT.splitlines() if line)


def test_a_server_starts_with_all_variables_set():
    with Server("--port", "0", environment=VARIABLES) as server:
        server.terminate()
        assert server.wait() == 0
