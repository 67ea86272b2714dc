"""Measures the contestants of each row in turns, in rounds; and keeps the figures in a file."""

import json
import sys
from subprocess import CalledProcessError

from comparison import machine
from comparison.load import Failed
from comparison.place import FIGURES


def report(text):
    print(text, file=sys.stderr, flush=True)


def rounds_of(row, count, seconds):
    """Returns the figures of each round: label to name to number."""
    rounds = []
    with row.contestants(seconds) as contestants:
        for number in range(1 if row.once else count):
            figures = {}
            for label, measure in contestants.items():
                figures[label] = measure()
                if not row.once:
                    report(f"  {number + 1} {label}: " + show(row, figures[label]))
            rounds.append(figures)
    return rounds


def show(row, figures):
    return ", ".join(figure.show(figures[figure.name]) for figure in row.figures)


def measure(rows, count, seconds):
    """Measures the rows. Returns the names of those that failed.

    Each row's figures are written to the file at once, so that a run can be interrupted.
    """
    failed = []
    for row in rows:
        report(f"{row.name}: {row.title}")
        try:
            rounds = rounds_of(row, count, seconds)
        except (Failed, AssertionError, OSError, RuntimeError, CalledProcessError) as problem:
            report(f"  {type(problem).__name__}: {problem}")
            failed.append(row.name)
            continue
        described = machine.describe()
        figures = read()
        figures["machine"] = described
        figures["rows"][row.name] = {"date": described["date"], "commit": described["commit"],
                                     "seconds": seconds, "rounds": rounds}
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return failed


def read():
    """Returns all figures that were measured until now."""
    if not FIGURES.exists():
        return {"machine": {}, "rows": {}}
    return json.loads(FIGURES.read_text(encoding="utf-8"))
