"""The server refuses invalid options with one clear line that names them, and exit status 1."""

import pytest
from startup import assert_refused, run_server
from test_options import OPTIONS

NUMBERS = ["port", "default-lease-ttl", "lease-sweep-interval", "gc-interval", "gc-max-idle",
           "grant-after", "max-locks", "max-connections", "max-connections-per-ip", "max-waiters",
           "read-timeout", "write-timeout", "shutdown-timeout", "threads", "max-buffered-mib",
           "max-claims", "max-claims-per-connection"]
BOOLEANS = ["auto-release-on-disconnect", "debug"]
NOT_NUMBERS = ["abc", "1.5", "-1", "99999999999999999999", "1 2", "10s"]
OUT_OF_RANGE = [("port", "65536"), ("port", "-1"), ("default-lease-ttl", "0"),
                ("default-lease-ttl", "9223372037")]
# Documented, and not supported yet: the server must not ignore them.
NOT_YET = [
    ("http-port", "8080"),
    ("http-host", "127.0.0.1")]


def variables(flags):
    return [(flag, f"DFLOCKD_{name}") for flag in flags for name in OPTIONS[flag]]


@pytest.mark.parametrize("value", NOT_NUMBERS + [""], ids=ascii)
@pytest.mark.parametrize("flag", NUMBERS)
def test_a_flag_that_is_not_a_number_is_refused(flag, value):
    beside = () if flag == "port" else ("--port", "0")
    assert_refused(run_server(*beside, f"--{flag}={value}"), f"--{flag}")


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=ascii)
@pytest.mark.parametrize("flag, variable", variables(NUMBERS))
def test_a_variable_that_is_not_a_number_is_refused(flag, variable, value):
    beside = () if flag == "port" else ("--port", "0")
    assert_refused(run_server(*beside, environment={variable: value}), variable)


@pytest.mark.parametrize("value", ["maybe", "2", "truefalse", "-1", ""])
@pytest.mark.parametrize("flag", BOOLEANS)
def test_a_flag_that_is_not_a_boolean_is_refused(flag, value):
    assert_refused(run_server("--port", "0", f"--{flag}={value}"), f"--{flag}")


@pytest.mark.parametrize("value", ["maybe", "2", "truefalse", "-1"])
@pytest.mark.parametrize("flag, variable", variables(BOOLEANS))
def test_a_variable_that_is_not_a_boolean_is_refused(flag, variable, value):
    assert_refused(run_server("--port", "0", environment={variable: value}), variable)


@pytest.mark.parametrize("argument, environment", [
    ("--max-locks=1\n", {}), ("--debug=x\ny", {}), ("--max-lo\ncks=1", {}), ("stray\nword", {}),
    ("--debug", {"DFLOCKD_MAX_LOCKS": "1\n"}), ("--max-locks=5", {"DFLOCKD_DEBUG": "x\ny"}),
    ("--host=a\nb", {})], ids=ascii)
def test_a_newline_in_a_refused_value_does_not_break_the_message(argument, environment):
    assert_refused(run_server("--port=0", argument, environment=environment))


@pytest.mark.parametrize("flag, value", OUT_OF_RANGE)
def test_a_number_out_of_range_is_refused(flag, value):
    beside = () if flag == "port" else ("--port", "0")
    assert_refused(run_server(*beside, f"--{flag}={value}"), f"--{flag}")
    variable = f"DFLOCKD_{OPTIONS[flag][0]}"
    assert_refused(run_server(*beside, environment={variable: value}), variable)


@pytest.mark.parametrize("flag", ["--frobnicate", "-x", "--Port=0", "---port=0", "--no-port",
                                  "--port_=0", "--version2"])
def test_an_unknown_flag_is_refused(flag):
    assert_refused(run_server("--port", "0", flag), flag.split("=")[0])


@pytest.mark.parametrize("flag", ["--max-lock=5", "--max-conn=5", "--deb", "--por=0", "--threa=1",
                                  "--no-auto-release", "--vers"])
def test_an_abbreviated_flag_is_refused(flag):
    assert_refused(run_server("--port", "0", flag), flag.split("=")[0])


@pytest.mark.parametrize("flag", [flag for flag in OPTIONS if flag not in BOOLEANS])
def test_a_flag_without_its_value_is_refused(flag):
    assert_refused(run_server(f"--{flag}"), f"--{flag}")


@pytest.mark.parametrize("arguments", [("serve",), ("--debug", "false"), ("6388",)])
def test_a_stray_argument_is_refused(arguments):
    assert_refused(run_server("--port", "0", *arguments), arguments[-1])


def test_only_documented_flags_have_a_no_form():
    assert_refused(run_server("--port", "0", "--no-auto-release-on-disconnect=maybe"),
                   "--no-auto-release-on-disconnect")


@pytest.mark.parametrize("flag, value", NOT_YET)
def test_a_flag_that_is_not_supported_yet_is_refused(flag, value):
    done = run_server("--port", "0", f"--{flag}={value}")
    assert_refused(done, f"--{flag}")
    assert "support" in done.stderr


@pytest.mark.parametrize("flag, value", NOT_YET)
def test_a_variable_that_is_not_supported_yet_is_refused(flag, value):
    variable = f"DFLOCKD_{OPTIONS[flag][0]}"
    done = run_server("--port", "0", environment={variable: value})
    assert_refused(done, variable)
    assert "support" in done.stderr
