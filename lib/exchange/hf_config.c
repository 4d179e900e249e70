/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_config.c - the tables of config.json, after the configuration_*.py of
 * transformers 4.56 and 5.x, and walking them in both directions.
 */
#include "exchange/hf_config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    END,
    FIELD,  /* a field of the job; `value`: what the class takes when it is absent,
               NULL: it has to be there                                            */
    FIXED,  /* no field: any other value would be another computation              */
    UNSAID, /* the same, but not written: all of the class's models are so        */
    TOLD,   /* written, but not read: it does not change what the model says       */
    PASSED  /* not written, not read                                               */
};

struct row {
    enum kind kind;
    const char *theirs, *ours; /* "rope_theta", "model.rope_theta"   */
    const char *value;         /* JSON                               */
    const char *also;          /* another key for the same: "a.b"    */
};

/* What a job must be for a class to have it. */
struct must {
    const char *ours, *value; /* JSON */
};

struct class
{
    const char *model_type, *name;
    const struct must *must;
    const struct row *rows[3];
};

/* ---- tables --------------------------------------------------------------- */

static const struct row common_rows[] = {
    {PASSED, "architectures", NULL, NULL, NULL},
    {PASSED, "model_type", NULL, NULL, NULL},
    {TOLD, "bos_token_id", NULL, "null", NULL},
    {TOLD, "eos_token_id", NULL, "null", NULL},
    {TOLD, "pad_token_id", NULL, "null", NULL},
    {TOLD, "use_cache", NULL, "true", NULL},
    {TOLD, "dtype", NULL, "\"float32\"", "torch_dtype"},
    {FIELD, "vocab_size", "model.vocab", NULL, NULL},
    {FIELD, "initializer_range", "model.init_std", "0.02", NULL},
    {PASSED, "transformers_version", NULL, NULL, NULL},
    {PASSED, "_name_or_path", NULL, NULL, NULL},
    {PASSED, "task_specific_params", NULL, NULL, NULL},
    {PASSED, "output_attentions", NULL, NULL, NULL},
    {PASSED, "output_hidden_states", NULL, NULL, NULL},
    {PASSED, "output_router_logits", NULL, NULL, NULL},
    {PASSED, "return_dict", NULL, NULL, NULL},
    {PASSED, "gradient_checkpointing", NULL, NULL, NULL},
    {UNSAID, "quantization_config", NULL, "null", NULL},
    {UNSAID, "is_decoder", NULL, "false", NULL},
    {0},
};

/* What the others have of Llama's, with the same defaults. */
static const struct row llama_rows[] = {
    {FIELD, "hidden_size", "model.width", NULL, NULL},
    {FIELD, "num_hidden_layers", "model.layers", NULL, NULL},
    {FIELD, "num_attention_heads", "model.heads", NULL, NULL},
    {FIELD, "head_dim", "model.head_dim", "0", NULL},
    {FIELD, "max_position_embeddings", "model.context", NULL, NULL},
    {UNSAID, "rope_scaling", NULL, "null", NULL},
    {FIXED, "rope_parameters.rope_type", NULL, "\"default\"", NULL},
    {FIXED, "hidden_act", NULL, "\"silu\"", NULL},
    {FIELD, "tie_word_embeddings", "model.tie_embeddings", "false", NULL},
    {TOLD, "attention_dropout", NULL, "0.0", NULL},
    {0},
};

static const struct row dense_rows[] = {
    {FIELD, "num_key_value_heads", "model.kv_heads", "0", NULL},
    {FIELD, "rms_norm_eps", "model.norm_eps", "1e-6", NULL},
    {FIELD, "rope_theta", "model.rope_theta", "10000.0", "rope_parameters.rope_theta"},
    {FIELD, "intermediate_size", "model.ffn", NULL, NULL},
    {FIELD, "attention_bias", "model.bias", "false", NULL},
    {FIELD, "mlp_bias", "model.bias", "false", NULL},
    {TOLD, "pretraining_tp", NULL, "1", NULL},
    {0},
};

static const struct row mixtral_rows[] = {
    {FIELD, "num_key_value_heads", "model.kv_heads", "8", NULL},
    {FIELD, "rms_norm_eps", "model.norm_eps", "1e-5", NULL},
    {FIELD, "rope_theta", "model.rope_theta", "1000000.0",
     "rope_parameters.rope_theta"},
    {FIELD, "intermediate_size", "model.moe.expert_ffn", NULL, NULL},
    {FIELD, "num_local_experts", "model.moe.experts", NULL, NULL},
    {FIELD, "num_experts_per_tok", "model.moe.top_k", NULL, NULL},
    {FIELD, "router_aux_loss_coef", "model.moe.aux_coef", "0.001", NULL},
    {TOLD, "router_jitter_noise", NULL, "0.0", NULL},
    {FIXED, "sliding_window", NULL, "null", NULL},
    {0},
};

static const struct row qwen3_rows[] = {
    {FIELD, "num_key_value_heads", "model.kv_heads", "4", NULL},
    {FIELD, "rms_norm_eps", "model.norm_eps", "1e-6", NULL},
    {FIELD, "rope_theta", "model.rope_theta", "10000.0", "rope_parameters.rope_theta"},
    {FIELD, "intermediate_size", "model.ffn", NULL, NULL},
    {FIELD, "moe_intermediate_size", "model.moe.expert_ffn", NULL, NULL},
    {FIELD, "num_experts", "model.moe.experts", NULL, "num_local_experts"},
    {FIELD, "num_experts_per_tok", "model.moe.top_k", NULL, NULL},
    {FIELD, "norm_topk_prob", "model.moe.renormalize", "false", NULL},
    {FIELD, "decoder_sparse_step", "model.moe.every", "1", NULL},
    {FIELD, "mlp_only_layers", "model.moe.dense_layers", "[]", NULL},
    {FIELD, "router_aux_loss_coef", "model.moe.aux_coef", "0.001", NULL},
    {FIXED, "attention_bias", NULL, "false", NULL},
    {FIXED, "use_sliding_window", NULL, "false", NULL},
    {PASSED, "sliding_window", NULL, NULL, NULL},
    {PASSED, "max_window_layers", NULL, NULL, NULL},
    {0},
};

static const struct row gpt2_rows[] = {
    {FIELD, "n_embd", "model.width", NULL, NULL},
    {FIELD, "n_layer", "model.layers", NULL, NULL},
    {FIELD, "n_head", "model.heads", NULL, NULL},
    {FIELD, "n_inner", "model.ffn", "0", NULL},
    {FIELD, "n_positions", "model.context", NULL, NULL},
    {FIELD, "activation_function", "model.activation", "\"gelu_new\"", NULL},
    {FIELD, "layer_norm_epsilon", "model.norm_eps", "1e-5", NULL},
    {FIELD, "tie_word_embeddings", "model.tie_embeddings", "true", NULL},
    {TOLD, "attn_pdrop", NULL, "0.0", NULL},
    {TOLD, "embd_pdrop", NULL, "0.0", NULL},
    {TOLD, "resid_pdrop", NULL, "0.0", NULL},
    {FIXED, "scale_attn_weights", NULL, "true", NULL},
    {FIXED, "scale_attn_by_inverse_layer_idx", NULL, "false", NULL},
    {UNSAID, "add_cross_attention", NULL, "false", NULL},
    {PASSED, "reorder_and_upcast_attn", NULL, NULL, NULL},
    {PASSED, "n_ctx", NULL, NULL, NULL},
    {PASSED, "summary_activation", NULL, NULL, NULL},
    {PASSED, "summary_first_dropout", NULL, NULL, NULL},
    {PASSED, "summary_proj_to_labels", NULL, NULL, NULL},
    {PASSED, "summary_type", NULL, NULL, NULL},
    {PASSED, "summary_use_proj", NULL, NULL, NULL},
    {0},
};

static const struct must llama_must[] = {
    {"model.norm", "\"rms\""},
    {"model.position", "\"rope\""},
    {"model.activation", "\"swiglu\""},
    {"model.qk_norm", "false"},
    {"model.scale_embeddings", "false"},
    {"model.moe.experts", "0"},
    {0},
};

static const struct must mixtral_must[] = {
    {"model.norm", "\"rms\""},          {"model.position", "\"rope\""},
    {"model.activation", "\"swiglu\""}, {"model.bias", "false"},
    {"model.qk_norm", "false"},         {"model.scale_embeddings", "false"},
    {"model.moe.score", "\"softmax\""}, {"model.moe.renormalize", "true"},
    {"model.moe.scale", "1"},           {"model.moe.shared_experts", "0"},
    {"model.moe.bias_rate", "0"},       {"model.moe.every", "1"},
    {"model.moe.dense_layers", "[]"},   {0},
};

static const struct must qwen3_must[] = {
    {"model.norm", "\"rms\""},
    {"model.position", "\"rope\""},
    {"model.activation", "\"swiglu\""},
    {"model.bias", "false"},
    {"model.qk_norm", "true"},
    {"model.scale_embeddings", "false"},
    {"model.moe.score", "\"softmax\""},
    {"model.moe.scale", "1"},
    {"model.moe.shared_experts", "0"},
    {"model.moe.bias_rate", "0"},
    {0},
};

static const struct must gpt2_must[] = {
    {"model.norm", "\"layer\""},
    {"model.position", "\"learned\""},
    {"model.bias", "true"},
    {"model.qk_norm", "false"},
    {"model.scale_embeddings", "false"},
    {"model.moe.experts", "0"},
    {0},
};

static const struct class classes[] = {
    {"llama", "LlamaForCausalLM", llama_must, {common_rows, llama_rows, dense_rows}},
    {"mixtral",
     "MixtralForCausalLM",
     mixtral_must,
     {common_rows, llama_rows, mixtral_rows}},
    {"qwen3_moe",
     "Qwen3MoeForCausalLM",
     qwen3_must,
     {common_rows, llama_rows, qwen3_rows}},
    {"gpt2", "GPT2LMHeadModel", gpt2_must, {common_rows, gpt2_rows, NULL}},
};

enum { CLASSES = sizeof classes / sizeof *classes, TABLES = 3 };

/* Values by the names that they have there and here: GPT-2's classes know GELU by
 * three. */
static const struct {
    const char *theirs, *ours;
} words[] = {
    {"gelu_new", "gelu_tanh"},
    {"gelu_pytorch_tanh", "gelu_tanh"},
    {"gelu", "gelu"},
    {"relu", "relu"},
};

enum { WORDS = sizeof words / sizeof *words };

/* All rows of a class, one after the other. */
struct walk {
    const struct class *c;
    size_t table, i;
};

static const struct row *next_row(struct walk *w)
{
    for (; w->table < TABLES && w->c->rows[w->table]; w->table++, w->i = 0)
        if (w->c->rows[w->table][w->i].kind != END)
            return &w->c->rows[w->table][w->i++];
    return NULL;
}

/* ---- values --------------------------------------------------------------- */

/* The value at "model.moe.experts", or NULL. */
static json_t *at(const json_t *top, const char *path)
{
    json_t *value = (json_t *)top;
    char part[64];

    for (const char *dot; value && (dot = strchr(path, '.')); path = dot + 1) {
        snprintf(part, sizeof part, "%.*s", (int)(dot - path), path);
        value = json_object_get(value, part);
    }
    return json_object_get(value, path);
}

/* Put a value there, making objects on the way; takes the reference. */
static void put(json_t *top, const char *path, json_t *value)
{
    char part[64];

    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        json_t *next;

        snprintf(part, sizeof part, "%.*s", (int)(dot - path), path);
        next = json_object_get(top, part);
        if (!next) {
            json_object_set_new(top, part, json_object());
            next = json_object_get(top, part);
        }
        top = next;
    }
    json_object_set_new(top, path, value);
}

static json_t *parsed(const char *text)
{
    return json_loads(text, JSON_DECODE_ANY, NULL);
}

/* Numbers are equal by value, so that 1 is 1.0. */
static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

/* As it stands in a message; the buffers take turns. */
static const char *shown(const json_t *value)
{
    static _Thread_local char texts[3][120];
    static _Thread_local unsigned turn;
    char *out = texts[turn++ % 3];
    char *text =
        json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));

    snprintf(out, sizeof texts[0], "%.110s", text ? text : "nothing");
    free(text);
    return out;
}

/* Is it a value that such a field can have?  What the field is, its default says. */
static bool fits(const json_t *value, const json_t *like)
{
    if (json_is_boolean(like))
        return json_is_boolean(value);
    if (json_is_number(like))
        return json_is_number(value);
    return json_typeof(value) == json_typeof(like);
}

/* ---- writing -------------------------------------------------------------- */

static const struct class *class_of(const json_t *job)
{
    const char *type = "llama", *norm = json_string_value(at(job, "model.norm"));

    if (norm && strcmp(norm, "layer") == 0)
        type = "gpt2";
    else if (json_integer_value(at(job, "model.moe.experts")) > 0)
        type = json_is_true(at(job, "model.qk_norm")) ? "qwen3_moe" : "mixtral";
    for (size_t i = 0; i < CLASSES; i++)
        if (strcmp(classes[i].model_type, type) == 0)
            return &classes[i];
    return NULL;
}

static int check_must(const struct class *c, const json_t *job, struct err *e)
{
    for (const struct must *m = c->must; m->ours; m++) {
        json_t *want = parsed(m->value), *found = at(job, m->ours);
        int rc = 0;

        if (!found || !same(found, want))
            rc = err_set(e, ERR_SPEC, "%s: %s has %s alone, found %s", m->ours, c->name,
                         m->value, shown(found));
        json_decref(want);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Heads of GPT-2 share nothing, and are as wide as the width divides. */
static int check_heads(const struct class *c, const json_t *job, struct err *e)
{
    json_int_t heads = json_integer_value(at(job, "model.heads"));
    json_int_t kv = json_integer_value(at(job, "model.kv_heads"));
    json_int_t dim = json_integer_value(at(job, "model.head_dim"));

    if (strcmp(c->model_type, "gpt2") != 0)
        return 0;
    if (kv != heads)
        return err_set(e, ERR_SPEC,
                       "model.kv_heads: %s has as many as model.heads (%lld) alone, "
                       "found %lld",
                       c->name, (long long)heads, (long long)kv);
    if (dim * heads == json_integer_value(at(job, "model.width")))
        return 0;
    return err_set(e, ERR_SPEC,
                   "model.head_dim: %s has model.width / model.heads alone, found %lld",
                   c->name, (long long)dim);
}

static json_t *their_word(const json_t *value)
{
    const char *ours = json_string_value(value);

    for (size_t i = 0; ours && i < WORDS; i++)
        if (strcmp(words[i].ours, ours) == 0)
            return json_string(words[i].theirs);
    return NULL;
}

static int write_row(const struct class *c, const struct row *r, const json_t *job,
                     json_t *config, struct err *e)
{
    json_t *value = r->kind == FIELD ? json_deep_copy(at(job, r->ours))
                    : r->value       ? parsed(r->value)
                                     : NULL;

    if (r->kind == PASSED || r->kind == UNSAID) {
        json_decref(value);
        return 0;
    }
    if (json_is_string(value) && r->kind == FIELD) {
        json_t *word = their_word(value);

        if (!word) {
            err_set(e, ERR_SPEC, "%s: %s has no %s", r->ours, c->name, shown(value));
            json_decref(value);
            return e->code;
        }
        json_decref(value);
        value = word;
    }
    if (!value)
        return err_set(e, ERR_SPEC, "%s: wanted a value, found none", r->ours);
    if (r->also)
        put(config, r->also, json_deep_copy(value));
    put(config, r->theirs, value);
    return 0;
}

int hf_config_write(const json_t *job, int64_t vocab, const char **model_type,
                    json_t **out, struct err *e)
{
    const struct class *c = class_of(job);
    const char *family = json_string_value(at(job, "model.family"));
    struct walk w = {.c = c};
    const struct row *r;
    json_t *config;
    int rc = 0;

    if (!family || strcmp(family, "decoder") != 0)
        return err_set(e, ERR_SPEC,
                       "model.family: no class of transformers has what %s is here; "
                       "wanted decoder, or --format onnx",
                       family ? family : "it");
    if (check_must(c, job, e) < 0 || check_heads(c, job, e) < 0)
        return e->code;
    config = json_object();
    while (rc == 0 && (r = next_row(&w)))
        rc = write_row(c, r, job, config, e);
    put(config, "vocab_size", json_integer(vocab));
    put(config, "model_type", json_string(c->model_type));
    put(config, "architectures", json_pack("[s]", c->name));
    if (rc < 0) {
        json_decref(config);
        return rc;
    }
    *model_type = c->model_type;
    *out = config;
    return 0;
}

/* ---- reading -------------------------------------------------------------- */

static int class_named(const char *path, const json_t *config, const struct class **out,
                       struct err *e)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));

    for (size_t i = 0; type && i < CLASSES; i++)
        if (strcmp(classes[i].model_type, type) == 0) {
            *out = &classes[i];
            return 0;
        }
    return err_set(e, ERR_SPEC,
                   "%s: model_type: wanted llama, mixtral, qwen3_moe or gpt2, found %s",
                   path, shown(json_object_get(config, "model_type")));
}

/* A class that computes something else on the same weights names itself. */
static int check_class(const char *path, const json_t *config, const struct class *c,
                       struct err *e)
{
    const json_t *names = json_object_get(config, "architectures");
    const char *name = json_string_value(json_array_get(names, 0));

    if (!names || (name && strcmp(name, c->name) == 0))
        return 0;
    return err_set(e, ERR_SPEC, "%s: architectures: wanted %s, found %s", path, c->name,
                   shown(names));
}

static bool is_told(const struct class *c, const char *key)
{
    size_t len = strlen(key);
    struct walk w = {.c = c};

    for (const struct row *r; (r = next_row(&w));) {
        if (strcmp(r->theirs, key) == 0 || (r->also && strcmp(r->also, key) == 0))
            return true;
        /* an object whose members have rows */
        if (strncmp(r->theirs, key, len) == 0 && r->theirs[len] == '.')
            return true;
        if (r->also && strncmp(r->also, key, len) == 0 && r->also[len] == '.')
            return true;
    }
    return false;
}

static bool is_listed(const char *const *list, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], key) == 0)
            return true;
    return false;
}

/* Every key, and those of objects that have rows, are known. */
static int check_keys(const char *path, const json_t *config, const char *prefix,
                      const struct class *c, const char *const *ignore, size_t n,
                      struct err *e)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)config, key, value)
    {
        char full[256];

        snprintf(full, sizeof full, "%s%.100s", prefix, key);
        if (is_listed(ignore, n, full))
            continue;
        if (!is_told(c, full))
            return err_set(e, ERR_SPEC,
                           "%s: %s: this key is not known for %s; --ignore %s passes "
                           "over it",
                           path, full, c->name, full);
        if (!*prefix && strcmp(key, "rope_parameters") == 0 &&
            check_keys(path, value, "rope_parameters.", c, ignore, n, e) < 0)
            return e->code;
    }
    return 0;
}

static json_t *our_word(const char *theirs)
{
    for (size_t i = 0; i < WORDS; i++)
        if (strcmp(words[i].theirs, theirs) == 0)
            return json_string(words[i].ours);
    return NULL;
}

static int wrong(const char *path, const struct row *r, const char *wanted,
                 const json_t *found, struct err *e)
{
    return err_set(e, ERR_SPEC, "%s: %s: wanted %s, found %s", path, r->theirs, wanted,
                   shown(found));
}

static int read_fixed(const char *path, const struct row *r, const json_t *found,
                      struct err *e)
{
    json_t *want = parsed(r->value);
    bool good = !found || json_is_null(found) || same(found, want);

    json_decref(want);
    return good ? 0 : wrong(path, r, r->value, found, e);
}

/* Kinds of values: what the default is, a list, or else a whole number. */
static bool of_kind(const struct row *r, const json_t *value)
{
    json_t *like = r->value ? parsed(r->value) : NULL;
    bool good = like ? fits(value, like) : json_is_integer(value);

    json_decref(like);
    return good;
}

/* null is as good as nothing; but of these heads it says that each has its own. */
static const char *default_of(const struct row *r, const json_t *found)
{
    return json_is_null(found) && strcmp(r->ours, "model.kv_heads") == 0 ? "0"
                                                                         : r->value;
}

static int read_field(const char *path, const struct row *r, const json_t *found,
                      json_t *job, struct err *e)
{
    json_t *value, *before = at(job, r->ours);
    const char *absent = default_of(r, found);

    if (json_is_null(found))
        found = NULL;
    if (!found && !r->value)
        return wrong(path, r, "a whole number", found, e);
    if (found && !of_kind(r, found))
        return wrong(path, r, r->value ? "a value like its default" : "a whole number",
                     found, e);
    value = found ? json_deep_copy(found) : parsed(absent);
    if (json_is_string(value)) {
        json_t *word = our_word(json_string_value(value));

        json_decref(value);
        value = word;
        if (!value)
            return wrong(path, r, "gelu_new, gelu_pytorch_tanh, gelu or relu", found,
                         e);
    }
    if (before && !same(before, value)) {
        err_set(e, ERR_SPEC, "%s: %s: wanted %s, as another key of %s has it, found %s",
                path, r->theirs, shown(before), r->ours, shown(value));
        json_decref(value);
        return e->code;
    }
    put(job, r->ours, value);
    return 0;
}

static int read_row(const char *path, const struct row *r, const json_t *config,
                    json_t *job, struct err *e)
{
    json_t *found = at(config, r->theirs), *also = r->also ? at(config, r->also) : NULL;

    if (json_is_null(also))
        also = NULL;
    if (also && (!found || json_is_null(found)))
        found = also;
    if (also && r->kind == FIELD && !same(found, also))
        return err_set(e, ERR_SPEC, "%s: %s: wanted what %s has, %s, found %s", path,
                       r->theirs, r->also, shown(also), shown(found));
    if (r->kind == FIXED || r->kind == UNSAID)
        return read_fixed(path, r, found, e);
    return r->kind == FIELD ? read_field(path, r, found, job, e) : 0;
}

int hf_config_read(const char *path, const json_t *config, const char *const *ignore,
                   size_t n, const char **model_type, json_t **out, struct err *e)
{
    const struct class *c = NULL;
    struct walk w = {0};
    const struct row *r;
    json_t *job;
    int rc = 0;

    if (!json_is_object(config))
        return err_set(e, ERR_SPEC, "%s: wanted an object of JSON", path);
    if (class_named(path, config, &c, e) < 0 || check_class(path, config, c, e) < 0 ||
        check_keys(path, config, "", c, ignore, n, e) < 0)
        return e->code;
    job = json_object();
    w.c = c;
    while (rc == 0 && (r = next_row(&w)))
        rc = read_row(path, r, config, job, e);
    if (rc < 0) {
        json_decref(job);
        return rc;
    }
    for (const struct must *m = c->must; m->ours; m++)
        put(job, m->ours, parsed(m->value));
    put(job, "model.family", json_string("decoder"));
    *model_type = c->model_type;
    *out = job;
    return 0;
}
