"""Runs dflockd-bench on its own CPU, and reads its figures."""

import json
import subprocess

from comparison.place import BUILD, LOAD_CPU, pinned

WARM_UP_SECONDS = 1
# The points of the latency distribution that are kept for the plot.
SHARES = 0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999


class Failed(Exception):
    """The load failed; the text has the reason."""


def run(server, seconds, *flags, cpus=(LOAD_CPU,), distribution=None, address=None):
    """Returns the figures of `seconds` of load; times are microseconds for one request.

    `address` replaces the server's usual address. If `distribution` is a file, the figures also
    have the times of SHARES of all requests.
    """
    command = [BUILD / "dflockd-bench", "--servers", address or server.address, "--protocol",
               server.protocol, "--server-pid", server.pid, "--duration", seconds,
               "--warmup-seconds", WARM_UP_SECONDS, "--threads", 1, "--quiet", "--json", *flags]
    if distribution:
        command += ["--hdr", distribution]
    done = subprocess.run(pinned(command, *cpus), capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"{' '.join(done.args)}: {(done.stderr or done.stdout).strip()[-500:]}")
    result = json.loads(done.stdout)
    if result["errors"] or result["lost"] or not result["requests"]:
        raise Failed(f"{' '.join(done.args)}: {done.stdout.strip()[-800:]}")
    figures = {
        "requests_per_s": result["requests_per_s"],
        "rounds_per_s": result["rounds_per_s"],
        "cpu_us": result["server_cpu_us_per_request"],
        "round_cpu_us": result["server_cpu_us_per_request"] * result["requests"] / result["rounds"],
        "load_share": result["own_cpu_share"],
        "round_p50": result["round_us"]["p50"],
    }
    figures.update((name, result["latency_us"][name]) for name in
                   ("mean", "p50", "p90", "p99", "p99_9", "max"))
    if distribution:
        figures.update(read_distribution(distribution))
    return figures


def read_distribution(file):
    """Returns the times of SHARES, by names like "share 0.99"."""
    points = []
    for line in file.read_text(encoding="ascii").splitlines():
        words = line.split()
        if words and words[0][0].isdigit():
            points.append((float(words[1]), float(words[0])))
    return {f"share {share}": next((us for at, us in points if at >= share), points[-1][1])
            for share in SHARES}
