/* The attacks. Each prepares its load, releases it on the stage, and checks all replies. */
#ifndef ATTACKS_LOADS_H
#define ATTACKS_LOADS_H

#include "attacks/settings.h"

typedef void attack(const struct settings *settings, struct result *result);

attack attack_backlogs, attack_claims, attack_closes, attack_connects, attack_drain,
    attack_expiries, attack_handshakes, attack_stats, attack_timeouts;

#endif
