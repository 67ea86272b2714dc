"""Rounds, each contestant of a row in turns, again and again; and the file that keeps figures."""

import json
import sys
from subprocess import CalledProcessError

from comparison import machine
from comparison.load import Failed
from comparison.place import FIGURES


def say(text):
    print(text, file=sys.stderr, flush=True)


def rounds_of(row, count, seconds):
    """The figures of each round: label to name to number."""
    rounds = []
    with row.contestants(seconds) as contestants:
        for number in range(1 if row.once else count):
            figures = {}
            for label, measure in contestants.items():
                figures[label] = measure()
                if not row.once:
                    say(f"  {number + 1} {label}: " + shown(row, figures[label]))
            rounds.append(figures)
    return rounds


def shown(row, figures):
    return ", ".join(figure.show(figures[figure.name]) for figure in row.figures)


def measure(rows, count, seconds):
    """All of the rows, as far as they can be; returns the names of those that can't.

    A row's figures replace those it had in the file at once, so that a run may be broken off.
    """
    failed = []
    for row in rows:
        say(f"{row.name}: {row.title}")
        try:
            rounds = rounds_of(row, count, seconds)
        except (Failed, AssertionError, OSError, RuntimeError, CalledProcessError) as problem:
            say(f"  {type(problem).__name__}: {problem}")
            failed.append(row.name)
            continue
        told = machine.describe()
        figures = read()
        figures["machine"] = told
        figures["rows"][row.name] = {"date": told["date"], "commit": told["commit"],
                                     "seconds": seconds, "rounds": rounds}
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return failed


def read():
    """What was measured up to now."""
    if not FIGURES.exists():
        return {"machine": {}, "rows": {}}
    return json.loads(FIGURES.read_text(encoding="utf-8"))
