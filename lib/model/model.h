/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - model families: a job's `model` section as nodes of a graph.
 *
 * One file per block (block.h), one per family (family.h).  Weights carry the names
 * of Hugging Face's Llama, Mixtral and Qwen3-MoE classes where these have them.
 * Nothing here computes, and nothing here knows how training goes.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "graph/ops.h"
#include "proto/job.pb-c.h"

/* Names of the states that the loss-free balancing changes end so. */
#define MODEL_BIAS_SUFFIX ".e_score_correction_bias"

/* States of decoding, a part for each row, end so: what is carried from a token to
 * the next, what grows by each token, and what is kept of a source.  What "encode"
 * makes for the first and the last has MODEL_FIRST_SUFFIX besides, with a part for each
 * source; else they begin with zeros. */
#define MODEL_STEP_SUFFIX   ".step"
#define MODEL_CACHE_SUFFIX  ".cache"
#define MODEL_SOURCE_SUFFIX ".source"
#define MODEL_FIRST_SUFFIX  ".first"

/* States that training carries from step to step begin so: f32 [samples, width], of
 * this rank's samples.  They are part of a checkpoint. */
#define MODEL_CARRY_PREFIX "carry."

/* One of them: before and behind a chunk, and of all this rank's chunks. */
struct model_carry {
    struct value *in, *out, *kept;
};

/* What every model of a graph shares. */
struct model {
    struct graph *g;
    const Nnd__Job *job;
    int64_t vocab;
    struct chunk chunk;        /* inputs "id", "target", "pos", ...      */
    struct chunk source;       /* inputs "source.id", ...; batch 0: none */
    struct value *source_len;  /* input "source.len": i32 [batch]        */
    struct model_carry *carry; /* [ncarry]: data.sampling sequential */
    int ncarry;
    struct teach teach;      /* scheduled sampling: input "teacher", state "mixed";
                                NULL: none */
    struct value *taught;    /* input "taught": wide [rows, V], with distill.teacher */
    struct value *stats;     /* state "stats": f64 [chunks, STATS_COUNT]        */
    struct value *load;      /* state "load": i64 [MoE layers, E], or NULL       */
    struct value *aux_scale; /* input "aux_scale": wide [1], loss scale / chunks */
};

/* Inputs and statistics of a job's training graph: chunks of batch / chunks
 * samples of model.context rows, and of model.source_context rows of source. */
int model_init(struct model *m, struct graph *g, const Nnd__Job *job, int64_t vocab,
               struct err *e);

/* Append program "forward": rows' ids to the chunk's losses, in the statistics;
 * or "eval", without dropout and without what only training needs. */
int model_forward(struct model *m, struct err *e);

/* Append program "teach": the chunk's logits without dropout, as a state for those who
 * learn from them; returns its number. */
int model_teach(struct model *m, struct value **logits, struct err *e);
int model_eval(struct model *m, struct err *e);

/* With scheduled sampling (train.teacher): append program "guess", which comes before
 * "forward" and makes m->teach.mixed, what that is given instead of the chunk's tokens.
 * It computes as "eval" does, without dropout; no gradient flows through its choice.
 * *program -1: there is none. */
int model_guess(struct model *m, int *program, struct err *e);

/* Does the job's family read a source?  Does decoding end only when it is told to? */
bool model_reads(const Nnd__Job *job);
bool model_endless(const Nnd__Job *job);

/* Does it go step by step, so that of packed samples each takes the memory of the
 * longest? */
bool model_pads(const Nnd__Job *job);

/* Does each step of it wait for the one before, also where all tokens are known?  Then
 * its graph has the nodes of each step (model.attention_place before). */
bool model_waits(const Nnd__Job *job);

/* How many states a recurrent cell has: 2 for an LSTM. */
int model_cell_states(const Nnd__Job *job);

/* Append programs "decode.0", ...: one more token of each of the first size[i] of
 * `rows` sequences of at most model.context tokens; keys and values are states of the
 * graph.  size[0] is `rows`, and they fall; sizes 0: that one alone.  For a family that
 * reads, also "encode": `sources` sources, into states that are for the caller to hand
 * to rows. */
struct decode_shape {
    int64_t rows, sources;
    const int64_t *size;
    int sizes;
};
struct decode_step {
    int64_t rows;           /* all of them                                    */
    struct value *id, *pos; /* inputs i32 [rows]: the token and its place     */
    struct value *slot;     /* input i32 [rows]: row of the caches it goes to */
    struct value *len;      /* input i32 [rows]: tokens then in the cache     */
    struct value *logits;   /* state, wide [rows, V]                          */

    struct value *reach; /* input i32 [rows]: real tokens of its source, or NULL */

    /* Where the newest token looked: a state, wide [rows, source_context], or the
     * queries and keys that say so, [rows, H, D] and [rows, source_context, Hk, D] of
     * the last layer; all NULL: the family keeps no such thing. */
    struct value *weight, *query, *key;

    /* Inputs i32 [sources * source_context] (pos -1: padding) and [sources]; or NULL.
     */
    struct value *source_id, *source_pos, *source_len;
};
int model_decode(struct graph *g, const Nnd__Job *job, int64_t vocab,
                 const struct decode_shape *shape, struct decode_step *out,
                 struct err *e);

/* Layers counted through, those that read first: how many are there, is number i a
 * mixture of experts, and how many are? */
uint32_t model_layers(const Nnd__Job *job);
bool model_is_moe(const Nnd__Job *job, uint32_t i);
int model_moe_layers(const Nnd__Job *job);

#endif
