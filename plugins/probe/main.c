/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - nnd-plugin-probe: meets a plugin before anyone else has to.
 *
 * nnd and nnctl never load a plugin; they ask this program, which loads it in a
 * child and says what it found.
 */
#include <dirent.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/oom.h"
#include "base/str.h"
#include "kernel/folders.h"
#include "probe.h"

enum { EXIT_USAGE = 2, TIMEOUT_MOST = 1000000 };

static const char usage[] =
    "usage: nnd-plugin-probe list [--json] [--timeout S] [FILE...]\n"
    "       nnd-plugin-probe meet [--quarantine DIR] FILE...\n"
    "       nnd-plugin-probe info [--json] FILE\n"
    "       nnd-plugin-probe check [--op OP] [--dtype T] [--mode M] [--full] FILE\n"
    "       nnd-plugin-probe bench [--op OP] [--dtype T] [--kernel K] [--shape S]\n"
    "                        [--vs K] FILE\n"
    "       nnd-plugin-probe why [--dtype T] [--kernel RULE]... OP [SHAPE]\n"
    "\n"
    "list   say what plugins are: version, ABI, kernels; without FILE, those of\n"
    "       the plugin folders ($NND_PLUGIN_DIR, or those of the build tree, or\n"
    "       " NND_PLUGINDIR ")\n"
    "meet   load plugins that are new here, and try each kernel of others than ours\n"
    "       on some small calls\n"
    "info   all about one plugin, and what is known against it\n"
    "check  run every kernel of a plugin against the contract\n"
    "bench  say how fast each kernel is, and compare it with another\n"
    "why    say which kernel of those found would serve a call, and why\n"
    "\n"
    "  --dtype T     only with inputs of type T: f32, bf16, f16\n"
    "  --mode M      check: only support, correct, grad, perf, hygiene, endure, huge,\n"
    "                or group: devices together, where ranks have one each\n"
    "  --full        check: more threads, more repetitions\n"
    "  --shape S     bench: sizes such as T=1024,N=512\n"
    "  --vs K        bench: KERNEL or PLUGIN/KERNEL of those found (ref), or none\n"
    "  --kernel K    check, bench: only the kernel K; why: OP=NAME, OP=NAME? or\n"
    "                OP=!NAME\n"
    "  --op OP       only the operator OP, or those that begin with \"OP.\"\n"
    "  --json        print one JSON object\n"
    "  --quarantine DIR  leave notes on what did harm in this folder\n"
    "  --timeout S   end a child after S seconds (list 10, check 300 per kernel)\n"
    "\n"
    "Exit status: 0 all is well, 1 something is not, 2 usage.\n";

static int bad_usage(const char *what, const char *arg)
{
    fprintf(stderr, "nnd-plugin-probe: %s%s\nhint: nnd-plugin-probe --help\n", what,
            arg);
    return EXIT_USAGE;
}

int probe_status(const struct err *e)
{
    return e->code == ERR_USAGE ? EXIT_USAGE : 1;
}

static int is_plugin(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 3 && d->d_name[0] != '.' && strcmp(d->d_name + n - 3, ".so") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Append the plugins of a folder, by name, to files[n...]; -1: said why not. */
static int add_folder(const char *dir, const char ***files, int n)
{
    struct dirent **found;
    int more = scandir(dir, &found, is_plugin, by_name);
    if (more < 0) {
        fprintf(stderr, "nnd-plugin-probe: plugin folder %s: %m\n", dir);
        return -1;
    }
    *files = oom_realloc(*files, (size_t)(n + more + 1) * sizeof **files);
    for (int i = 0; i < more; i++) {
        struct buf path = {0};
        buf_printf(&path, "%s/%s", dir, found[i]->d_name);
        (*files)[n + i] = path.data;
        free(found[i]);
    }
    free(found);
    return n + more;
}

void probe_folders(struct buf *out)
{
    char installed[PATH_MAX];
    fs_installed(NND_LIBEXECDIR, NND_PLUGINDIR, installed, sizeof installed);
    kernel_folders(getenv("NND_PLUGIN_DIR"), installed, out);
    if (!out->len)
        buf_puts(out, installed); /* which is not there: that is said */
}

/* list without files: those of the folders. */
static int list_folders(struct options *o)
{
    struct buf folders = {0};
    const char **files = NULL;
    char *rest = NULL;
    int n = 0, more = 0;
    probe_folders(&folders);
    for (char *dir = strtok_r(folders.data, ":", &rest); dir && more >= 0;
         dir = strtok_r(NULL, ":", &rest)) {
        more = add_folder(dir, &files, n);
        n = more < 0 ? n : more;
    }
    o->files = files;
    o->nfiles = n;
    int status = more < 0 ? 1 : probe_list(o);
    for (int i = 0; i < n; i++)
        free((char *)files[i]);
    free(files);
    buf_free(&folders);
    return status;
}

static int run(const char *command, struct options *o)
{
    if (strcmp(command, "list") == 0)
        return o->nfiles ? probe_list(o) : list_folders(o);
    if (strcmp(command, "meet") == 0)
        return o->nfiles ? probe_meet(o) : bad_usage("meet wants a file", "");
    if (strcmp(command, "info") == 0)
        return o->nfiles == 1 ? probe_info(o) : bad_usage("info wants one file", "");
    if (strcmp(command, "check") == 0)
        return o->nfiles == 1 ? probe_check(o) : bad_usage("check wants one file", "");
    if (strcmp(command, "bench") == 0)
        return o->nfiles == 1 ? probe_bench(o) : bad_usage("bench wants one file", "");
    if (strcmp(command, "why") == 0)
        return o->nfiles >= 1 && o->nfiles <= 2 ? probe_why(o)
                                                : bad_usage("why wants OP [SHAPE]", "");
    return bad_usage("no such command: ", command);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"op", required_argument, NULL, 'o'},
        {"dtype", required_argument, NULL, 'd'},
        {"mode", required_argument, NULL, 'm'},
        {"full", no_argument, NULL, 'f'},
        {"shape", required_argument, NULL, 's'},
        {"vs", required_argument, NULL, 'v'},
        {"kernel", required_argument, NULL, 'k'},
        {"timeout", required_argument, NULL, 't'},
        {"quarantine", required_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options o = {.rules = oom_calloc((size_t)argc, sizeof *o.rules)};
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case 'j':
            o.json = true;
            break;
        case 'o':
            o.op = optarg;
            break;
        case 'd':
            o.dtype = optarg;
            break;
        case 'm':
            o.mode = optarg;
            break;
        case 's':
            o.shape = optarg;
            break;
        case 'v':
            o.vs = optarg;
            break;
        case 'k':
            o.rules[o.nrules++] = optarg;
            break;
        case 'f':
            o.full = true;
            break;
        case 't':
            if (!str_to_double(optarg, &o.seconds) || !(o.seconds > 0) ||
                o.seconds > TIMEOUT_MOST)
                return bad_usage("--timeout wants seconds, up to 1000000, not ",
                                 optarg);
            break;
        case 'q':
            o.quarantine = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default: /* getopt has said what */
            fputs("hint: nnd-plugin-probe --help\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind == argc)
        return bad_usage("no command", "");
    o.files = (const char *const *)argv + optind + 1;
    o.nfiles = argc - optind - 1;
    return run(argv[optind], &o);
}
