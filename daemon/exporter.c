/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exporter.c - the table of figures, and the small HTTP server that gives them.
 */
#include "daemon/exporter.h"

#include "config.h"

#include <arpa/inet.h>
#include <math.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/oom.h"
#include "base/str.h"
#include "daemon/state.h"

enum { CONNECTIONS = 16, SECONDS = 10 };

struct exporter {
    const struct hub *hub;
    struct MHD_Daemon *server;
    int fd;
};

/* --- figures ------------------------------------------------------------------- */

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: \ " and newlines are escaped (the format's rules). */
static void put_label(struct buf *out, const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            buf_puts(out, "\\n");
        else
            buf_printf(out, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
}

static double resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long all = 0, resident = 0;

    if (f && fscanf(f, "%lu %lu", &all, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void put_daemon(const struct hub *h, struct buf *out)
{
    const struct {
        const char *name, *type, *help;
        double value;
    } rows[] = {
        {"nnd_start_time_seconds", "gauge", "When nnd was started, since 1970.",
         (double)h->started_us / 1e6},
        {"nnd_slots", "gauge", "Processors that are handed out.", h->slots},
        {"nnd_slots_used", "gauge", "Processors that jobs have.", h->slots_used},
        {"nnd_events_total", "counter", "Events in the journal.",
         (double)store_seq(h->store)},
        {"process_resident_memory_bytes", "gauge", "Memory of nnd.", resident_bytes()},
    };

    head(out, "nnd_info", "gauge", "The version of nnd.");
    buf_printf(out, "nnd_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        head(out, rows[i].name, rows[i].type, rows[i].help);
        buf_printf(out, "%s %.17g\n", rows[i].name, rows[i].value);
    }
}

static void put_states(const struct hub *h, struct buf *out)
{
    unsigned count[STATE_COUNT] = {0};

    for (size_t i = 0; i < h->njobs; i++)
        count[h->jobs[i]->state]++;
    head(out, "nnd_jobs", "gauge", "Jobs that have not ended, by state.");
    for (int s = WIRE__STATE__HELD; s < WIRE__STATE__COMPLETED; s++)
        buf_printf(out, "nnd_jobs{state=\"%s\"} %u\n", state_name((Wire__State)s),
                   count[s]);
}

/* Figures of a job that runs: doubles and flags of Wire__RankMetric by name. */
static const struct {
    const char *field, *name, *type, *help;
} figures[] = {
    {"step", "nnd_job_step", "counter", "Steps done."},
    {"tokens", "nnd_job_tokens_total", "counter", "Tokens trained on."},
    {"loss", "nnd_job_loss", "gauge", "Training loss, nats per token."},
    {"val_loss", "nnd_job_val_loss", "gauge", "Validation loss, nats per token."},
    {"lr", "nnd_job_lr", "gauge", "Learning rate."},
    {"grad_norm", "nnd_job_grad_norm", "gauge", "Norm of the gradient."},
    {"tokens_per_s", "nnd_job_tokens_per_second", "gauge", "Tokens per second."},
    {"step_seconds", "nnd_job_step_seconds", "gauge", "Seconds of the last step."},
    {"send_seconds", "nnd_job_send_seconds", "gauge",
     "Seconds that gradients and weights of the last step were on their way."},
    {"send_hidden", "nnd_job_send_hidden_ratio", "gauge",
     "Share of that behind which the rank computed, 0 to 1."},
    {"dead_experts", "nnd_job_dead_experts", "gauge", "Experts without tokens."},
    {"max_overload", "nnd_job_max_overload", "gauge",
     "Load of the busiest expert, in balanced loads."},
};

/* The value of an optional number; NAN when absent. */
static double number_of(const ProtobufCMessage *m, const char *name)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);
    const char *base = (const char *)m;

    if (!f || !*(const protobuf_c_boolean *)(base + f->quantifier_offset))
        return NAN;
    switch (f->type) {
    case PROTOBUF_C_TYPE_DOUBLE:
        return *(const double *)(base + f->offset);
    case PROTOBUF_C_TYPE_UINT64:
        return (double)*(const uint64_t *)(base + f->offset);
    case PROTOBUF_C_TYPE_UINT32:
        return *(const uint32_t *)(base + f->offset);
    default:
        return NAN;
    }
}

static void put_jobs(const struct hub *h, struct buf *out)
{
    for (size_t k = 0; k < sizeof figures / sizeof *figures; k++) {
        head(out, figures[k].name, figures[k].type, figures[k].help);
        for (size_t i = 0; i < h->njobs; i++) {
            const struct job *j = h->jobs[i];
            double v = number_of(&j->metric.base, figures[k].field);

            if (!state_is_live(j->state) || !isfinite(v))
                continue;
            buf_printf(out, "%s{job=\"%llu\",name=\"", figures[k].name,
                       (unsigned long long)j->id);
            put_label(out, j->name);
            buf_printf(out, "\"} %.17g\n", v);
        }
    }
}

void exporter_text(const struct hub *h, struct buf *out)
{
    put_daemon(h, out);
    put_states(h, out);
    put_jobs(h, out);
}

/* --- HTTP ------------------------------------------------------------------------- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status,
                              const char *text, size_t len)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, (void *)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result rc;

    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE,
                            "text/plain; version=0.0.4; charset=utf-8");
    rc = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version,
                                  const char *body, size_t *body_len, void **state)
{
    const struct exporter *x = arg;
    struct buf out = {0};
    enum MHD_Result rc;

    (void)version, (void)body, (void)body_len, (void)state;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return answer(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET\n", 4);
    if (strcmp(url, "/metrics") != 0)
        return answer(c, MHD_HTTP_NOT_FOUND, "/metrics\n", 9);
    exporter_text(x->hub, &out);
    rc = answer(c, MHD_HTTP_OK, out.data, out.len);
    buf_free(&out);
    return rc;
}

/* "127.0.0.1:9464" or "[::1]:9464". */
static bool parse_address(const char *text, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    const char *colon = strrchr(text, ':');
    char host[64];
    uint64_t port;
    size_t n = colon ? (size_t)(colon - text) : 0;

    *out = (struct sockaddr_storage){0};
    if (n == 0 || n >= sizeof host || !str_to_u64(colon + 1, &port) || port > 65535)
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    if (host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
    }
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

int exporter_open(const char *address, const struct hub *h, struct exporter **out,
                  struct err *e)
{
    struct exporter *x = oom_calloc(1, sizeof *x);
    struct sockaddr_storage at;
    unsigned flags = MHD_USE_EPOLL;
    const union MHD_DaemonInfo *info = NULL;

    x->hub = h;
    if (!parse_address(address, &at)) {
        free(x);
        return err_set(e, ERR_USAGE,
                       "metrics.listen: must be ADDRESS:PORT, such as 127.0.0.1:9464, "
                       "got \"%s\"",
                       address);
    }
    if (at.ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    x->server = MHD_start_daemon(flags, 0, NULL, NULL, on_request, x,
                                 MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
                                 (unsigned)SECONDS, MHD_OPTION_END);
    if (x->server)
        info = MHD_get_daemon_info(x->server, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info) {
        exporter_close(x);
        return err_set(e, ERR_FAILED, "metrics.listen: cannot listen at %s", address);
    }
    x->fd = info->epoll_fd;
    *out = x;
    return 0;
}

void exporter_close(struct exporter *x)
{
    if (!x)
        return;
    if (x->server)
        MHD_stop_daemon(x->server);
    free(x);
}

int exporter_fd(const struct exporter *x)
{
    return x->fd;
}

long exporter_run(struct exporter *x)
{
    MHD_UNSIGNED_LONG_LONG ms;

    MHD_run(x->server);
    return MHD_get_timeout(x->server, &ms) == MHD_YES ? (long)ms : -1;
}
