"""A file in which processes record when they get and release a lock."""


class EntryLog:
    """The file, and the overlaps and tokens that it shows."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def __str__(self):
        return str(self.path)

    def lines(self):
        return [line.split() for line in self.path.read_text().splitlines()]

    def tokens(self):
        """Returns the tokens in the order in which their holders entered."""
        return [token for event, _, token in self.lines() if event == "enter"]

    def most_inside(self):
        """Returns the largest number of simultaneous holders."""
        inside, most = set(), 0
        for event, name, token in self.lines():
            if event == "enter":
                inside.add((name, token))
                most = max(most, len(inside))
            else:
                inside.remove((name, token))
        assert not inside, "a worker never left"
        return most


def fences(tokens):
    """Returns the fences: the first halves of the tokens, in hexadecimal."""
    return [int(token[:16], 16) for token in tokens]


def is_rising(numbers):
    return all(low < high for low, high in zip(numbers, numbers[1:]))
