"""Writes the report, perf/report.md, from the figures that were kept."""

from comparison import plots
from comparison.place import REPORT, TRIED
from comparison.row import of_rounds
from comparison.rows import ALL, TARGETS

COLUMNS = {"ceiling": "ceiling", "dflockd": "dflockd", "redis": "Redis", "python": "Python"}
NOTHING = "—"
BUSY = 0.95


def label_order(label):
    """Returns a sort key: the name, then the size as a number."""
    name, _, size = label.partition("/")
    return name, int(size) if size.isdigit() else -1


def sized(label):
    """Returns a label with commas in its size."""
    name, _, size = label.partition("/")
    return f"{name}, {int(size):,}" if size.isdigit() else ", ".join(filter(None, (name, size)))


def labels_of(rounds):
    return list(rounds[0])


def table(heads, lines):
    rule = ["---"] * len(heads)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines)) + "\n"


# ---- the table of targets ----

def cell(row, rounds, server):
    """Returns a server's figures, for each size if there are several."""
    parts = []
    for label in labels_of(rounds):
        name, _, size = label.partition("/")
        if name == server:
            figures = ", ".join(figure.show(of_rounds(rounds, label, figure.name))
                                for figure in row.brief or row.figures)
            parts.append(f"{int(size):,}: {figures}" if size.isdigit() else
                         f"{size}: {figures}" if size else figures)
    return "<br>".join(parts) or NOTHING


def judged(target, rounds):
    """Returns a target's figure with its bound, and whether it holds; None if not measured."""
    measured = target.measured(rounds)
    if measured is None:
        return None
    value, least, most = measured
    holds = target.holds(value)
    text = (f"{target.what}: " if target.what else "") + target.show(value)
    if target.show(least) != target.show(most):
        text += f" ({target.show(least)} to {target.show(most)})"
    return f"{text}, {'' if holds else 'not '}{target.bound()}", holds


def judgements(row, rounds):
    return [judged(target, rounds) for target in row.targets
            if not (target.optional and target.measured(rounds) is None)]


def verdict(row, kept):
    """Returns the texts of two cells: the figures of the targets, and the verdict."""
    if row.name not in kept:
        return NOTHING, "not measured"
    rounds = kept[row.name]["rounds"]
    all_judged = judgements(row, rounds)
    if None in all_judged:
        return NOTHING, "not measured"
    texts = [text if holds or len(all_judged) == 1 else f"**{text}**" for text, holds in all_judged]
    reached = all(holds for _, holds in all_judged)
    return "<br>".join(texts), "reached" if reached else "**falls short**"


def targets(kept):
    lines = []
    for row in TARGETS:
        rounds = kept[row.name]["rounds"] if row.name in kept else [{}]
        lines.append([row.title, row.target,
                      *(cell(row, rounds, server) for server in COLUMNS), *verdict(row, kept)])
    return table(["work", "target", *COLUMNS.values(), "measured", ""], lines)


def summary(kept):
    verdicts = [verdict(row, kept)[1] for row in TARGETS]
    parts = [f"{verdicts.count(word)} {text}" for word, text in
             (("reached", "reached"), ("**falls short**", "fall short"),
              ("not measured", "not measured"))
             if verdicts.count(word)]
    return f"Of {len(verdicts)} rows: {', '.join(parts)}.\n"


# ---- row by row ----

def details(row, kept):
    """Returns the section of a row: its method, figures and targets."""
    entry = kept[row.name]
    rounds = entry["rounds"]
    heads = ["", *(figure.unit for figure in row.figures)]
    with_load = "load_share" in rounds[0][labels_of(rounds)[0]]
    if with_load:
        heads.append("the load's CPU")
    lines = []
    for label in labels_of(rounds):
        line = [sized(label)] + [
            f"{of_rounds(rounds, label, figure.name) / figure.per:,.{figure.digits}f}"
            for figure in row.figures]
        if with_load:
            share = of_rounds(rounds, label, "load_share")
            line.append(f"{share:.0%}" + (", its limit" if share >= BUSY else ""))
        lines.append(line)
    how = f"{row.how[0].upper()}{row.how[1:]}. " if row.how else ""
    load = f" of {entry['seconds']} s" if with_load else ""
    times = f"{len(rounds)} round{'s' if len(rounds) > 1 else ''}{load}"
    when = f"{times}, {entry['date']}, {entry['commit']}."
    judged_text = "\n".join(f"- {text if holds else f'**{text}**'}"
                            for text, holds in filter(None, judgements(row, rounds)))
    return (f"### `{row.name}`: {row.title}\n\n{how}{when}\n\n{table(heads, lines)}\n"
            + (f"{judged_text}\n\n" if judged_text else ""))


def steps(kept):
    """Returns the section of the micro-benchmarks: nanoseconds and instructions of each step."""
    times = kept["micro"]["rounds"][0] if "micro" in kept else {}
    counts = kept["instructions"]["rounds"][0] if "instructions" in kept else {}
    lines = []
    for label in sorted(times.keys() | counts.keys(), key=label_order):
        name, _, size = label.partition("/")
        lines.append([f"`{name}`", f"{int(size):,}" if int(size) else "",
                      f"{times[label]['ns']:,.1f}" if label in times else NOTHING,
                      f"{counts[label]['instructions']:,.0f}" if label in counts else NOTHING])
    return (
        "## The parts alone\n\n"
        "`build/perf/micro` measures nanoseconds without kernel and network; `perf/instructions` "
        "counts instructions under valgrind. The size is the number of keys held by others; for "
        "`hand-over`, of waiters on the key; for `disconnect`, of keys that the client holds, each "
        "of which counts as a step. Each `try`, `renew` and `release` uses another held key, which "
        "is no longer in the processor's caches; the latter two use the key whose lease ends next. "
        "`own` and `two-phase` use a thousand keys in turn.\n\n"
        + table(["step", "size", "ns", "instructions"], lines))


# ---- the whole report ----

def machine(described):
    return (
        f"Measured on {described['date']}: {described['cpu']}, {described['cores']} cores, "
        f"{described['memory_gib']} GiB, {described['kernel']}; commit {described['commit']}; "
        f"{described['redis']}; "
        f"the server of PyPI's dflockd 0.5.0 on {described['python']}.\n")


HOW = """
`perf/compare` measures all rows in one run of about 45 minutes, and writes this file. Each server
is pinned to one CPU and the load, `dflockd-bench`, to another. Every row starts its own servers.
The load warms up for a second before each measurement. A row has several rounds. In each round,
every server has its turn, so that other work on the machine affects all servers alike. Figures are
medians over the rounds. A ratio is that of the medians; the brackets have the smallest and the
largest ratio of a round. CPU is the CPU time of the server's process (`/proc/PID/stat`) for each
request; an acquire and a release are two requests. *Ceiling* (`perf/ceiling.c`) is a server that
sends the same reply to every request, on a ring like dflockd's. If the load's CPU is at its limit,
throughput measures the load rather than the server, but CPU still measures the server.
"""


def write(figures):
    kept = figures["rows"]
    if not kept:
        raise SystemExit("compare: no figures; run perf/compare without --report")
    parts = ["# How fast it is\n", machine(figures["machine"]), summary(kept),
             "## Targets\n", targets(kept)]
    drawn = plots.draw(kept)
    if drawn:
        parts.append("## Plots\n")
        parts += [f"![{title}](plots/{name}.svg)\n" for name, title in drawn]
    parts += ["## How it was measured\n" + HOW, "## Row by row\n"]
    parts += [details(row, kept).rstrip("\n") + "\n" for row in ALL
              if row.name in kept and row.figures]
    if "micro" in kept or "instructions" in kept:
        parts.append(steps(kept))
    if TRIED.exists():
        parts.append(TRIED.read_text(encoding="utf-8"))
    REPORT.write_text("\n".join(parts), encoding="utf-8")
