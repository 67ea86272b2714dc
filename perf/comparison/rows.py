"""All rows, in the order of the report."""

from comparison import loads, micro
from comparison.attacks import LONGEST_TURN
from comparison.footprint import IDLE, MEMORY
from comparison.leases import LEASES
from comparison.stats import STATS
from comparison.transports import TRANSPORTS

TARGETS = (*loads.ROWS, *MEMORY, IDLE, loads.HAND_OVER_WAITERS, LEASES, STATS, LONGEST_TURN,
           loads.WORKERS, *TRANSPORTS)
ALL = (*TARGETS, *loads.GROWTH, *micro.ROWS)
BY_NAME = {row.name: row for row in ALL}
