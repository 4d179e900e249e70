/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_exchange_hf.c - folders of `transformers` without `transformers`: configurations
 * both ways, every tensor counted, the same bytes again, and what is refused.
 *
 * The configurations are as transformers 4.56.2 and 5.23.0 write them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "exchange/hf_config.h"
#include "exchange/hf_export.h"
#include "exchange/hf_import.h"
#include "exchange/hf_tensor.h"
#include "exchange/origin.h"
#include "proto/spec.h"

#include "unit.h"

static const char llama[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"attention_bias\": false,"
    " \"attention_dropout\": 0.0, \"bos_token_id\": 1, \"dtype\": \"float32\","
    " \"eos_token_id\": 2, \"head_dim\": 4, \"hidden_act\": \"silu\","
    " \"hidden_size\": 16, \"initializer_range\": 0.02, \"intermediate_size\": 24,"
    " \"max_position_embeddings\": 32, \"mlp_bias\": false, \"model_type\": \"llama\","
    " \"num_attention_heads\": 4, \"num_hidden_layers\": 2,"
    " \"num_key_value_heads\": 2, \"pretraining_tp\": 1, \"rms_norm_eps\": 1e-06,"
    " \"rope_scaling\": null, \"rope_theta\": 10000.0,"
    " \"tie_word_embeddings\": false, \"transformers_version\": \"4.56.2\","
    " \"use_cache\": true, \"vocab_size\": 256}";

static const char mixtral[] =
    "{\"architectures\": [\"MixtralForCausalLM\"], \"attention_dropout\": 0.0,"
    " \"head_dim\": null, \"hidden_act\": \"silu\", \"hidden_size\": 16,"
    " \"initializer_range\": 0.02, \"intermediate_size\": 8,"
    " \"max_position_embeddings\": 32, \"model_type\": \"mixtral\","
    " \"num_attention_heads\": 4, \"num_experts_per_tok\": 2,"
    " \"num_hidden_layers\": 2, \"num_key_value_heads\": 2,"
    " \"num_local_experts\": 4, \"output_router_logits\": false,"
    " \"rms_norm_eps\": 1e-05,"
    " \"rope_parameters\": {\"rope_theta\": 1000000.0, \"rope_type\": \"default\"},"
    " \"router_aux_loss_coef\": 0.001, \"router_jitter_noise\": 0.0,"
    " \"sliding_window\": null, \"tie_word_embeddings\": true,"
    " \"transformers_version\": \"5.23.0\", \"use_cache\": true, \"vocab_size\": 256}";

static const char qwen3[] =
    "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"attention_bias\": false,"
    " \"decoder_sparse_step\": 2, \"hidden_act\": \"silu\", \"hidden_size\": 16,"
    " \"intermediate_size\": 24, \"max_position_embeddings\": 32,"
    " \"mlp_only_layers\": [3], \"model_type\": \"qwen3_moe\","
    " \"moe_intermediate_size\": 8, \"norm_topk_prob\": true,"
    " \"num_attention_heads\": 4, \"num_experts\": 4, \"num_experts_per_tok\": 2,"
    " \"num_hidden_layers\": 4, \"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-06,"
    " \"rope_theta\": 10000.0, \"sliding_window\": 4096, \"max_window_layers\": 28,"
    " \"tie_word_embeddings\": false, \"use_sliding_window\": false,"
    " \"vocab_size\": 256}";

static const char gpt2[] =
    "{\"activation_function\": \"gelu_new\", \"architectures\": [\"GPT2LMHeadModel\"],"
    " \"attn_pdrop\": 0.1, \"embd_pdrop\": 0.1, \"initializer_range\": 0.02,"
    " \"layer_norm_epsilon\": 1e-05, \"model_type\": \"gpt2\", \"n_ctx\": 32,"
    " \"n_embd\": 16, \"n_head\": 4, \"n_inner\": null, \"n_layer\": 2,"
    " \"n_positions\": 32, \"resid_pdrop\": 0.1, \"scale_attn_weights\": true,"
    " \"summary_type\": \"cls_index\", \"vocab_size\": 256}";

static const char *const configs[] = {llama, mixtral, qwen3, gpt2};

enum { CONFIGS = sizeof configs / sizeof *configs, VOCAB = 256 };

static const char tokenizer[] = "{\"kind\":\"byte\"}\n";

/* ------------------------------------------------------------------------- */

/* Tests are in their folder: paths are short, and the folder's name is in none. */
static int enter(void **state)
{
    return unit_dir_setup(state) < 0 ? -1 : chdir(*state);
}

static int leave(void **state)
{
    return chdir("/") < 0 ? -1 : unit_dir_teardown(state);
}

static void must(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s", e->text);
}

static json_t *parse(const char *text)
{
    json_t *j = json_loads(text, 0, NULL);

    assert_non_null(j);
    return j;
}

/* A configuration with a key set to a value, or, of NULL, without it. */
static json_t *changed(const char *config, const char *key, const char *value)
{
    json_t *j = parse(config);

    if (value)
        json_object_set_new(j, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(j, key);
    return j;
}

/* A model of a configuration: the job, its tensors and theirs. */
struct lab {
    const char *model_type;
    struct spec *spec;
    const Nnd__Job *job;
    json_t *json;
    char *text;
    struct outline outline;
    struct hf_tensors *tensors;
};

static void lab_open(struct lab *l, const char *config)
{
    json_t *j = parse(config), *job = NULL;
    const struct hf_arch *arch;
    struct err e = {0};
    char *text;

    must(hf_config_read("config.json", j, NULL, 0, &l->model_type, &job, &e), &e);
    json_object_set_new(job, "data", json_pack("{s:[s]}", "train", "/dev/null"));
    text = json_dumps(job, JSON_INDENT(1));
    l->spec = spec_create();
    must(spec_load_text(l->spec, "job", text, strlen(text), &e), &e);
    spec_anchor(l->spec, "/");
    must(spec_resolve(l->spec, &e), &e);
    free(text);
    json_decref(job);
    json_decref(j);
    l->job = spec_job(l->spec);
    l->json = spec_to_json(l->job);
    l->text = json_dumps(l->json, JSON_COMPACT);
    must(hf_arch_find(l->model_type, &arch, &e), &e);
    must(outline_make(l->job, VOCAB, &l->outline, &e), &e);
    must(hf_tensors_create(&l->outline, arch, &l->tensors, &e), &e);
}

static void lab_close(struct lab *l)
{
    hf_tensors_destroy(l->tensors);
    outline_free(&l->outline);
    free(l->text);
    json_decref(l->json);
    spec_destroy(l->spec);
}

/* What is wrong with a folder that is made. */
struct fault {
    const char *lacks; /* this tensor          */
    const char *wide;  /* is a row too long    */
    const char *extra; /* there is this one    */
    int dtype;         /* of all; 0: f32       */
    size_t from, end;  /* some tensors; 0: all */
};

static void write_file(const char *path, const char *text, size_t len)
{
    struct err e = {0};

    must(fs_replace(path, text, len, &e), &e);
}

/* Tensors [from, end) with numbers that tell them apart. */
static void write_tensors(const struct lab *l, const char *path, const struct fault *f)
{
    struct safetensors_plan *p = safetensors_plan_create("made");
    int dtype = f->dtype ? f->dtype : NND_F32, fd;
    size_t end = f->end ? f->end : l->tensors->n;
    int64_t one = 1;
    struct err e = {0};

    for (size_t i = f->from; i < end; i++) {
        const struct hf_tensor *t = l->tensors->at[i];
        int64_t dim[2] = {t->dim[0], t->dim[1]};

        dim[0] += f->wide && strcmp(t->name, f->wide) == 0;
        if (!f->lacks || strcmp(t->name, f->lacks) != 0)
            must(safetensors_plan_add(p, t->name, dtype, t->ndim, dim, &e), &e);
    }
    if (f->extra)
        must(safetensors_plan_add(p, f->extra, dtype, 1, &one, &e), &e);
    must(safetensors_plan_seal(p, &e), &e);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    must(safetensors_write_header(p, fd, &e), &e);
    for (size_t i = 0; i < safetensors_plan_count(p); i++) {
        const struct safetensors_tensor *t = safetensors_plan_at(p, i);
        unsigned char *x = malloc(t->elements * t->element_size + 1);

        assert_non_null(x);
        for (uint64_t k = 0; k < t->elements * t->element_size; k++)
            x[k] = (unsigned char)((k * 7 + i * 13) % 120);
        must(safetensors_write(p, fd, t, 0, t->elements, x, &e), &e);
        free(x);
    }
    close(fd);
    safetensors_plan_destroy(p);
}

static void make_folder(const struct lab *l, const char *config, const char *dir,
                        const struct fault *f)
{
    char path[4096];

    mkdir(dir, 0700);
    snprintf(path, sizeof path, "%s/config.json", dir);
    write_file(path, config, strlen(config));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    write_tensors(l, path, f);
}

static int import_folder(const struct lab *l, const char *dir, const char *to,
                         struct err *e)
{
    struct hf_folder f;
    int rc = hf_folder_open(dir, &f, e);

    mkdir(to, 0700);
    if (rc == 0)
        rc = hf_import(&(struct hf_import){.from = &f,
                                           .model_type = l->model_type,
                                           .job = l->job,
                                           .vocab = VOCAB,
                                           .job_json = l->text,
                                           .tokenizer = tokenizer,
                                           .to = to},
                       e);
    hf_folder_close(&f);
    return rc;
}

static int export_folder(const struct lab *l, const char *checkpoint, const char *to,
                         int dtype, uint64_t shard, struct err *e)
{
    return hf_export(&(struct hf_export){.checkpoint = checkpoint,
                                         .job = l->job,
                                         .job_json = l->json,
                                         .vocab = VOCAB,
                                         .to = to,
                                         .dtype = dtype,
                                         .shard_bytes = shard,
                                         .tokenizer = tokenizer,
                                         .bos = -1,
                                         .eos = -1,
                                         .pad = -1},
                     e);
}

static void same_file(const char *a, const char *b, const char *name)
{
    struct buf x = {0}, y = {0};
    struct err e = {0};
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", a, name);
    must(fs_read(path, 0, &x, &e), &e);
    snprintf(path, sizeof path, "%s/%s", b, name);
    must(fs_read(path, 0, &y, &e), &e);
    if (x.len != y.len || memcmp(x.data, y.data, x.len) != 0)
        fail_msg("%s: not the same in %s and %s", name, a, b);
    buf_free(&x);
    buf_free(&y);
}

static int files_of(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));)
        n += f->d_name[0] != '.';
    closedir(d);
    return n;
}

static void same_folder(const char *a, const char *b)
{
    DIR *d = opendir(a);

    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));)
        if (f->d_name[0] != '.')
            same_file(a, b, f->d_name);
    closedir(d);
    assert_int_equal(files_of(a), files_of(b));
}

/* ------------------------------------------------------------------------- */

/* In, and out as it came; out anew, in and out again. */
static void same_bytes(void **state)
{
    static const int types[] = {NND_F32, NND_BF16, NND_F16};
    struct err e = {0};
    (void)state;

    for (int i = 0; i < CONFIGS * 3; i++) {
        struct fault f = {.dtype = types[i % 3]};
        struct lab l;

        lab_open(&l, configs[i / 3]);
        make_folder(&l, configs[i / 3], "a", &f);
        must(import_folder(&l, "a", "b", &e), &e);
        must(export_folder(&l, "b/step-000000000", "c", 0, 0, &e), &e);
        same_folder("a", "c");
        must(export_folder(&l, "b/step-000000000", "d", f.dtype, 8000, &e), &e);
        must(import_folder(&l, "d", "g", &e), &e);
        must(export_folder(&l, "g/step-000000000", "h", 0, 0, &e), &e);
        same_folder("d", "h");
        assert_true(fs_exists("d/model.safetensors.index.json"));
        must(export_folder(&l, "g/step-000000000", "k", f.dtype, 1 << 30, &e), &e);
        same_file("a", "k", "model.safetensors");
        lab_close(&l);
        for (const char *d = "abcdghk"; *d; d++)
            fs_remove_tree((char[]){*d, '\0'}, NULL);
    }
}

/* What export writes anew for a configuration reads back as the same model. */
static void config_both_ways(void **state)
{
    (void)state;
    for (int i = 0; i < CONFIGS; i++) {
        json_t *config = NULL, *again = NULL;
        const char *type = NULL;
        struct err e = {0};
        struct lab l;

        lab_open(&l, configs[i]);
        must(hf_config_write(l.json, VOCAB, &type, &config, &e), &e);
        assert_string_equal(type, l.model_type);
        must(hf_config_read("again", config, NULL, 0, &type, &again, &e), &e);
        assert_string_equal(type, l.model_type);
        json_t *a = json_object_get(again, "model"),
               *b = json_object_get(l.json, "model");
        const char *key;
        json_t *value;
        json_object_foreach(a, key, value)
        {
            json_t *other = json_object_get(b, key);

            if (json_is_object(value) || strcmp(key, "vocab") == 0)
                continue;
            if (json_is_number(value))
                assert_true(json_number_value(value) == json_number_value(other));
            else if (!json_equal(value, other))
                fail_msg("%s: %s is not as it was", type, key);
        }
        json_decref(again);
        json_decref(config);
        lab_close(&l);
    }
}

/* ------------------------------------------------------------------------- */

/* KEY of a configuration set to VALUE (JSON; NULL: taken out): what is said. */
static void config_refused(void **state)
{
    static const struct {
        const char *config, *key, *value, *said;
    } cases[] = {
        {llama, "model_type", "\"bert\"", "model_type: wanted llama"},
        {llama, "model_type", NULL, "model_type: wanted llama"},
        {llama, "architectures", "[\"LlamaModel\"]", "wanted LlamaForCausalLM"},
        {llama, "hidden_act", "\"gelu\"",
         "hidden_act: wanted \"silu\", found \"gelu\""},
        {llama, "rope_scaling", "{\"rope_type\": \"yarn\"}",
         "rope_scaling: wanted null"},
        {llama, "mlp_bias", "true", "mlp_bias: wanted false, as another key"},
        {llama, "hidden_size", NULL, "hidden_size: wanted a whole number"},
        {llama, "hidden_size", "\"16\"", "hidden_size: wanted a whole number"},
        {llama, "tie_word_embeddings", "1", "tie_word_embeddings: wanted a value like"},
        {llama, "quantization_config", "{}", "quantization_config: wanted null"},
        {llama, "attn_softcap", "30.0", "attn_softcap: this key is not known"},
        {mixtral, "sliding_window", "4096", "sliding_window: wanted null, found 4096"},
        {mixtral, "rope_parameters", "{\"rope_type\": \"linear\", \"rope_theta\": 1}",
         "rope_parameters.rope_type: wanted \"default\""},
        {mixtral, "rope_parameters", "{\"rope_theta\": 1, \"factor\": 2}",
         "rope_parameters.factor: this key is not known"},
        {mixtral, "rope_theta", "10000", "rope_theta: wanted what rope_parameters"},
        {qwen3, "use_sliding_window", "true", "use_sliding_window: wanted false"},
        {qwen3, "attention_bias", "true", "attention_bias: wanted false"},
        {gpt2, "scale_attn_by_inverse_layer_idx", "true", "inverse_layer_idx: wanted"},
        {gpt2, "activation_function", "\"tanh\"",
         "activation_function: wanted gelu_new"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *config = changed(cases[i].config, cases[i].key, cases[i].value),
               *job = NULL;
        const char *type;
        struct err e = {0};

        assert_int_equal(hf_config_read("c", config, NULL, 0, &type, &job, &e),
                         ERR_SPEC);
        if (!strstr(e.text, cases[i].said))
            fail_msg("wanted \"%s\", found \"%s\"", cases[i].said, e.text);
        json_decref(config);
    }
    const char *const ignore[] = {"attn_softcap"};
    json_t *config = parse(llama), *job = NULL;
    const char *type;
    struct err e = {0};
    json_object_set_new(config, "attn_softcap", json_real(30));
    must(hf_config_read("c", config, ignore, 1, &type, &job, &e), &e);
    json_decref(job);
    json_decref(config);
}

/* KEY of a configuration taken out, or set to VALUE: what the job has is what
 * transformers' class takes. */
static void config_defaults(void **state)
{
    static const char rope[] = "{\"rope_type\": \"default\"}";
    static const char turned[] = "{\"rope_theta\": 10000.0}";
    static const struct {
        const char *config, *key, *value, *ours;
        double want;
    } cases[] = {
        {llama, "num_key_value_heads", NULL, "kv_heads", 0},
        {llama, "rms_norm_eps", NULL, "norm_eps", 1e-6},
        {llama, "rope_theta", NULL, "rope_theta", 1e4},
        {mixtral, "num_key_value_heads", NULL, "kv_heads", 8},
        {mixtral, "num_key_value_heads", "null", "kv_heads", 0},
        {mixtral, "rms_norm_eps", NULL, "norm_eps", 1e-5},
        {mixtral, "rope_parameters", NULL, "rope_theta", 1e6},
        {mixtral, "rope_parameters", rope, "rope_theta", 1e6},
        {mixtral, "rope_theta", "null", "rope_theta", 1e6},
        {qwen3, "num_key_value_heads", NULL, "kv_heads", 4},
        {qwen3, "num_key_value_heads", "null", "kv_heads", 0},
        {qwen3, "rms_norm_eps", NULL, "norm_eps", 1e-6},
        {qwen3, "rope_theta", NULL, "rope_theta", 1e4},
        {qwen3, "rope_parameters", turned, "rope_theta", 1e4},
        {qwen3, "rope_parameters", "{\"rope_theta\": null}", "rope_theta", 1e4},
        {gpt2, "layer_norm_epsilon", NULL, "norm_eps", 1e-5},
        {gpt2, "n_inner", NULL, "ffn", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *config = changed(cases[i].config, cases[i].key, cases[i].value),
               *job = NULL, *found;
        const char *type;
        struct err e = {0};

        must(hf_config_read("c", config, NULL, 0, &type, &job, &e), &e);
        found = json_object_get(json_object_get(job, "model"), cases[i].ours);
        if (!found || json_number_value(found) != cases[i].want)
            fail_msg("%s without %s: wanted %s of %g, found %g", type, cases[i].key,
                     cases[i].ours, cases[i].want, json_number_value(found));
        json_decref(job);
        json_decref(config);
    }
}

/* A field of the job that no class, or not this one, can say. */
static void job_refused(void **state)
{
    static const struct {
        const char *config, *path, *value, *said;
    } cases[] = {
        {llama, "family", "\"encdec\"", "model.family: no class"},
        {llama, "position", "\"sinusoid\"", "LlamaForCausalLM has \"rope\" alone"},
        {llama, "activation", "\"gelu\"", "model.activation: LlamaForCausalLM"},
        {llama, "scale_embeddings", "true", "model.scale_embeddings"},
        {llama, "qk_norm", "true", "model.qk_norm: LlamaForCausalLM"},
        {mixtral, "moe.score", "\"sigmoid\"", "model.moe.score: MixtralForCausalLM"},
        {mixtral, "moe.renormalize", "false", "model.moe.renormalize"},
        {mixtral, "moe.shared_experts", "1", "model.moe.shared_experts"},
        {mixtral, "moe.scale", "2.5", "model.moe.scale"},
        {mixtral, "moe.bias_rate", "0.001", "model.moe.bias_rate"},
        {mixtral, "moe.every", "2", "model.moe.every: MixtralForCausalLM has 1 alone"},
        {mixtral, "bias", "true", "model.bias"},
        {qwen3, "moe.scale", "2.5", "model.moe.scale: Qwen3MoeForCausalLM"},
        {gpt2, "kv_heads", "2", "model.kv_heads: GPT2LMHeadModel"},
        {gpt2, "head_dim", "8", "model.head_dim: GPT2LMHeadModel"},
        {gpt2, "activation", "\"swiglu\"", "model.activation: GPT2LMHeadModel"},
        {gpt2, "bias", "false", "model.bias"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *config = NULL, *at;
        const char *type, *dot = strchr(cases[i].path, '.');
        struct err e = {0};
        struct lab l;

        lab_open(&l, cases[i].config);
        at = json_object_get(l.json, "model");
        if (dot)
            at = json_object_get(at, "moe");
        json_object_set_new(at, dot ? dot + 1 : cases[i].path,
                            json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        assert_int_equal(hf_config_write(l.json, VOCAB, &type, &config, &e), ERR_SPEC);
        if (!strstr(e.text, cases[i].said))
            fail_msg("wanted \"%s\", found \"%s\"", cases[i].said, e.text);
        lab_close(&l);
    }
}

/* One line that names the tensor, and nothing is written. */
static void tensors_counted(void **state)
{
    static const struct {
        const char *config;
        struct fault fault;
        const char *said;
    } cases[] = {
        {llama,
         {.lacks = "model.layers.1.mlp.up_proj.weight"},
         "model.layers.1.mlp.up_proj.weight: wanted, found none"},
        {llama,
         {.extra = "model.layers.2.mlp.up_proj.weight"},
         "model.layers.2.mlp.up_proj.weight: is left over"},
        {mixtral,
         {.wide = "model.layers.0.block_sparse_moe.experts.3.w2.weight"},
         "experts.3.w2.weight: wanted shape [16,8], found [17,8]"},
        {mixtral, {.extra = "lm_head.weight"}, "lm_head.weight: wanted the same as"},
        {gpt2,
         {.lacks = "transformer.h.0.attn.c_attn.weight"},
         "transformer.h.0.attn.c_attn.weight: wanted, found none"},
        {gpt2, {.dtype = NND_I32}, "wanted type F32, BF16 or F16, found I32"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        struct lab l;

        lab_open(&l, cases[i].config);
        make_folder(&l, cases[i].config, "a", &cases[i].fault);
        assert_true(import_folder(&l, "a", "b", &e) < 0);
        if (!strstr(e.text, cases[i].said))
            fail_msg("wanted \"%s\", found \"%s\"", cases[i].said, e.text);
        assert_false(fs_exists("b/step-000000000"));
        lab_close(&l);
        fs_remove_tree("a", NULL);
        fs_remove_tree("b", NULL);
    }
}

/* Masks that old versions of GPT-2 saved are no weights. */
static void buffers_pass(void **state)
{
    struct fault f = {.extra = "transformer.h.0.attn.bias"};
    struct err e = {0};
    struct lab l;
    (void)state;

    lab_open(&l, gpt2);
    make_folder(&l, gpt2, "a", &f);
    must(import_folder(&l, "a", "b", &e), &e);
    assert_false(fs_exists("b/step-000000000/origin.json"));
    lab_close(&l);
}

/* What a checkpoint of others remembers names files of the folder that export makes. */
static void origin_named(void **state)
{
    static const char *const bad[] = {
        "{\"files\": {}, \"heads\": {\"../../x\": \"{}\"}}",
        "{\"files\": {}, \"heads\": {\"/tmp/x\": \"{}\"}}",
        "{\"files\": {\"../x\": \"\"}, \"heads\": {}}",
        "{\"files\": {\"..\": \"\"}, \"heads\": {}}",
        "{\"files\": {\"\": \"\"}, \"heads\": {}}",
    };
    static const char good[] = "{\"files\": {\"a\": \"\"}, \"heads\": {\"b\": \"{}\"}}";
    struct arena *a = arena_create();
    struct origin o;
    struct err e = {0};
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(origin_read(bad[i], strlen(bad[i]), a, &o, &e), ERR_SPEC);
        if (!strstr(e.text, "is no name of a file"))
            fail_msg("%s: found \"%s\"", bad[i], e.text);
    }
    must(origin_read(good, strlen(good), a, &o, &e), &e);
    assert_int_equal(o.n, 1);
    origin_free(&o);
    arena_destroy(a);
}

/* An index is held against the files, and they against it. */
static void index_checked(void **state)
{
    static const struct {
        const char *index, *said;
    } cases[] = {
        {"[", "wanted JSON"},
        {"{}", "weight_map: wanted names"},
        {"{\"weight_map\": {\"x\": \"../a\"}}", "wanted a file of this folder"},
        {"{\"weight_map\": {\"x\": 1}}", "wanted a file of this folder"},
        {"{\"weight_map\": {\"x\": \"none.safetensors\"}}", "none.safetensors"},
        {"{\"weight_map\": {\"x\": \"one.safetensors\"}}", "says it is in no file"},
    };
    struct fault f = {.end = 1};
    struct lab l;
    char text[1000];
    (void)state;

    lab_open(&l, llama);
    make_folder(&l, llama, "a", &(struct fault){0});
    unlink("a/model.safetensors");
    write_tensors(&l, "a/one.safetensors", &f);
    for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
        bool last = i == sizeof cases / sizeof *cases;
        const char *said = last ? "names 2 tensors, the files have 1" : cases[i].said;
        struct err e = {0};

        snprintf(text, sizeof text,
                 "{\"weight_map\": {\"%s\": \"one.safetensors\", "
                 "\"more\": \"one.safetensors\"}}",
                 l.tensors->at[0]->name);
        write_file("a/model.safetensors.index.json", last ? text : cases[i].index,
                   strlen(last ? text : cases[i].index));
        assert_true(import_folder(&l, "a", "b", &e) < 0);
        if (!strstr(e.text, said))
            fail_msg("wanted \"%s\", found \"%s\"", said, e.text);
    }
    lab_close(&l);
}

/* A checkpoint whose job says otherwise than its tensors is not written. */
static void checkpoint_counted(void **state)
{
    struct err e = {0};
    struct lab l, other;
    (void)state;

    lab_open(&l, llama);
    lab_open(&other, mixtral);
    make_folder(&l, llama, "a", &(struct fault){0});
    must(import_folder(&l, "a", "b", &e), &e);
    assert_true(export_folder(&other, "b/step-000000000", "c", 0, 0, &e) < 0);
    assert_non_null(strstr(e.text, "tensor"));
    assert_false(fs_exists("c"));
    mkdir("d", 0700);
    assert_int_equal(export_folder(&l, "b/step-000000000", "d", 0, 0, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "is there already"));
    lab_close(&other);
    lab_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(same_bytes, enter, leave),
        cmocka_unit_test(config_both_ways),
        cmocka_unit_test(config_refused),
        cmocka_unit_test(config_defaults),
        cmocka_unit_test(job_refused),
        cmocka_unit_test(origin_named),
        cmocka_unit_test_setup_teardown(tensors_counted, enter, leave),
        cmocka_unit_test_setup_teardown(buffers_pass, enter, leave),
        cmocka_unit_test_setup_teardown(index_checked, enter, leave),
        cmocka_unit_test_setup_teardown(checkpoint_counted, enter, leave),
    };
    return cmocka_run_group_tests_name("exchange hf", tests, NULL, NULL);
}
