/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.c - the table of a job's values, and the check of one value against a row.
 *
 * The bounds are where a value stops to make sense for any machine; what fits
 * this machine is the plan's business.  job.proto says what 0 stands for; the
 * help says it again for the reader of the reference page.
 */
#include "proto/rules.h"

#include <string.h>

#include "proto/field.h"
#include "proto/spec_impl.h"

/* The largest whole number that JSON readers and doubles keep exactly. */
#define EXACT_MAX 9007199254740991.0

#define STEPS_MAX 1e9
#define TIME_MAX  1e8 /* three years */

const struct rule rules[] = {
    {"name", 1, 64, 0, 0, "what people call the job"},
    {"seed", 0, EXACT_MAX, 0, 0, "start of every random number of the job"},

    {"model.family", 0, 0, 0, 0, "kind of model"},
    {"model.layers", 1, 1024, 0, 0, "blocks of attention and feed-forward"},
    {"model.width", 1, 65536, 0, 0, "numbers per token between blocks"},
    {"model.heads", 1, 1024, 0, 0, "attention heads per layer"},
    {"model.kv_heads", 0, 1024, 0, 0,
     "key and value heads, shared by groups of heads; 0: as many as heads"},
    {"model.head_dim", 0, 1024, 0, 0, "numbers per head; 0: width / heads"},
    {"model.ffn", 0, 1048576, 0, 0,
     "inner width of a dense feed-forward; 0: 4 x width, swiglu 8/3 x width"},
    {"model.context", 1, 1048576, 0, 0, "tokens of one sample"},
    {"model.vocab", 0, 4194304, 0, 0,
     "different tokens; 0: as many as the tokenizer has"},
    {"model.norm", 0, 0, 0, 0, "RMSNorm or LayerNorm"},
    {"model.norm_eps", 0, 1, RULE_ABOVE | RULE_F32, 0,
     "added to the variance in a norm"},
    {"model.position", 0, 0, 0, 0,
     "how a token knows its place: rotation, a learned vector, sinusoids, or not at "
     "all"},
    {"model.rope_theta", 1, 1e12, 0, 0, "base of the rotation wavelengths"},
    {"model.activation", 0, 0, 0, 0,
     "what stands between the feed-forward's layers; gelu_tanh is GPT-2's GELU, relu "
     "what "
     "the first Transformer had"},
    {"model.bias", 0, 0, 0, 0, "biases in linear layers"},
    {"model.qk_norm", 0, 0, 0, 0, "RMSNorm over each head's queries and keys"},
    {"model.tie_embeddings", 0, 0, 0, 0, "the output layer is the token embedding"},
    {"model.dropout", 0, 1, RULE_BELOW | RULE_F32, 0,
     "share of activations zeroed in training"},
    {"model.init_std", 0, 10, RULE_ABOVE, 0, "standard deviation of the first weights"},

    {"model.moe.experts", 0, 4096, 0, 0, "experts per MoE layer; 0: no MoE layers"},
    {"model.moe.top_k", 1, 4096, 0, 0, "experts that compute each token"},
    {"model.moe.expert_ffn", 0, 1048576, 0, 0,
     "inner width of one expert; 0: model.ffn / top_k"},
    {"model.moe.shared_experts", 0, 64, 0, 0,
     "experts that compute every token, beside the chosen ones"},
    {"model.moe.score", 0, 0, 0, 0, "how router logits become scores"},
    {"model.moe.renormalize", 0, 0, 0, 0, "the chosen experts' scores sum to 1"},
    {"model.moe.scale", 0, 1000, RULE_ABOVE, 0, "factor on the chosen scores"},
    {"model.moe.aux_coef", 0, 100, 0, 0, "weight of the load-balancing loss"},
    {"model.moe.aux_convention", 0, 0, 0, 0,
     "balancing loss per layer, or over all layers' tokens as transformers does"},
    {"model.moe.aux_scope", 0, 0, 0, 0,
     "tokens over which balance is measured: a chunk, or each sequence"},
    {"model.moe.z_coef", 0, 100, 0, 0,
     "weight of the z-loss, which keeps router logits small"},
    {"model.moe.bias_rate", 0, 1, 0, 0,
     "step of the loss-free balancing bias; 0: none; needs score sigmoid"},
    {"model.moe.every", 1, 1024, 0, 0,
     "layer i, from 0, is MoE when (i + 1) is a multiple of this"},
    {"model.moe.dense_layers", 0, 1023, 0, 1024, "layers kept dense, counted from 0"},
    {"model.moe.buffer", 1, 4096, 0, 0,
     "planned arrivals at an expert / arrivals in perfect balance"},

    {"model.encoder_layers", 0, 1024, 0, 0,
     "blocks that read the source; 0: as many as layers"},
    {"model.source_context", 0, 1048576, 0, 0,
     "tokens of one source; 0: as many as context"},
    {"model.source_vocab", 0, 4194304, 0, 0,
     "different tokens of sources; 0: as many as their tokenizer has"},
    {"model.norm_place", 0, 0, 0, 0,
     "a norm before each sub-layer and one at the end, or one behind each sum"},
    {"model.scale_embeddings", 0, 0, 0, 0,
     "multiply embeddings by the square root of width"},
    {"model.share_embeddings", 0, 0, 0, 0,
     "sources and targets have one embedding; needs data.share_vocab"},
    {"model.cell", 0, 0, 0, 0, "recurrent cell; rnn is the plain one, with tanh"},
    {"model.attention", 0, 0, 0, 0,
     "seq2seq: a fixed look at the source, or one for each token, scored so"},
    {"model.bidirectional", 0, 0, 0, 0,
     "seq2seq: the source is read forwards and backwards"},
    {"model.attention_place", 0, 0, 0, 0,
     "seq2seq: look behind each step, with its new state, or before it, so that "
     "what is seen is a part of its input"},
    {"model.merge", 0, 0, 0, 0,
     "seq2seq: both directions are added, or stand side by side, each half as wide"},
    {"model.ends", 0, 4194303, 0, 64,
     "ids of the tokenizer that end a text when the model goes on with one"},
    {"model.begins", 0, 4194303, 0, 64,
     "ids of the tokenizer that stand before a text which the model goes on with"},

    {"data.train", 1, 4096, RULE_PATH, 1024, "files or folders to learn from"},
    {"data.valid", 1, 4096, RULE_PATH, 1024,
     "files or folders to validate on; none: the end of data.train"},
    {"data.valid_fraction", 0, 1, RULE_BELOW, 0,
     "share of data.train kept for validation"},
    {"data.tokenizer", 0, 0, 0, 0,
     "a token is a byte, a character or word of the text, or a piece of byte-level BPE "
     "or SentencePiece"},
    {"data.format", 0, 0, 0, 0,
     "stream: samples are cut from one text; lines: a line is one; pairs: source and "
     "target"},
    {"data.source", 1, 4096, RULE_PATH, 1024,
     "pairs: files of sources; those of data.train hold the targets, line by line"},
    {"data.valid_source", 1, 4096, RULE_PATH, 1024,
     "pairs: files of sources to validate on, beside data.valid"},
    {"data.columns", 1, 1024, 0, 2,
     "pairs in one file: the source's column, the target's; none: first and second of "
     "two"},
    {"data.share_vocab", 0, 0, 0, 0, "pairs: one vocabulary for sources and targets"},
    {"data.min_count", 1, 1000000, 0, 0,
     "tokenizers char, word: learn what is this frequent; bpe: join pairs that are"},
    {"data.max_words", 0, 4000000, 0, 0,
     "tokenizer word: learn this many words, the most frequent; 0: all"},
    {"data.lower", 0, 0, 0, 0,
     "take capital letters of Latin, Greek, Cyrillic and Armenian for small ones"},
    {"data.split", 0, 0, 0, 0,
     "tokenizer word: punctuation marks and CJK characters are words by themselves"},
    {"data.unk", 0, 0, 0, 0,
     "what the vocabulary lacks: <unk> in its place (tokenizer char: of pairs alone), "
     "error: refuse it"},
    {"data.too_long", 0, 0, 0, 0,
     "a line longer than the context: cut it, skip it, or refuse the text"},
    {"data.sampling", 0, 0, 0, 0,
     "stream: windows in random order, or one after the other, with state carried on"},
    {"data.vocab_size", 0, 4194304, 0, 0,
     "tokenizers bpe, sentencepiece: learn so many tokens; 0: 8000, or as the file "
     "has"},
    {"data.tokenizer_file", 0, 4096, RULE_PATH, 0,
     "tokenizer.json, GPT-2's folder, a SentencePiece model, or nnctl tokenizer "
     "export's; "
     "none: learn"},
    {"data.source_tokenizer_file", 0, 4096, RULE_PATH, 0,
     "pairs: the same for the sources, unless data.share_vocab"},

    {"train.steps", 1, STEPS_MAX, 0, 0, "optimizer steps"},
    {"train.batch", 0, 1048576, RULE_FIT, 0,
     "samples per step, all ranks together; fit: as many as train.memory takes"},
    {"train.chunks", 1, 32768, 0, 0,
     "parts of a batch whose gradients add in a fixed order; a power of two"},
    {"train.precision", 0, 0, 0, 0,
     "16-bit numbers have fp32 master weights; fp16 has a loss scale too"},
    {"train.mode", 0, 0, 0, 0,
     "reproducible: the same bits in every layout; fast: less on the wire, any kernel"},
    {"train.optimizer", 0, 0, 0, 0, "rule that turns gradients into steps"},
    {"train.lr", 0, 1000, 0, 0, "learning rate after warm-up"},
    {"train.min_lr", 0, 1000, 0, 0, "learning rate at the end of decay"},
    {"train.warmup", 0, STEPS_MAX, 0, 0, "steps of linear warm-up"},
    {"train.schedule", 0, 0, 0, 0,
     "after warm-up: cosine, linear, constant, wsd; noam, inverse_sqrt: 1 / "
     "sqrt(step)"},
    {"train.decay_steps", 0, STEPS_MAX, 0, 0,
     "step at which min_lr is reached, wsd: length of the decay in steps;"
     " 0: all steps, wsd: a fifth of them"},
    {"train.beta1", 0, 1, RULE_BELOW | RULE_F32, 0,
     "decay of the gradient's mean (adam, adamw)"},
    {"train.beta2", 0, 1, RULE_BELOW | RULE_F32, 0,
     "decay of the gradient's square (adam, adamw)"},
    {"train.eps", 0, 1, RULE_ABOVE | RULE_F32, 0,
     "added to the denominator (adam, adamw)"},
    {"train.momentum", 0, 1, RULE_BELOW, 0, "decay of the velocity (sgd)"},
    {"train.weight_decay", 0, 100, 0, 0, "pull of weights to zero, times lr per step"},
    {"train.clip", 0, 1e9, 0, 0, "largest global gradient norm; 0: no clipping"},
    {"train.loss_scale", 1, 4294967296.0, 0, 0, "first loss scale (fp16)"},
    {"train.loss_scale_window", 1, STEPS_MAX, 0, 0,
     "steps without overflow before the loss scale doubles (fp16)"},
    {"train.nonfinite", 0, 0, 0, 0,
     "on a NaN or Inf: skip the step, stop the job, or roll back to a checkpoint"},
    {"train.valid_every", 0, STEPS_MAX, 0, 0, "steps between validations; 0: never"},
    {"train.valid_batches", 0, STEPS_MAX, 0, 0,
     "batches of train.batch samples per validation; 0: the whole validation set"},
    {"train.log_every", 1, STEPS_MAX, 0, 0, "steps between reports"},
    {"train.threads", 0, 1024, 0, 0,
     "threads per rank; 0: the node's cores, shared among its ranks"},
    {"train.label_smoothing", 0, 1, RULE_BELOW, 0,
     "share of each target spread over all tokens; losses are reported without it"},
    {"train.batch_tokens", 0, 2147483647, 0, 0,
     "encdec, seq2seq: rows of a step, filled with samples of like length; 0: each "
     "sample padded"},
    {"train.best", 0, 0, 0, 0,
     "keep the checkpoint that is best in this, measured at each validation"},
    {"train.patience", 0, 1000000, 0, 0,
     "stop after so many validations without a better train.best; 0: never"},
    {"train.ema", 0, 1, RULE_BELOW | RULE_F32, 0,
     "decay of a moving average of the weights, which is validated and used; 0: none"},
    {"train.teacher", 0, 0, 0, 0,
     "scheduled sampling: how the share of given tokens falls that are the target's"},
    {"train.teacher_k", 0, 1e9, 0, 0,
     "where or how fast the share falls; 0: so that it is small at the end"},
    {"train.teacher_c", 0, 1, 0, 0,
     "linear_decay: how much it falls a step; 0: down to teacher_min at the end"},
    {"train.teacher_min", 0, 1, 0, 0, "linear_decay: it does not fall below this"},
    {"train.teacher_own", 0, 0, 0, 0,
     "the model's own token: the likeliest, or one drawn as likely as it is to it"},
    {"train.memory", 0, 268435456, 0, 0,
     "MiB a rank may take, for batch fit; 0: a share of what is free where it is "
     "submitted"},
    {"train.recompute", 0, 0, 0, 0,
     "what backward makes again, to the same bits; activations: and norms; blocks: and "
     "each layer"},
    {"train.recompute_layers", 0, 2048, 0, 0,
     "blocks: how many layers, from the first on, the source's before the target's; 0: "
     "all"},

    {"parallel.dp", 1, 65536, 0, 0, "data-parallel ranks; a power of two"},
    {"parallel.ep", 1, 4096, 0, 0, "ranks that share one set of experts; divides dp"},
    {"parallel.tp", 1, 65536, 0, 0, "tensor-parallel ranks; only 1 for now"},
    {"parallel.pp", 1, 65536, 0, 0, "pipeline stages; only 1 for now"},
    {"parallel.cp", 1, 65536, 0, 0, "context-parallel ranks; only 1 for now"},
    {"parallel.etp", 1, 65536, 0, 0,
     "tensor-parallel ranks of experts; only 1 for now"},
    {"parallel.zero", 0, 3, 0, 0,
     "what is sharded over dp; 1, the optimizer's state, is all for now"},

    {"checkpoint.every", 0, STEPS_MAX, 0, 0,
     "steps between checkpoints; 0: only at the end, which needs no memory for a copy"},
    {"checkpoint.keep", 1, 1000, 0, 0, "checkpoints kept; older ones are removed"},
    {"checkpoint.from", 0, 4096, RULE_PATH, 0,
     "checkpoint, or folder of some, to start from; one of weights alone, such as an "
     "imported model, at step 0"},

    {"kernels.rule", 3, 200, 0, 256,
     "OP[/DTYPE][@DEVICE]=NAME: use this kernel; =NAME?: if it can; =!NAME: never"},
    {"kernels.device", 1, 32, 0, 0, "where kernels run"},
    {"kernels.check", 2, 20, 0, 0,
     "calls held against ref: off, first of each kernel, sample:N (every Nth), all"},
    {"kernels.suspect", 0, 0, 0, 0, "avoid or use kernels that a process died in"},
    {"kernels.tune", 0, 0, 0, 0,
     "on the CPU, of the kernels that could serve take the fastest, measured at the "
     "start"},
    {"kernels.capture", 0, 0, 0, 0,
     "let a device keep what a program launches and run it in one call (CUDA graphs)"},
    {"kernels.collectives", 0, 0, 0, 0,
     "in fast mode, where each rank has a device of its own, have those add gradients "
     "(NCCL)"},

    {"retry.max", 0, 1000, 0, 0, "attempts after the first, when one fails"},
    {"retry.delay", 0, 300, 0, 0, "seconds before the first retry; doubled each time"},

    {"queue.priority", 0, 100, 0, 0, "of waiting jobs the largest starts first"},
    {"queue.time", 0, TIME_MAX, RULE_TIME, 0,
     "how long an attempt may take, not counted while suspended or waiting for Slurm; "
     "0: no limit"},
    {"queue.warn", 0, TIME_MAX, RULE_TIME, 0,
     "how long before the end of queue.time ranks are asked to save and leave"},
    {"launcher", 0, 0, 0, 0,
     "who starts the ranks: mpirun here or over ssh, Slurm, or any: as nnd is set"},

    {"distill.teacher", 0, 4096, RULE_PATH, 0,
     "checkpoint, or folder of some, of a model of the same vocabulary to learn from"},
    {"distill.alpha", 0, 1, 0, 0, "share of the loss that the teacher has"},
    {"distill.temperature", 0.01, 1000, 0, 0,
     "logits of both are divided by it; above 1 shows more of what is unlikely"},
};

const size_t nrules = sizeof(rules) / sizeof(rules[0]);

const struct schema schema_job = {
    .type = &nnd__job__descriptor,
    .rules = rules,
    .nrules = sizeof(rules) / sizeof(rules[0]),
    .noun = "job",
    .finish = spec_finish_job,
};

const struct rule *schema_rule(const struct schema *c, const char *path)
{
    for (size_t i = 0; i < c->nrules; i++)
        if (strcmp(c->rules[i].path, path) == 0)
            return &c->rules[i];
    return NULL;
}

const struct rule *rule_find(const char *path)
{
    return schema_rule(&schema_job, path);
}

/* "from 0 to below 1", "above 0 and up to 1". */
static void wanted_number(const struct rule *r, bool whole, struct buf *out)
{
    bool above = r->flags & RULE_ABOVE, below = r->flags & RULE_BELOW;

    buf_printf(out, "a %s %s ",
               r->flags & RULE_TIME
                   ? "number of seconds, or a time such as 90s or 1.5h,"
               : whole ? "whole number"
                       : "number",
               above ? "above" : "from");
    field_print_double(r->min, out);
    buf_puts(out, above ? " and " : " to ");
    buf_puts(out, below ? "below " : above ? "up to " : "");
    field_print_double(r->max, out);
    buf_puts(out, r->flags & RULE_FIT ? ", or fit" : "");
    buf_puts(out, r->flags & RULE_F32 ? ", as f32 too" : "");
}

static void wanted_name(const ProtobufCFieldDescriptor *d, struct buf *out)
{
    const ProtobufCEnumDescriptor *names = d->descriptor;

    if (names->n_values > 1)
        buf_puts(out, "one of ");
    for (unsigned i = 0; i < names->n_values; i++) {
        buf_puts(out, i ? ", " : "");
        field_print_name(names->values[i].name, out);
    }
}

void rule_wanted(const struct rule *r, const ProtobufCFieldDescriptor *d,
                 struct buf *out)
{
    switch (d->type) {
    case PROTOBUF_C_TYPE_ENUM:
        wanted_name(d, out);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        buf_puts(out, "true or false");
        break;
    case PROTOBUF_C_TYPE_STRING:
        buf_printf(out, "a text of %.0f to %.0f bytes", r->min, r->max);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        wanted_number(r, false, out);
        break;
    default:
        wanted_number(r, true, out);
    }
}

static bool in_range(const struct rule *r, double x)
{
    bool above = (r->flags & RULE_ABOVE) ? x > r->min : x >= r->min;
    bool below = (r->flags & RULE_BELOW) ? x < r->max : x <= r->max;

    return above && below; /* false for NaN */
}

/* Of a decay that rounds to 1 the complement is 0, by which steps are divided. */
static bool is_number(const struct rule *r, double x)
{
    return in_range(r, x) && (!(r->flags & RULE_F32) || in_range(r, (double)(float)x));
}

static bool is_legal(const struct rule *r, const ProtobufCFieldDescriptor *d,
                     const void *value)
{
    switch (d->type) {
    case PROTOBUF_C_TYPE_ENUM:
        return protobuf_c_enum_descriptor_get_value(d->descriptor,
                                                    *(const int *)value) != NULL;
    case PROTOBUF_C_TYPE_BOOL:
        return true;
    case PROTOBUF_C_TYPE_STRING:
        return in_range(r, (double)strlen(*(char *const *)value));
    default:
        return is_number(r, field_number(d, value));
    }
}

int rule_check(const struct rule *r, const ProtobufCFieldDescriptor *d,
               const void *value, struct err *e)
{
    struct buf wanted = {0}, found = {0};
    int rc = 0;

    if (d->type == PROTOBUF_C_TYPE_STRING && !field_is_clean(*(char *const *)value)) {
        field_quote(*(char *const *)value, &found);
        rc = err_set(e, ERR_SPEC,
                     "wanted UTF-8 text without control characters, "
                     "found %s",
                     found.data);
    } else if (!is_legal(r, d, value)) {
        rule_wanted(r, d, &wanted);
        field_found(d, value, &found);
        rc = err_set(e, ERR_SPEC, "wanted %s, found %s", wanted.data, found.data);
    }
    buf_free(&wanted);
    buf_free(&found);
    return rc;
}
