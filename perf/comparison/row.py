"""A row of the comparison: its contestants, figures and targets.

A row is measured in rounds. In a round, each contestant in turn returns its figures, a dictionary
of names to numbers. A contestant's label is "dflockd", or "dflockd/1000" if the size varies.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """How the report shows a figure."""

    name: str
    unit: str
    digits: int = 0
    per: float = 1  # the figure is divided by this

    def show(self, value):
        return f"{value / self.per:,.{self.digits}f} {self.unit}".strip()


@dataclass(frozen=True)
class Ratio:
    """A target: a figure of label `of`, divided by that of label `to`."""

    of: str
    to: str
    figure: str
    at_most: float = None
    at_least: float = None
    what: str = ""
    optional: bool = False  # not every machine can measure it

    def measured(self, rounds):
        """Returns the ratio of the medians, and the smallest and largest of a round; or None."""
        if not all(label in one for one in rounds for label in (self.of, self.to)):
            return None
        each = [one[self.of][self.figure] / one[self.to][self.figure] for one in rounds]
        return (of_rounds(rounds, self.of, self.figure) / of_rounds(rounds, self.to, self.figure),
                min(each), max(each))

    def show(self, value):
        return f"{value:.2f}"

    def bound(self):
        sign, value = ("<=", self.at_most) if self.at_least is None else (">=", self.at_least)
        return f"{sign} {value:.2f}"

    def holds(self, value):
        return value <= self.at_most if self.at_least is None else value >= self.at_least


@dataclass(frozen=True)
class Bound:
    """A target: an upper bound for a figure of one label."""

    of: str
    figure: str
    at_most: float
    unit: str
    digits: int = 0
    what: str = ""
    optional: bool = False  # not every machine can measure it

    def measured(self, rounds):
        if not all(self.of in one for one in rounds):
            return None
        each = [one[self.of][self.figure] for one in rounds]
        return median(each), min(each), max(each)

    def show(self, value):
        return f"{value:,.{self.digits}f} {self.unit}"

    def bound(self):
        return f"<= {self.at_most:g} {self.unit}"

    def holds(self, value):
        return round(value, self.digits) <= self.at_most


def of_rounds(rounds, label, figure):
    """Returns the median of a figure over the rounds."""
    return median(one[label][figure] for one in rounds)


class Row(ABC):
    """`name` is for the command line. `target` is the target's text; `targets` are checked.

    The report shows `figures` of each contestant, in the table of targets only those of `brief`.
    `how` describes the measurement.
    """

    name = title = target = how = ""
    targets = ()
    figures = brief = ()
    once = False  # the figures are repeatable: one round is enough

    @abstractmethod
    def contestants(self, seconds):
        """Returns a context of a dictionary: labels to functions that measure."""
