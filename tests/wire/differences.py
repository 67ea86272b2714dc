"""The differences of the original server (PyPI's dflockd 0.5.0), by transcript, and their reasons.

`step` is the first line of the transcript that differs, `original` what 0.5.0 does there.
"""

from typing import NamedTuple


class Known(NamedTuple):
    step: str
    original: str
    why: str


CLOSES = ("it closes the connection after every invalid request; "
          "dflockd closes only if framing is lost")
NEWLINE = "it counts the newline among the 256 bytes of a line, so a key ends at 255"
REMAINING = "it replies to `n` with the remaining whole seconds, one less than the new lease"
PLAIN_ERROR = "it replies `error` for error_not_enqueued and error_already_enqueued"
RELEASE_KEEPS_ENQUEUED = "it keeps the enqueued state of a released token"
LOST_LEASE = "it has no error_lease_expired"
NO_LIMITS = "it has no upper limit for numbers, and parses them as Python does"
NO_READ_WHILE_BLOCKED = "it does not read behind a blocked command, so it notices no close"
IDLE_HOLDER = "it closes a silent connection although it holds a lease"
UTF_8 = "it decodes lines as UTF-8, and closes the connection on errors"

NO_OWN = "it has no `own`"
NO_NAME = "it has no `name`"
NO_SHOW = "it has no `show`, and closes the connection"
NO_SHARED = "it has no shared locks, and replies `error` to `rl` and `re`"

DIFFERENCES = {
    "acquire-default-lease": Known("A< ok 7", "ok 6", REMAINING),
    "disconnect-fin-while-blocked": Known("B closed", "(silence)", NO_READ_WHILE_BLOCKED),
    "disconnect-fin-while-blocked-in-wait": Known("B closed", "(silence)", NO_READ_WHILE_BLOCKED),
    "disconnect-of-a-holder-that-waits": Known("C< ok $c 33", "(silence)", NO_READ_WHILE_BLOCKED),
    "disconnect-without-auto-release-waiters": Known(
        "D< ok $d 33", "(silence)", "without auto-release it removes nothing, not even waiters"),
    "enqueue-again-after-wait": Known("A< error_not_enqueued", "error", PLAIN_ERROR),
    "enqueue-released-by-another-clears": Known(
        "A< error_not_enqueued", "timeout", RELEASE_KEEPS_ENQUEUED),
    "enqueue-released-clears": Known("A< error_not_enqueued", "timeout", RELEASE_KEEPS_ENQUEUED),
    "enqueue-renewed": Known("A< ok 30", "ok 29", REMAINING),
    "enqueue-twice": Known("A< error_already_enqueued", "error", PLAIN_ERROR),
    "framing-carriage-return-inside": Known("A< error", "(closed)", CLOSES),
    "framing-line-of-256-with-cr": Known("A< ok $t 33", "error", NEWLINE),
    "framing-long-line-is-drained": Known(
        "A.", "(closed)", "it closes without a reply at 64 KiB without a newline"),
    "framing-nul": Known("A< error", "(closed)", CLOSES),
    "framing-order": Known("A< timeout", "(closed)", CLOSES),
    "framing-unfinished-line": Known(
        "A closed", "ok TOKEN 33", "it treats the end of input as the end of a line"),
    "framing-wrong-but-framed": Known("A< error", "(closed)", CLOSES),
    "key-control-bytes": Known("A< ok 33", "ok 32", REMAINING),
    "key-not-utf-8": Known("A< ok $a 33", "(closed)", UTF_8),
    "key-of-1-and-256-bytes": Known("A< ok $b 33", "error", NEWLINE),
    "max-locks": Known("A< error_not_enqueued", "error", PLAIN_ERROR),
    "max-locks-idle-states": Known(
        "A< ok $c 33", "error_max_locks", "at the limit it also refuses `l` on existing keys"),
    "max-locks-unheld-token-and-idle-clock": Known(
        "A< ok $b 33", "error_max_locks", "any `r` or `n` restarts the idle clock of its key"),
    "name": Known("A< ok", "error", NO_NAME),
    "name-refused": Known("A< ok", "error", NO_NAME),
    "own-ends-the-enqueued-state": Known("B< ok", "error", NO_OWN),
    "own-needs-a-token-that-holds-the-key": Known("B< error", "(closed)", CLOSES),
    "own-passes-what-keeps-a-connection-open": Known("B< ok", "error", NO_OWN),
    "renew": Known("A< ok 100", "ok 99", REMAINING),
    "renew-from-another-connection": Known("B< ok 60", "ok 59", REMAINING),
    "renew-lengthens-the-lease": Known("A< ok 30", "ok 29", REMAINING),
    "renew-shortens-the-lease": Known("A< ok 1", "ok 0", REMAINING),
    "revoke-with-no-secret": Known("A< ok 33", "(closed)", CLOSES),
    "shared-bad-arguments": Known("A< error", "(closed)", CLOSES),
    "shared-readers-and-writers": Known("A< ok $a 20", "error", NO_SHARED),
    "shared-writer-leaves-the-queue": Known("A< ok $a 33", "error", NO_SHARED),
    "show-a-holder-that-is-gone": Known("A< ok", "error", NO_NAME),
    "show-any-key": Known("A< ok $a 33", "(closed)", UTF_8),
    "show-bad-arguments": Known("A< error", "(closed)", CLOSES),
    "show-locks": Known("A< ok $a 50", "(closed)", NO_SHOW),
    "show-owner": Known("A< ok $s 33", "error", NO_SHARED),
    "show-shared-locks": Known("A< ok $a 33", "error", NO_SHARED),
    "timeout-a-released-lease-is-idle": Known("A. 1.6", "error", IDLE_HOLDER),
    "timeout-an-expired-lease-is-idle": Known("A. 1.6", "error", IDLE_HOLDER),
    "value-lease": Known("A< error", "(closed)", CLOSES),
    "value-lease-of-renew": Known("A< error", "(closed)", CLOSES),
    "value-no-other-digits": Known("A< error", "ok TOKEN 33", NO_LIMITS),
    "value-timeout": Known("A< error", "ok TOKEN 33", NO_LIMITS),
    "value-timeout-of-wait": Known("A< error", "(closed)", CLOSES),
    "value-token": Known("A< error", "(closed)", CLOSES),
    "wait-after-a-lost-lease-was-collected": Known("A< error_not_enqueued", "timeout", LOST_LEASE),
    "wait-after-a-lost-lease-with-collection-at-once": Known(
        "A< error_not_enqueued", "timeout", LOST_LEASE),
    "wait-after-losing-a-queued-grant": Known("B< error_lease_expired", "ok TOKEN 1",
                                              "it returns a grant whose lease has expired"),
    "wait-after-losing-the-lease": Known("A< error_lease_expired", "timeout", LOST_LEASE),
    "wait-after-losing-the-lease-to-another": Known(
        "A< error_lease_expired", "timeout", LOST_LEASE),
    "wait-from-another-connection": Known("B< error_not_enqueued", "error", PLAIN_ERROR),
    "wait-holding-by-acquire": Known("A< error_not_enqueued", "error", PLAIN_ERROR),
    "wait-restarts-the-lease-of-a-queued-grant": Known("B< ok 33", "ok 32", REMAINING),
    "wait-times-out": Known("B< error_not_enqueued", "error", PLAIN_ERROR),
    "wait-try-times-out": Known("B< error_not_enqueued", "error", PLAIN_ERROR),
}
