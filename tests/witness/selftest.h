/* The judge told of right and wrong histories, as TAP; 0 when it judged them all rightly. */
#ifndef WITNESS_SELFTEST_H
#define WITNESS_SELFTEST_H

int selftest(void);

#endif
