"""dflockd-metrics(7), the alert rules and the dashboard agree with the metrics of the server."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lib.server import ROOT
from programs import BUILD

PAGE = (ROOT / "tools/man/dflockd-metrics.7").read_text(encoding="ascii")
DIST = ROOT / "tools/dist"
RULES = DIST / "prometheus/dflockd.rules.yml"
DASHBOARD = DIST / "grafana/dflockd.json"
CASES = Path(__file__).parent / "rules/dflockd.rules.test.yml"

# Of the HTTP front end, or only with --fence-state-file: not in the text of the unit test.
OTHER = {"dflockd_fences_left": "gauge", "dflockd_http_sessions": "gauge",
         "dflockd_http_requests_total": "counter",
         "dflockd_http_request_duration_seconds": "summary"}

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool")


@pytest.fixture(scope="module", name="text")
def make_text():
    """The text as a server would write it."""
    return subprocess.run([BUILD / "tests/unit/test_metrics", "print"], capture_output=True,
                          text=True, check=True).stdout


def promtool(*args, stdin=None):
    return subprocess.run(["promtool", *map(str, args)], input=stdin, capture_output=True,
                          text=True, check=False)


def types_of(text):
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))


def names_in(source):
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in
            re.findall(r"\bdflockd_\w+", source)}


def test_the_page_lists_every_metric_with_its_type_and_no_other(text):
    listed = dict(re.findall(r"^\.It Ic (dflockd_\w+) Pq (\w+)", PAGE, re.M))
    assert listed == types_of(text) | OTHER


def test_rules_and_dashboard_use_metrics_that_exist(text):
    known = (types_of(text) | OTHER).keys()
    assert names_in(RULES.read_text(encoding="ascii")) <= known
    assert names_in(DASHBOARD.read_text(encoding="ascii")) <= known


def test_the_dashboard_is_json_and_each_panel_has_a_query():
    dashboard = json.loads(DASHBOARD.read_text(encoding="ascii"))
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_each_alert_has_a_summary_and_a_runbook():
    alerts = re.split(r"- alert: ", RULES.read_text(encoding="ascii"))[1:]
    assert alerts
    for alert in alerts:
        assert "summary: " in alert and "runbook: " in alert and "severity: " in alert


@needs_promtool
def test_promtool_finds_nothing_in_the_metrics(text):
    done = promtool("check", "metrics", stdin=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_promtool
def test_promtool_accepts_rules_and_configuration():
    done = promtool("check", "config", DIST / "prometheus/prometheus.yml")
    assert done.returncode == 0, done.stderr


@needs_promtool
def test_each_alert_fires_when_it_should(tmp_path):
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES.read_text(encoding="ascii").replace("@RULES@", str(RULES)),
                     encoding="ascii")
    done = promtool("test", "rules", cases)
    assert done.returncode == 0, done.stdout + done.stderr
