/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd.h - the verbs by name; each stands in cmd_NAME.c.
 */
#ifndef CLIENT_CMD_H
#define CLIENT_CMD_H

#include "client/verb.h"

extern const struct verb verb_submit;
extern const struct verb verb_run;
extern const struct verb verb_status;
extern const struct verb verb_show;
extern const struct verb verb_watch;
extern const struct verb verb_logs;
extern const struct verb verb_wait;
extern const struct verb verb_cancel, verb_hold, verb_release; /* cmd_change.c */
extern const struct verb verb_suspend, verb_resume;            /* cmd_change.c */
extern const struct verb verb_requeue, verb_prio;              /* cmd_change.c */
extern const struct verb verb_history;                         /* cmd_status.c */
extern const struct verb verb_purge;
extern const struct verb verb_doctor;
extern const struct verb verb_events;
extern const struct verb verb_metrics;
extern const struct verb verb_plan;
extern const struct verb verb_generate;
extern const struct verb verb_translate;
extern const struct verb verb_summarize; /* cmd_translate.c */
extern const struct verb verb_eval;
extern const struct verb verb_average;
extern const struct verb verb_tokenizer;
extern const struct verb verb_export, verb_import; /* cmd_export.c */
extern const struct verb verb_plugin;
extern const struct verb verb_key;
extern const struct verb verb_plot;
extern const struct verb verb_top; /* cmd_status.c */
extern const struct verb verb_reload;
extern const struct verb verb_version, verb_completion, verb_help_verb; /* cmd_help.c */

#endif
