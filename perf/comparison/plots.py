"""The plots of the report, as SVG files. Equal figures give equal files."""

import matplotlib
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, NullLocator

from comparison.load import SHARES
from comparison.loads import CONNECTIONS, KEYS_HELD, MORE_CONNECTIONS, WAITERS
from comparison.place import PLOTS
from comparison.row import of_rounds

# Readable on white and on black: a transparent background, no very light or very dark colour.
GREY = "#808890"
COLOURS = {"ceiling": GREY, "dflockd": "#3584e4", "redis": "#d9534f", "python": "#2f9e5f"}
NAMES = {"ceiling": "ceiling (does nothing)", "dflockd": "dflockd", "redis": "Redis 7",
         "python": "dflockd 0.5.0 (Python)"}
MARKS = {"ceiling": "s", "dflockd": "o", "redis": "^", "python": "D"}
STEPS = {"own": ("acquire + release of an own key", "#3584e4", "o"),
         "two-phase": ("enqueue + wait + release", "#2f9e5f", "D"),
         "try": ("try on any held key", "#d9534f", "^"),
         "renew": ("renewal of any held key", "#b07d12", "s"),
         "release": ("release of any held key", "#9a5fc0", "v"),
         "expire": ("end of a lease", GREY, "x")}
STYLE = {
    "svg.hashsalt": "dflockd", "svg.fonttype": "none", "font.family": "sans-serif",
    "font.size": 11, "axes.titlesize": 12, "text.color": GREY, "axes.labelcolor": GREY,
    "axes.edgecolor": GREY, "axes.titlecolor": GREY, "xtick.color": GREY, "ytick.color": GREY,
    "axes.grid": True, "grid.color": GREY, "grid.alpha": 0.25, "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "lines.linewidth": 1.8, "lines.markersize": 4.5,
}


def number(value, _=None):
    """Returns the number as in 1k, 10k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def plain(axis):
    axis.set_major_formatter(FuncFormatter(number))
    axis.set_minor_locator(NullLocator())


def panel(axes, title, x_label, y_label):
    axes.set_title(title, loc="left")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


def line(axes, name, xs, ys, **style):
    # The ceiling is thin and dashed, because it is not a lock server.
    if name == "ceiling":
        style = {"linestyle": "--", "linewidth": 1.3, **style}
    axes.plot(xs, ys, color=COLOURS[name], marker=MARKS[name],
              **{"label": NAMES[name], **style})


def legend_below(figure, axes, columns):
    """Draws one legend for all panels."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncol=columns, bbox_to_anchor=(0.5, 0))


def save(figure, name):
    PLOTS.mkdir(exist_ok=True)
    figure.savefig(PLOTS / f"{name}.svg", bbox_inches="tight", transparent=True,
                   metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def connections(rows):
    rounds = rows["growth-connections"]["rounds"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
    for name in COLOURS:
        line(left, name, CONNECTIONS,
             [of_rounds(rounds, f"{name}/{count}", "requests_per_s") for count in CONNECTIONS])
        line(right, name, CONNECTIONS,
             [of_rounds(rounds, f"{name}/{count}", "p99") for count in CONNECTIONS])
    for axes in left, right:
        axes.set_xscale("log")
        plain(axes.xaxis)
    left.set_ylim(bottom=0)
    right.set_yscale("log")
    plain(left.yaxis)
    plain(right.yaxis)
    panel(left, "Throughput, one CPU for the server", "connections", "requests per second")
    panel(right, "Latency, 99th percentile", "connections", "microseconds")
    legend_below(figure, left, 4)
    save(figure, "connections")


def growth(rows):
    figure, panels = pyplot.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True)
    draw = growth_keys, growth_connections, growth_waiters
    for axes, one in zip(panels, draw):
        one(axes, rows)
        axes.set_ylim(0, 1.15 * axes.dataLim.ymax)
    save(figure, "growth")


def growth_keys(axes, rows):
    rounds = rows["growth-keys"]["rounds"]
    line(axes, "dflockd", [number(size) for size in KEYS_HELD],
         [of_rounds(rounds, f"dflockd/{size}", "cpu_us") for size in KEYS_HELD])
    panel(axes, "Keys", "keys held by others", "server CPU per request, us")


def growth_connections(axes, rows):
    rounds = rows["growth-connections"]["rounds"]
    sizes = *CONNECTIONS, MORE_CONNECTIONS
    for name in "ceiling", "dflockd":
        line(axes, name, sizes,
             [of_rounds(rounds, f"{name}/{size}", "cpu_us") for size in sizes])
    axes.set_xscale("log")
    plain(axes.xaxis)
    axes.legend(loc="upper right", fontsize=9)
    panel(axes, "Connections", "connections at work", "server CPU per request, us")


def growth_waiters(axes, rows):
    rounds = rows["hand-over-waiters"]["rounds"]
    line(axes, "dflockd", WAITERS,
         [of_rounds(rounds, f"dflockd/{size}", "round_cpu_us") for size in WAITERS],
         label="hand-over")
    line(axes, "ceiling", WAITERS,
         [of_rounds(rounds, f"own keys/{size}", "round_cpu_us") for size in WAITERS],
         label="no hand-over, as many connections")
    axes.set_xscale("log")
    plain(axes.xaxis)
    axes.legend(loc="lower right", fontsize=9)
    panel(axes, "Waiters", "waiters on one key", "server CPU per hand-over, us")


def latency(rows):
    rounds = rows["own-16"]["rounds"]
    shares = [share for share in SHARES if 0 < share < 0.99999]
    figure, axes = pyplot.subplots(figsize=(7, 3.8), constrained_layout=True)
    for name in COLOURS:
        line(axes, name, [1 / (1 - share) for share in shares],
             [of_rounds(rounds, name, f"share {share}") for share in shares])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([2, 10, 100, 1000, 10000], ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"])
    axes.xaxis.set_minor_locator(NullLocator())
    plain(axes.yaxis)
    panel(axes, "Latency, 16 connections", "share of requests answered in", "microseconds")
    legend_below(figure, axes, 2)
    save(figure, "latency")


def steps(rows):
    figures = rows["micro"]["rounds"][0]
    figure, axes = pyplot.subplots(figsize=(7, 3.8), constrained_layout=True)
    for step, (name, colour, mark) in STEPS.items():
        sizes = sorted(int(label.split("/")[1]) for label in figures
                       if label.startswith(f"{step}/"))
        axes.plot(sizes, [figures[f"{step}/{size}"]["ns"] for size in sizes], color=colour,
                  marker=mark, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain(axes.xaxis)
    plain(axes.yaxis)
    panel(axes, "The lock table alone", "keys held by others", "nanoseconds")
    axes.legend(loc="upper left", fontsize=9)
    save(figure, "steps")


# Each plot with its title and the rows that it needs.
PLOTTED = (
    (connections, "Throughput and latency over connections", {"growth-connections"}),
    (latency, "Distribution of latency", {"own-16"}),
    (growth, "Growth over keys, connections and waiters",
     {"growth-keys", "growth-connections", "hand-over-waiters"}),
    (steps, "Steps of the lock table alone over keys", {"micro"}),
)


def draw(rows):
    """Draws the plots whose rows were measured. Returns their names and titles."""
    matplotlib.use("svg")
    drawn = []
    with matplotlib.rc_context(STYLE):
        for plot, title, needed in PLOTTED:
            if needed <= rows.keys():
                plot(rows)
                drawn.append((plot.__name__, title))
    return drawn
