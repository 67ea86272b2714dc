#include "bench/report.h"

#include <inttypes.h>
#include <string.h>

/* Above this share, the result may measure the load generator instead of the server. */
#define BUSY_SHARE 0.9

static const struct {
    const char *json;
    const char *text;
    double share;
} percentiles[] = {
    {"p50", "p50", 0.5},       {"p90", "p90", 0.9},          {"p99", "p99", 0.99},
    {"p99_9", "p99.9", 0.999}, {"p99_99", "p99.99", 0.9999},
};

enum {
    PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]),
    LATENCY_FIGURES = PERCENTILES + 2 /* and mean and maximum */
};

static double report_percentile_us(const struct histogram *histogram, int which)
{
    return (double)histogram_percentile(histogram, percentiles[which].share) / 1000;
}

/* ---- text ---- */

static void report_text_latency(const char *name, const struct histogram *histogram, FILE *file)
{
    fprintf(file, "%-18s %12" PRIu64 " %9.1f", name, histogram->count,
            histogram_mean(histogram) / 1000);
    for (int i = 0; i < PERCENTILES; i++)
        fprintf(file, " %9.1f", report_percentile_us(histogram, i));
    fprintf(file, " %9.1f\n", (double)histogram->most_ns / 1000);
}

static void report_text_latencies(const struct result *result, FILE *file)
{
    fprintf(file, "\n%-18s %12s %9s", "latency (us)", "count", "mean");
    for (int i = 0; i < PERCENTILES; i++)
        fprintf(file, " %9s", percentiles[i].text);
    fprintf(file, " %9s\n", "max");
    report_text_latency("rounds", result->total.rounds, file);
    report_text_latency("requests", result->requests, file);
    if (result->settings->shared) {
        report_text_latency("readers' grants", result->total.readers.grants, file);
        report_text_latency("writers' grants", result->total.writers.grants, file);
    }
    for (int kind = 0; kind < REQUEST_KINDS; kind++) {
        if (result->total.kinds[kind].count > 0)
            report_text_latency(codec_request_name((enum request_kind)kind),
                                &result->total.kinds[kind], file);
    }
}

static void report_text_errors(const struct result *result, FILE *file)
{
    const struct settings *settings = result->settings;

    fprintf(file, "\nerrors  ");
    for (int outcome = 0; outcome < OUTCOMES; outcome++) {
        if (result->total.errors[outcome] > 0)
            fprintf(file, " %s %" PRIu64, codec_outcome_name(outcome),
                    result->total.errors[outcome]);
    }
    fprintf(file, "%s\n", result_errors(result) ? "" : " none");
    if (result_failed(result))
        fprintf(file,
                "failed   %" PRIu64 " rounds were refused, %" PRIu64 " lost their connection\n",
                result->total.refused, result->total.broken);
    if (settings->shared)
        fprintf(file, "refused  %" PRIu64 " rounds of readers, %" PRIu64 " of writers\n",
                result->total.readers.refused, result->total.writers.refused);
    fprintf(file, "lost     %" PRIu64 " connections\n", result->total.lost);
    if (result->total.connects_failed)
        fprintf(file, "connect  %" PRIu64 " attempts failed, the last: %s\n",
                result->total.connects_failed, strerror(result->connect_error));
    if (result->unanswered)
        fprintf(file, "silent   %" PRIu64 " workers had no reply at the end\n", result->unanswered);
    if (result->idle_closed)
        fprintf(file, "idle     %" PRIu32 " were closed by the server\n", result->idle_closed);
    if (settings->rate)
        fprintf(file,
                "late     %" PRIu64 " rounds by more than 1 ms\n"
                "skipped  %" PRIu64 " rounds did not start or end in time\n",
                result->total.late, result->total.skipped);
}

static void report_text_cost(const struct result *result, FILE *file)
{
    if (result_server_cpu_us(result) >= 0)
        fprintf(file, "server   %.2f us of CPU per request\n", result_server_cpu_us(result));
    if (result->server_memory_bytes >= 0)
        fprintf(file, "memory   %.1f MiB of the server\n",
                (double)result->server_memory_bytes / 1048576);
    fprintf(file, "bench    %.0f %% of the CPU of its %" PRIu64 " thread%s\n",
            result->own_cpu_share * 100, result->settings->threads,
            result->settings->threads == 1 ? "" : "s");
    if (result->own_cpu_share > BUSY_SHARE)
        fprintf(file, "The bench itself used most of its CPUs; the figures may measure it, not the "
                      "server.\n");
    if (result->check)
        fprintf(file,
                "check    %" PRIu64 " grants, %" PRIu64 " pairs in the order of the queue, %" PRIu64
                " violations\n",
                result->check->grants, result->check->pairs, result->violations);
}

void report_text(const struct result *result, FILE *file)
{
    const struct settings *settings = result->settings;
    uint64_t rounds = result->total.rounds->count;
    uint64_t requests = result->requests->count;

    fprintf(file, "%s on %s keys, %" PRIu64 " workers", settings->load_text, settings->keys_text,
            settings->workers);
    if (settings->connections > 1)
        fprintf(file, " of %" PRIu64 " connections", settings->connections);
    if (settings->new_connection)
        fprintf(file, ", a new connection for each round");
    if (settings->depth > 1)
        fprintf(file, ", %" PRIu64 " rounds at a time", settings->depth);
    fprintf(file, ", %.3f s", result->seconds);
    if (result->signal)
        fprintf(file, " until %s", result_signal_name(result));
    fprintf(file, "\n\n");
    fprintf(file, "rounds   %12" PRIu64 " %12.1f/s\n", rounds, result_per_second(result, rounds));
    fprintf(file, "requests %12" PRIu64 " %12.1f/s\n", requests,
            result_per_second(result, requests));
    report_text_latencies(result, file);
    report_text_errors(result, file);
    report_text_cost(result, file);
}

/* ---- JSON ---- */

static void report_json_latency(const char *name, const struct histogram *histogram, FILE *file)
{
    fprintf(file, "\"%s\":{\"mean\":%.3f", name, histogram_mean(histogram) / 1000);
    for (int i = 0; i < PERCENTILES; i++)
        fprintf(file, ",\"%s\":%.3f", percentiles[i].json, report_percentile_us(histogram, i));
    fprintf(file, ",\"max\":%.3f}", (double)histogram->most_ns / 1000);
}

static void report_json_side(const char *name, const struct result *result,
                             const struct tally_side *side, FILE *file)
{
    if (!result->settings->shared) {
        fprintf(file, "\"%s\":null,", name);
        return;
    }
    fprintf(file, "\"%s\":{\"grants\":%" PRIu64 ",\"refused\":%" PRIu64 ",", name,
            side->grants->count, side->refused);
    report_json_latency("grant_us", side->grants, file);
    fprintf(file, "},");
}

static void report_json_kinds(const struct result *result, FILE *file)
{
    const char *comma = "";

    fprintf(file, "\"kinds\":{");
    for (int kind = 0; kind < REQUEST_KINDS; kind++) {
        const struct histogram *histogram = &result->total.kinds[kind];

        if (histogram->count == 0)
            continue;
        fprintf(file, "%s\"%s\":{\"count\":%" PRIu64 ",", comma,
                codec_request_name((enum request_kind)kind), histogram->count);
        report_json_latency("latency_us", histogram, file);
        fprintf(file, "}");
        comma = ",";
    }
    fprintf(file, "},\"errors\":{");
    comma = "";
    for (int outcome = 0; outcome < OUTCOMES; outcome++) {
        if (result->total.errors[outcome] == 0)
            continue;
        fprintf(file, "%s\"%s\":%" PRIu64, comma, codec_outcome_name(outcome),
                result->total.errors[outcome]);
        comma = ",";
    }
    fprintf(file, "}");
}

void report_json(const struct result *result, FILE *file)
{
    uint64_t rounds = result->total.rounds->count;
    uint64_t requests = result->requests->count;

    fprintf(file,
            "{\"rounds\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"seconds\":%.6f"
            ",\"rounds_per_s\":%.3f,\"requests_per_s\":%.3f,",
            rounds, requests, result->seconds, result_per_second(result, rounds),
            result_per_second(result, requests));
    report_json_latency("latency_us", result->requests, file);
    fprintf(file, ",");
    report_json_latency("round_us", result->total.rounds, file);
    fprintf(file, ",");
    report_json_side("readers", result, &result->total.readers, file);
    report_json_side("writers", result, &result->total.writers, file);
    report_json_kinds(result, file);
    fprintf(file,
            ",\"failed\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"connects_failed\":%" PRIu64
            ",\"unanswered\":%" PRIu64 ",\"late\":%" PRIu64 ",\"skipped\":%" PRIu64
            ",\"interrupted\":%s",
            result_failed(result), result->total.lost, result->total.connects_failed,
            result->unanswered, result->total.late, result->total.skipped,
            result->signal ? "true" : "false");
    if (result_server_cpu_us(result) >= 0)
        fprintf(file, ",\"server_cpu_us_per_request\":%.4f", result_server_cpu_us(result));
    else
        fprintf(file, ",\"server_cpu_us_per_request\":null");
    if (result->server_memory_bytes >= 0)
        fprintf(file, ",\"server_rss_bytes\":%" PRIi64, result->server_memory_bytes);
    else
        fprintf(file, ",\"server_rss_bytes\":null");
    fprintf(file, ",\"own_cpu_share\":%.4f", result->own_cpu_share);
    if (result->check)
        fprintf(file,
                ",\"check\":{\"grants\":%" PRIu64 ",\"pairs\":%" PRIu64 ",\"violations\":%" PRIu64
                "}}\n",
                result->check->grants, result->check->pairs, result->violations);
    else
        fprintf(file, ",\"check\":null}\n");
}

/* ---- CSV ---- */

/* Writes an argument in quotes. */
static void report_csv_text(const char *text, FILE *file)
{
    putc('"', file);
    for (; *text; text++) {
        if (*text == '"')
            putc('"', file);
        putc(*text, file);
    }
    fputs("\",", file);
}

static void report_csv_latency(const struct histogram *histogram, FILE *file)
{
    fprintf(file, ",%.3f", histogram_mean(histogram) / 1000);
    for (int i = 0; i < PERCENTILES; i++)
        fprintf(file, ",%.3f", report_percentile_us(histogram, i));
    fprintf(file, ",%.3f", (double)histogram->most_ns / 1000);
}

static void report_csv_latency_names(const char *of, FILE *file)
{
    fprintf(file, ",%s_mean_us", of);
    for (int i = 0; i < PERCENTILES; i++)
        fprintf(file, ",%s_%s_us", of, percentiles[i].json);
    fprintf(file, ",%s_max_us", of);
}

static void report_csv_side_names(const char *of, FILE *file)
{
    char text[32];

    fprintf(file, ",%s_grants,%s_refused", of, of);
    snprintf(text, sizeof(text), "%s_grant", of);
    report_csv_latency_names(text, file);
}

/* Leaves the values out of a load without shared locks. */
static void report_csv_side(const struct result *result, const struct tally_side *side, FILE *file)
{
    if (result->settings->shared) {
        fprintf(file, ",%" PRIu64 ",%" PRIu64, side->grants->count, side->refused);
        report_csv_latency(side->grants, file);
        return;
    }
    for (int i = 0; i < 2 + LATENCY_FIGURES; i++)
        putc(',', file);
}

void report_csv(const struct result *result, FILE *file)
{
    const struct settings *settings = result->settings;
    uint64_t rounds = result->total.rounds->count;
    uint64_t requests = result->requests->count;

    fprintf(file, "load,keys,workers,connections,depth,threads,rounds,requests,seconds,"
                  "rounds_per_s,requests_per_s");
    report_csv_latency_names("request", file);
    report_csv_latency_names("round", file);
    fprintf(file, ",errors,failed,lost,connects_failed,unanswered,late,skipped,interrupted,"
                  "server_cpu_us_per_request,server_rss_bytes,own_cpu_share,violations");
    report_csv_side_names("reader", file);
    report_csv_side_names("writer", file);
    fprintf(file, "\n");
    report_csv_text(settings->load_text, file);
    report_csv_text(settings->keys_text, file);
    fprintf(file,
            "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
            ",%.6f,%.3f,%.3f",
            settings->workers, settings->connections, settings->depth, settings->threads, rounds,
            requests, result->seconds, result_per_second(result, rounds),
            result_per_second(result, requests));
    report_csv_latency(result->requests, file);
    report_csv_latency(result->total.rounds, file);
    fprintf(file,
            ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
            ",%d,",
            result_errors(result), result_failed(result), result->total.lost,
            result->total.connects_failed, result->unanswered, result->total.late,
            result->total.skipped, result->signal != 0);
    if (result_server_cpu_us(result) >= 0)
        fprintf(file, "%.4f", result_server_cpu_us(result));
    fprintf(file, ",");
    if (result->server_memory_bytes >= 0)
        fprintf(file, "%" PRIi64, result->server_memory_bytes);
    fprintf(file, ",%.4f,", result->own_cpu_share);
    if (result->check)
        fprintf(file, "%" PRIu64, result->violations);
    report_csv_side(result, &result->total.readers, file);
    report_csv_side(result, &result->total.writers, file);
    fprintf(file, "\n");
}

/* ---- HdrHistogram ---- */

bool report_hdr(const struct result *result, FILE *file)
{
    bool fine;

    histogram_write(result->requests, file);
    fine = !ferror(file);
    return fclose(file) == 0 && fine;
}
