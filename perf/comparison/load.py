"""Load on a server by dflockd-bench, on a CPU of its own, and what it tells."""

import json
import subprocess

from comparison.place import BUILD, LOAD_CPU, pinned

WARM_UP_SECONDS = 1
# What of the whole distribution is kept, to be drawn.
SHARES = 0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999


class Failed(Exception):
    """The load was not what it should have been; the text says how."""


def run(server, seconds, *flags, cpus=(LOAD_CPU,), distribution=None, address=None):
    """Figures of `seconds` of load; times in microseconds, each for one request.

    `address` is another one than the server's usual. `distribution` is a file: then the figures
    also hold the times of SHARES of all requests.
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
    told = json.loads(done.stdout)
    if told["errors"] or told["lost"] or not told["requests"]:
        raise Failed(f"{' '.join(done.args)}: {done.stdout.strip()[-800:]}")
    figures = {
        "requests_per_s": told["requests_per_s"],
        "rounds_per_s": told["rounds_per_s"],
        "cpu_us": told["server_cpu_us_per_request"],
        "round_cpu_us": told["server_cpu_us_per_request"] * told["requests"] / told["rounds"],
        "load_share": told["own_cpu_share"],
        "round_p50": told["round_us"]["p50"],
    }
    figures.update((name, told["latency_us"][name]) for name in
                   ("mean", "p50", "p90", "p99", "p99_9", "max"))
    if distribution:
        figures.update(read_distribution(distribution))
    return figures


def read_distribution(file):
    """The times of SHARES, by names like "share 0.99"."""
    points = []
    for line in file.read_text(encoding="ascii").splitlines():
        words = line.split()
        if words and words[0][0].isdigit():
            points.append((float(words[1]), float(words[0])))
    return {f"share {share}": next((us for at, us in points if at >= share), points[-1][1])
            for share in SHARES}
