"""Rounds: each contestant of a row in turns, again and again; and the file that keeps the figures."""

import json
import sys
from datetime import date

from comparison import machine
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


def measure(row, count, seconds):
    """One row; its figures replace those it had in the file."""
    say(f"{row.name}: {row.title}")
    kept = {"date": date.today().isoformat(), "seconds": seconds,
            "rounds": rounds_of(row, count, seconds)}
    figures = read()
    figures["machine"] = machine.describe()
    figures["rows"][row.name] = kept
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read():
    """What was measured up to now."""
    if not FIGURES.exists():
        return {"machine": {}, "rows": {}}
    return json.loads(FIGURES.read_text(encoding="utf-8"))
