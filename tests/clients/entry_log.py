"""A file in which the processes of a crowd write when they enter and when they leave."""


class EntryLog:
    """The file, and what it tells: who was inside together, and with which tokens."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def __str__(self):
        return str(self.path)

    def lines(self):
        return [line.split() for line in self.path.read_text().splitlines()]

    def tokens(self):
        """The tokens in the order in which their holders entered."""
        return [token for event, _, token in self.lines() if event == "enter"]

    def most_inside(self):
        """The largest number that was inside at one time."""
        inside, most = set(), 0
        for event, name, token in self.lines():
            if event == "enter":
                inside.add((name, token))
                most = max(most, len(inside))
            else:
                inside.remove((name, token))
        assert not inside, "someone never left"
        return most


def fences(tokens):
    """The first half of each token is the fence, a number in hexadecimal."""
    return [int(token[:16], 16) for token in tokens]


def is_rising(numbers):
    return all(low < high for low, high in zip(numbers, numbers[1:]))
