/*
 * Reports valid and invalid histories to the judge and prints TAP. Returns 0 if all verdicts are
 * right.
 */
#ifndef WITNESS_SELFTEST_H
#define WITNESS_SELFTEST_H

int selftest(void);

#endif
