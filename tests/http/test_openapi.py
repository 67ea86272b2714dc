"""The OpenAPI document describes exactly what is served."""

import json
import re
import subprocess

import pytest
from lib.http_client import UNKNOWN_SESSION, Http, HttpServer, Session
from lib.python_environment import Package, python_or_skip
from lib.server import ROOT

SOURCE = ROOT / "src/http/openapi.json"
DOCUMENT = json.loads(SOURCE.read_text(encoding="utf-8"))
ROUTES = (ROOT / "src/http/route.c").read_text(encoding="utf-8")
SCHEMATHESIS = Package("schemathesis", "4.32.5", ("schemathesis",))
VALIDATOR = Package("openapi-spec-validator", "0.9.0", ("openapi_spec_validator",))
SECRET, ADMIN = "s3cret", "adm1n"
SECONDS = 40
METHODS = ("get", "post", "delete")


def documented():
    return {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}


def served():
    """The rows of the route table."""
    rows = re.findall(r'\{ROUTE_(GET|POST|DELETE), ROUTE_\w+, \w+, (\w+), (\w+), "([^"]+)"\}',
                      ROUTES)
    assert len(rows) == len(re.findall(r"^    \{ROUTE_", ROUTES, re.M))
    return {(method, path): (opened == "true", session == "true")
            for method, opened, session, path in rows}


def operation(method, path):
    return DOCUMENT["paths"][path][method.lower()]


def test_every_route_is_documented_and_no_other():
    assert documented() == set(served())


def test_open_routes_and_sessions_are_documented():
    for (method, path), (opened, session) in served().items():
        found = operation(method, path)
        assert (found.get("security") == []) == opened, path
        names = [each.get("$ref") for each in found.get("parameters", [])]
        assert ("#/components/parameters/SessionHeader" in names) == session, path
        assert ("401" in found["responses"]) == (not opened), path


def test_all_objects_are_closed():
    def walk(value):
        if isinstance(value, dict):
            if "properties" in value and value.get("type") == "object":
                assert value["additionalProperties"] is False
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)
    walk(DOCUMENT["components"]["schemas"])
    for name, response in DOCUMENT["components"]["responses"].items():
        for content in response.get("content", {}).values():
            assert content["schema"]["additionalProperties"] is False, name


def test_operations_have_different_names():
    names = [operation(*each)["operationId"] for each in documented()]
    assert len(set(names)) == len(names)


def test_the_server_serves_the_document(http):
    response = http.call("GET", "/v1/openapi.json")
    assert response.status == 200
    assert response.header("Content-Type").startswith("application/json")
    assert response.json() == DOCUMENT
    assert response.body == SOURCE.read_bytes()


def test_each_documented_operation_exists(session):
    for method, path in documented():
        path = path.replace("{key}", "key").replace("{id}", UNKNOWN_SESSION)
        response = session.call(path, None, method)
        assert response.status != 405
        assert response.status != 404 or response.error in ("not_found", "not_held") \
            and "/locks/" in path or "/semaphores/" in path, (method, path, response)


def test_the_document_is_valid():
    python = python_or_skip(VALIDATOR)
    done = subprocess.run([python, "-m", "openapi_spec_validator", "--schema", "3.1", SOURCE],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


HOOKS = '''
import schemathesis

WAITS = "acquire_timeout_s", "timeout_s"


def changed(name, value):
    # For JSON Schema 3.0 is an integer, for the server only 3 is.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # Waits end within the time of the test.
    if name in WAITS and type(value) is int and 1 < value <= 9223372036:
        value %= 2
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, dict):
        case.body = {name: changed(name, value) for name, value in case.body.items()}
'''
CONFIGURATION = '''
hooks = "hooks.py"

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "410", "503"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "410", "411", "413", "414", "431"]
'''


@pytest.mark.parametrize("secret", [SECRET, ADMIN], ids=["client", "administrator"])
def test_schemathesis_finds_nothing(secret, seed, tmp_path):
    python = python_or_skip(SCHEMATHESIS)
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    with HttpServer("--shutdown-timeout=1", f"--auth-token={SECRET}", f"--admin-token={ADMIN}",
                    "--default-lease-ttl=2") as server, Session(server, secret) as session:
        base = f"http://{server.http_host}:{server.http_port}"
        command = [python.parent / "schemathesis", "run", f"{base}/v1/openapi.json",
                   "--checks", "all", "--seed", str(seed % (1 << 31)), "--max-examples", "25",
                   "--max-time", str(SECONDS), "--request-timeout", "10", "--workers", "2",
                   "--no-color", "--suppress-health-check", "all",
                   "-H", f"X-Dflockd-Session: {session.id}",
                   "-H", f"Authorization: Bearer {secret}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path,
                              timeout=SECONDS * 3)
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
        with Http(server, secret) as http:
            assert http.call("GET", "/v1/stats").status == 200
        server.terminate()
        assert server.wait() == 0, "".join(server.log)
