"""A row of the comparison: what is measured of whom, and what it must come to.

A row is measured in rounds. A round asks each contestant once, in turns, for figures: names to
numbers. Contestants are known by labels: "dflockd", or "dflockd/1000" where a size is varied.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """A figure as the report shows it."""

    name: str
    unit: str
    digits: int = 0
    per: float = 1  # the figure is divided by this

    def show(self, value):
        return f"{value / self.per:,.{self.digits}f} {self.unit}".strip()


@dataclass(frozen=True)
class Ratio:
    """A figure of one label beside that of another, of the same round."""

    of: str
    to: str
    figure: str
    at_most: float = None
    at_least: float = None
    what: str = ""
    optional: bool = False  # not every machine can measure it

    def measured(self, rounds):
        """The ratio of the medians, and the least and largest of a round."""
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
    """A figure of one label that must not be above a bound."""

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
    """The median of a figure over the rounds."""
    return median(one[label][figure] for one in rounds)


class Row(ABC):
    """Attributes: `name` for the command line, `title`, `target` as it is asked for, `targets` that
    are checked, `figures` to be shown of each contestant, in the table of targets only those of
    `brief`, and `how` it is measured."""

    name = title = target = how = ""
    targets = ()
    figures = brief = ()
    once = False  # its figures repeat by themselves, one round is enough

    @abstractmethod
    def contestants(self, seconds):
        """A context in which a dictionary of labels to functions that measure is valid."""
