/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spec_bad.c - every kind of mistake in a job file, and the one line that
 * a person gets for it.
 */
#include <stdio.h>

#include "proto/spec.h"
#include "unit.h"

/* A first line, so that what follows is wrong for its own reason alone. */
#define DATA "data: {train: /x}\n"

struct bad {
    const char *name, *text;
    const char *error; /* behind "job.yaml:" */
};

static const struct bad bads[] = {
    {"empty file", "", "1:1: job: wanted keys and values, found an empty file"},
    {"only a mark", "\xef\xbb\xbf",
     "1:1: job: wanted keys and values, found an empty file"},
    {"wrong key behind a mark", "\xef\xbb\xbfmodle: 4\n",
     "1:1: job: wanted one of its keys, found \"modle\"; did you mean \"model\"?"},
    {"a byte behind a mark", "\xef\xbb\xbfname: \xff\n",
     "1:7: job: wanted UTF-8 text, found byte 0xff"},
    {"only comments", "# nothing\n",
     "2:1: job: wanted keys and values, found an empty file"},
    {"not a mapping", "- a\n- b\n", "1:1: job: wanted keys and values, found a list"},
    {"only a word", "hello\n",
     "1:1: job: wanted keys and values, found a single value"},
    {"wrong top key", "modle:\n  layers: 4\n",
     "1:1: job: wanted one of its keys, found \"modle\"; did you mean \"model\"?"},
    {"wrong nested key", DATA "train:\n  lrr: 3e-4\n",
     "3:3: train: wanted one of its keys, found \"lrr\"; did you mean \"lr\"?"},
    {"key of another section", "lr: 3e-4\n",
     "1:1: job: wanted one of its keys, found \"lr\"; write \"lr\" below \"train\""},
    {"key like nothing", DATA "retry:\n  frobnicate: 1\n",
     "3:3: retry: wanted one of its keys, found \"frobnicate\"; its keys are max, "
     "delay"},
    {"key in capitals", "Train:\n  steps: 4\n",
     "1:1: job: wanted one of its keys, found \"Train\"; did you mean \"train\"?"},
    {"dotted key", "train.lr: 3e-4\n",
     "1:1: job: wanted one of its keys, found \"train.lr\"; write \"lr\" below "
     "\"train\""},
    {"key twice", DATA "train:\n  lr: 1\n  steps: 5\n  lr: 2\n",
     "5:3: train.lr: wanted it once, found it again after line 3"},
    {"section twice", "train:\n  lr: 1\ntrain:\n  lr: 2\n",
     "3:1: train: wanted it once, found it again after line 1"},
    {"list as a key", "? [a, b]\n: 1\n",
     "1:3: job: wanted one of its keys, found a list"},
    {"merge key", "<<: 1\n",
     "1:1: job: wanted one of its keys, found \"<<\"; its keys are name, seed, model, "
     "data, train, parallel, checkpoint, kernels, retry, queue, launcher, distill"},
    {"section with a value", "train: fast\n",
     "1:8: train: wanted keys and values, found a single value"},
    {"section with a list", "train: [1, 2]\n",
     "1:8: train: wanted keys and values, found a list"},
    {"value with a section", "train:\n  lr: {a: 1}\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found keys and values"},
    {"value with a list", "train:\n  lr: [1, 2]\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found a list"},
    {"list in a list", "data:\n  train: [[a]]\n",
     "2:11: data.train: wanted a text of 1 to 4096 bytes, found a list"},
    {"nothing for a number", "train:\n  lr:\n",
     "2:6: train.lr: wanted a number from 0 to 1000, found nothing"},
    {"null for a number", "train:\n  lr: null\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found null"},
    {"nothing for a text", "name: ~\n",
     "1:7: name: wanted a text of 1 to 64 bytes, found ~"},
    {"word for a number", "train:\n  lr: fast\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found \"fast\""},
    {"number in quotes", "train:\n  steps: \"100\"\n",
     "2:10: train.steps: wanted a whole number from 1 to 1000000000, found a text; "
     "take the quotes away"},
    {"fraction for a whole number", "train:\n  steps: 1.5\n",
     "2:10: train.steps: wanted a whole number from 1 to 1000000000, found 1.5"},
    {"exponent for a whole number", "train:\n  steps: 1e4\n",
     "2:10: train.steps: wanted a whole number from 1 to 1000000000, found 1e4"},
    {"negative number", "model:\n  layers: -4\n",
     "2:11: model.layers: wanted a whole number from 1 to 1024, found -4"},
    {"32 bits too few", "train:\n  steps: 4294967296\n",
     "2:10: train.steps: wanted a whole number from 1 to 1000000000, found 4294967296"},
    {"64 bits too few", "seed: 18446744073709551616\n",
     "1:7: seed: wanted a whole number from 0 to 9007199254740991, found "
     "18446744073709551616"},
    {"seed beyond exact", "seed: 9007199254740992\n",
     "1:7: seed: wanted a whole number from 0 to 9007199254740991, found "
     "9007199254740992"},
    {"nan", "train:\n  lr: .nan\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found \".nan\""},
    {"inf", "train:\n  lr: .inf\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found \".inf\""},
    {"plain nan", "train:\n  lr: nan\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found \"nan\""},
    {"too large a double", "train:\n  lr: 1e999\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found \"1e999\""},
    {"unit behind a number", "retry:\n  delay: 5s\n",
     "2:10: retry.delay: wanted a number from 0 to 300, found \"5s\""},
    {"bool by number", "model:\n  bias: 1\n",
     "2:9: model.bias: wanted true or false, found 1"},
    {"bool in quotes", "model:\n  bias: \"yes\"\n",
     "2:9: model.bias: wanted true or false, found a text; take the quotes away"},
    {"bool misspelt", "model:\n  bias: ture\n",
     "2:9: model.bias: wanted true or false, found \"ture\""},
    {"enum misspelt", "train:\n  precision: bf61\n",
     "2:14: train.precision: wanted one of bf16, fp16, fp32, found \"bf61\"; did you "
     "mean \"bf16\"?"},
    {"enum by number", "train:\n  precision: 0\n",
     "2:14: train.precision: wanted one of bf16, fp16, fp32, found 0"},
    {"enum like nothing", "model:\n  norm: batch\n",
     "2:9: model.norm: wanted one of rms, layer, found \"batch\""},
    {"enum of two", "model:\n  family: encoder\n",
     "2:11: model.family: wanted one of decoder, encdec, rnnlm, seq2seq, found "
     "\"encoder\"; did you mean \"decoder\"?"},
    {"both directions for a writer",
     DATA "model: {family: rnnlm, bidirectional: yes}\n",
     "2:24: model.bidirectional: wanted false: a model that writes from left to right "
     "would see the tokens that it is asked for"},
    {"carried state of a Transformer", "data: {train: /x, sampling: sequential}\n",
     "1:19: data.sampling: wanted random unless model.family is rnnlm and data.format "
     "stream: nothing else carries a state on"},
    {"experts of cells", DATA "model: {family: rnnlm, moe: {experts: 4}}\n",
     "2:30: model.moe.experts: wanted 0: recurrent families have no feed-forward part"},
    {"empty name", "name: \"\"\n",
     "1:7: name: wanted a text of 1 to 64 bytes, found \"\""},
    {"name too long",
     "name: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
     "1:7: name: wanted a text of 1 to 64 bytes, found "
     "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\""},
    {"control character in a name", "name: \"a\\e[31m\"\n",
     "1:7: name: wanted UTF-8 text without control characters, found \"a\\x1b[31m\""},
    {"newline in a path", "data:\n  train: \"a\\nb\"\n",
     "2:10: data.train: wanted UTF-8 text without control characters, found "
     "\"a\\x0ab\""},
    {"NUL in a name", "name: \"a\\0b\"\n",
     "1:7: name: wanted a text of 1 to 64 bytes, found a text with a NUL in it"},
    {"anchor", "name: &n demo\n",
     "1:7: name: wanted a plain value, found an anchor (&)"},
    {"anchor on a section", "train: &t\n  lr: 1\n",
     "1:8: train: wanted a plain value, found an anchor (&)"},
    {"anchor on a list", "data:\n  train: &t [a]\n",
     "2:10: data.train: wanted a plain value, found an anchor (&)"},
    {"alias", "name: *n\n", "1:7: job: wanted the value itself, found an alias (*)"},
    {"alias as a key", "*a : 1\n",
     "1:1: job: wanted the value itself, found an alias (*)"},
    {"tag", "name: !!str demo\n", "1:7: name: wanted a plain value, found a tag (!)"},
    {"tag on a section", "train: !x {lr: 1}\n",
     "1:8: train: wanted a plain value, found a tag (!)"},
    {"two documents", DATA "---\ndata: {train: /x}\n",
     "2:1: job: wanted one document, found another (---)"},
    {"tab", "train:\n\tlr: 1\n", "2:1: job: wanted spaces to indent with, found a tab"},
    {"list not closed", "data:\n  train: [a, b\nname: x\n",
     "3:5: job: wanted ',' or ']', found something else while parsing a flow sequence"},
    {"quote not closed", "name: \"demo\n",
     "2:1: job: wanted YAML, found unexpected end of stream while scanning a quoted "
     "scalar"},
    {"bad indentation", "train:\n  lr: 1\n   steps: 2\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found \"1 steps\""},
    {"colon without a value", "data\n  train: x\n",
     "1:1: job: wanted keys and values, found a single value"},
    {"byte that is no UTF-8", "name: demo\ndata: {train: b\377d}\n",
     "2:16: job: wanted UTF-8 text, found byte 0xff"},
    {"UTF-16", "\377\376n", "1:1: job: wanted UTF-8 text, found byte 0xff"},
    {"overlong UTF-8", "name: \300\257\n",
     "1:7: job: wanted UTF-8 text, found byte 0xc0"},
    {"no layers", "model:\n  layers: 0\n",
     "2:11: model.layers: wanted a whole number from 1 to 1024, found 0"},
    {"dropout of all", "model:\n  dropout: 1\n",
     "2:12: model.dropout: wanted a number from 0 to below 1, as f32 too, found 1"},
    {"negative rate", "train:\n  lr: -1e-3\n",
     "2:7: train.lr: wanted a number from 0 to 1000, found -0.001"},
    {"eps zero", "train:\n  eps: 0\n",
     "2:8: train.eps: wanted a number above 0 and up to 1, as f32 too, found 0"},
    {"eps that is zero as f32", "train:\n  eps: 1e-50\n",
     "2:8: train.eps: wanted a number above 0 and up to 1, as f32 too, found 1e-50"},
    {"beta of one", "train:\n  beta2: 1.0\n",
     "2:10: train.beta2: wanted a number from 0 to below 1, as f32 too, found 1"},
    {"beta of one as f32", "train:\n  beta2: 0.99999999\n",
     "2:10: train.beta2: wanted a number from 0 to below 1, as f32 too, found "
     "0.99999999"},
    {"average that stands still", "train:\n  ema: 0.99999998\n",
     "2:8: train.ema: wanted a number from 0 to below 1, as f32 too, found 0.99999998"},
    {"negative clip", "train:\n  clip: -1\n",
     "2:9: train.clip: wanted a number from 0 to 1000000000, found -1"},
    {"no steps", "train:\n  steps: 0\n",
     "2:10: train.steps: wanted a whole number from 1 to 1000000000, found 0"},
    {"no checkpoints kept", "checkpoint:\n  keep: 0\n",
     "2:9: checkpoint.keep: wanted a whole number from 1 to 1000, found 0"},
    {"too many experts", "model:\n  moe:\n    experts: 100000\n",
     "3:14: model.moe.experts: wanted a whole number from 0 to 4096, found 100000"},
    {"dense layer out of range",
     "model:\n  moe:\n    experts: 4\n    dense_layers: [0, 5000]\n",
     "4:23: model.moe.dense_layers: wanted a whole number from 0 to 1023, found 5000"},
    {"long retry delay", "retry:\n  delay: 301\n",
     "2:10: retry.delay: wanted a number from 0 to 300, found 301"},
    {"no data", "name: demo\n",
     "1:1: data.train: wanted at least one file or folder, found none"},
    {"empty data", "data:\n  train: []\n",
     "2:3: data.train: wanted at least one file or folder, found none"},
    {"kv heads", DATA "model:\n  heads: 4\n  kv_heads: 3\n",
     "4:3: model.kv_heads: wanted a divisor of model.heads (4), found 3"},
    {"kv heads of default heads", DATA "model:\n  kv_heads: 3\n",
     "3:3: model.kv_heads: wanted a divisor of model.heads (4, default), found 3"},
    {"width and heads", DATA "model:\n  width: 130\n",
     "3:3: model.width: wanted a multiple of model.heads (4, default), found 130; "
     "nearest are 128 and 132"},
    {"heads and default width", DATA "model:\n  heads: 3\n",
     "3:3: model.width: wanted a multiple of model.heads (3), found 128, default; "
     "nearest are 126 and 129"},
    {"head too wide", DATA "model:\n  width: 2048\n  heads: 1\n",
     "3:3: model.head_dim: wanted at most 1024, found 2048, computed"},
    {"odd head", DATA "model:\n  width: 36\n  heads: 4\n",
     "4:3: model.head_dim: wanted an even number for model.position rope, found 9, "
     "computed"},
    {"odd head given", DATA "model:\n  head_dim: 33\n",
     "3:3: model.head_dim: wanted an even number for model.position rope, found 33"},
    {"vocab below bytes", DATA "model:\n  vocab: 128\n",
     "3:3: model.vocab: wanted 0 or at least 256 for data.tokenizer byte, found 128"},
    {"experts forgotten", DATA "model:\n  moe:\n    top_k: 2\n",
     "4:5: model.moe.top_k: wanted model.moe.experts beside it, found none"},
    {"teacher of a student forgotten", DATA "distill:\n  alpha: 0.9\n",
     "3:3: distill.alpha: wanted distill.teacher beside it, found none"},
    {"teacher of another temperature forgotten", DATA "distill:\n  temperature: 2\n",
     "3:3: distill.temperature: wanted distill.teacher beside it, found none"},
    {"layers run again beside norms", DATA "train:\n  recompute_layers: 1\n",
     "3:3: train.recompute_layers: wanted 0 unless train.recompute is blocks, found 1"},
    {"more layers run again than there are",
     DATA "train:\n  recompute: blocks\n  recompute_layers: 5\n",
     "4:3: train.recompute_layers: wanted at most all layers (4, default), found 5"},
    {"cells run again",
     DATA
     "model:\n  family: rnnlm\ntrain:\n  recompute: blocks\n  recompute_layers: 1\n",
     "6:3: train.recompute_layers: wanted 0: recurrent families run no layer again"},
    {"top_k above experts", DATA "model:\n  moe:\n    experts: 4\n    top_k: 5\n",
     "5:5: model.moe.top_k: wanted at most model.moe.experts (4), found 5"},
    {"experts below top_k", DATA "model:\n  moe:\n    experts: 1\n",
     "4:5: model.moe.top_k: wanted at most model.moe.experts (1), found 2, default"},
    {"bias without sigmoid",
     DATA "model:\n  moe:\n    experts: 4\n    bias_rate: 1e-3\n",
     "5:5: model.moe.bias_rate: wanted 0 unless model.moe.score is sigmoid, found "
     "0.001"},
    {"end beyond", DATA "model:\n  vocab: 300\n  ends: [2, 300]\n",
     "4:3: model.ends: wanted ids below model.vocab (300), found 300"},
    {"end of a reader",
     "data: {train: /x, format: pairs}\nmodel: {family: encdec, ends: 2}\n",
     "2:25: model.ends: wanted none: a model that reads a source begins with <bos> and "
     "ends with <eos>"},
    {"begin beyond", DATA "model:\n  vocab: 300\n  begins: 300\n",
     "4:3: model.begins: wanted ids below model.vocab (300), found 300"},
    {"dense layer beyond",
     DATA "model:\n  layers: 2\n  moe:\n    experts: 4\n    dense_layers: [0, 2]\n",
     "6:5: model.moe.dense_layers: wanted numbers below model.layers (2), found 2"},
    {"dense layer twice",
     DATA "model:\n  moe:\n    experts: 4\n    dense_layers: [0, 1, 0]\n",
     "5:5: model.moe.dense_layers: wanted each layer once, found 0 again"},
    {"no MoE layer", DATA "model:\n  layers: 2\n  moe:\n    experts: 4\n    every: 3\n",
     "5:5: model.moe.experts: wanted a layer to put them in, found that "
     "model.moe.every (3) and model.moe.dense_layers keep all 2 layers dense"},
    {"all layers dense",
     DATA "model:\n  layers: 2\n  moe:\n    experts: 4\n    dense_layers: [0, 1]\n",
     "5:5: model.moe.experts: wanted a layer to put them in, found that "
     "model.moe.every (1, default) and model.moe.dense_layers keep all 2 layers dense"},
    {"too large a model",
     DATA
     "model:\n  layers: 1024\n  width: 65536\n  heads: 64\n  moe:\n    experts: 4096\n",
     "7:5: model.moe.experts: wanted a model of at most 1e13 parameters, found "
     "7.21e+16"},
    {"too many tokens", DATA "model:\n  context: 1048576\ntrain:\n  batch: 4096\n",
     "5:3: train.batch: wanted at most 2147483647 tokens per step (train.batch x "
     "model.context), found 4294967296"},
    {"two validation sets", "data:\n  train: /x\n  valid: /y\n  valid_fraction: 0.1\n",
     "4:3: data.valid_fraction: wanted 0 beside data.valid, found 0.1"},
    {"nothing to validate on",
     "data:\n  train: /x\n  valid_fraction: 0\ntrain:\n  valid_every: 10\n",
     "5:3: train.valid_every: wanted 0 since data.valid and data.valid_fraction leave "
     "nothing to validate on, found 10"},
    {"chunks", DATA "train:\n  chunks: 6\n",
     "3:3: train.chunks: wanted a power of two, found 6"},
    {"more chunks than a sum takes", DATA "train:\n  chunks: 65536\n",
     "3:11: train.chunks: wanted a whole number from 1 to 32768, found 65536"},
    {"batch and chunks", DATA "train:\n  batch: 18\n",
     "3:3: train.batch: wanted a multiple of train.chunks (4, default), found 18; "
     "nearest are 16 and 20"},
    {"chunks and default batch", DATA "train:\n  chunks: 32\n",
     "3:3: train.batch: wanted a multiple of train.chunks (32), found 16, default; "
     "nearest is 32"},
    {"a batch of words", DATA "train:\n  batch: fat\n",
     "3:10: train.batch: wanted a whole number from 0 to 1048576, or fit, found "
     "\"fat\""},
    {"a batch that fits, in tokens", DATA "train:\n  batch: fit\n  batch_tokens: 512\n",
     "4:3: train.batch_tokens: wanted 0: train.batch fit works it out, found 512"},
    {"min_lr above lr", DATA "train:\n  lr: 1e-4\n  min_lr: 1e-3\n",
     "4:3: train.min_lr: wanted at most train.lr (0.0001), found 0.001"},
    {"warmup beyond steps", DATA "train:\n  steps: 10\n  warmup: 20\n",
     "4:3: train.warmup: wanted at most train.steps (10), found 20"},
    {"decay before warmup", DATA "train:\n  warmup: 50\n  decay_steps: 40\n",
     "3:3: train.warmup: wanted at most train.decay_steps (40), found 50"},
    {"wsd does not fit",
     DATA "train:\n  schedule: wsd\n  steps: 100\n  warmup: 50\n  decay_steps: 60\n",
     "6:3: train.decay_steps: wanted train.warmup (50) and the decay to fit into "
     "train.steps (100), found 60"},
    {"dp no power of two", DATA "train:\n  chunks: 8\nparallel:\n  dp: 6\n",
     "5:3: parallel.dp: wanted a power of two, found 6"},
    {"dp above chunks", DATA "parallel:\n  dp: 8\n",
     "3:3: parallel.dp: wanted a divisor of train.chunks (4, default), found 8"},
    {"ep does not divide dp",
     DATA "model:\n  moe:\n    experts: 8\nparallel:\n  dp: 2\n  ep: 4\n",
     "7:3: parallel.ep: wanted a divisor of parallel.dp (2), found 4"},
    {"ep without experts", DATA "parallel:\n  dp: 2\n  ep: 2\n",
     "4:3: parallel.ep: wanted 1 for a model without experts, found 2"},
    {"ep does not divide experts",
     DATA "model:\n  moe:\n    experts: 6\nparallel:\n  dp: 4\n  ep: 4\n",
     "7:3: parallel.ep: wanted a divisor of model.moe.experts (6), found 4"},
    {"pairs for a decoder", "data: {train: /x, format: pairs}\n",
     "1:19: model.family: wanted one that reads a source (encdec, seq2seq) for "
     "data.format pairs"},
    {"text for a reader", DATA "model: {family: encdec}\n",
     "2:9: data.format: wanted pairs for a model.family that reads a source"},
    {"layers that read, of a decoder", DATA "model: {layers: 4, encoder_layers: 4}\n",
     "2:20: model.encoder_layers: wanted 0 unless model.family reads a source (encdec, "
     "seq2seq), found 4"},
    {"a source's length, of a decoder", DATA "model: {source_context: 64}\n",
     "2:9: model.source_context: wanted 0 unless model.family reads a source (encdec, "
     "seq2seq), found 64"},
    {"a source's tokens, of cells", DATA "model: {family: rnnlm, source_vocab: 300}\n",
     "2:24: model.source_vocab: wanted 0 unless model.family reads a source (encdec, "
     "seq2seq), found 300"},
    {"a cell of a Transformer", DATA "model: {cell: lstm}\n",
     "2:9: model.cell: wanted gru, the default, unless model.family is rnnlm or "
     "seq2seq"},
    {"vocab below bytes and marks",
     "data: {train: /x, format: pairs}\nmodel: {family: encdec, vocab: 259}\n",
     "2:25: model.vocab: wanted 0 or at least 260 for data.tokenizer byte with "
     "data.format pairs, found 259"},
    {"vocab of sources below bytes and marks",
     "data: {train: /x, format: pairs}\n"
     "model: {family: encdec, vocab: 260, source_vocab: 200}\n",
     "2:37: model.source_vocab: wanted 0 or at least 260 for data.tokenizer byte with "
     "data.format pairs, found 200"},
    {"columns of one text", "data: {train: /x, columns: [1, 2]}\n",
     "1:19: data.columns: wanted data.format pairs beside it"},
    {"one column twice",
     "data: {train: /x, format: pairs, columns: [2, 2]}\nmodel: {family: encdec}\n",
     "1:34: data.columns: wanted two different numbers, of the source's column and the "
     "target's"},
    {"columns of two files",
     "data: {train: /x, format: pairs, columns: [1, 2], source: /y}\n"
     "model: {family: encdec}\n",
     "1:34: data.columns: wanted no data.source beside it"},
    {"shared without a shared vocabulary",
     "data: {train: /x, format: pairs}\n"
     "model: {family: encdec, share_embeddings: true}\n",
     "2:25: model.share_embeddings: wanted data.share_vocab and a model.family that "
     "reads a source beside it"},
    {"words of characters", "data: {train: /x, tokenizer: char, min_count: 2}\n",
     "1:36: data.min_count: wanted data.tokenizer word or bpe, or char with "
     "data.format pairs, beside it"},
    {"a size of no tokenizer", "data: {train: /x, vocab_size: 500}\n",
     "1:19: data.vocab_size: wanted data.tokenizer bpe or sentencepiece beside it"},
    {"a stream of sentences", "data: {train: /x, tokenizer: sentencepiece}\n",
     "1:19: data.tokenizer: wanted data.format pairs, since SentencePiece knows no "
     "ends "
     "of lines, beside it"},
    {"fewer tokens than bytes", "data: {train: /x, tokenizer: bpe, vocab_size: 255}\n",
     "1:35: data.vocab_size: wanted at least 256, room for each byte, found 255"},
    {"fewer tokens than bytes and marks",
     "data: {train: /x, vocab_size: 259, tokenizer: bpe, format: pairs}\n"
     "model: {family: encdec}\n",
     "1:19: data.vocab_size: wanted at least 260, room for each byte and four marks, "
     "found 259"},
    {"a file of bytes", "data: {train: /x, tokenizer_file: /t}\n",
     "1:19: data.tokenizer_file: wanted data.tokenizer, which says what kind it is, "
     "beside it"},
    {"a file and a size",
     "data: {train: /x, vocab_size: 300, tokenizer: bpe, tokenizer_file: /t}\n",
     "1:19: data.vocab_size: wanted no data.tokenizer_file beside it"},
    {"a file for one side",
     "data: {train: /x, tokenizer_file: /t, tokenizer: bpe, format: pairs}\n"
     "model: {family: encdec}\n",
     "1:19: data.tokenizer_file: wanted data.share_vocab, or "
     "data.source_tokenizer_file, beside it"},
    {"a peak without a way up", DATA "train: {schedule: noam, warmup: 0}\n",
     "2:25: train.warmup: wanted at least 1 for schedules noam and inverse_sqrt, found "
     "0"},
    {"tp", DATA "parallel:\n  tp: 2\n",
     "3:3: parallel.tp: not available yet, wanted 1, found 2"},
    {"pp", DATA "parallel:\n  pp: 2\n",
     "3:3: parallel.pp: not available yet, wanted 1, found 2"},
    {"cp", DATA "parallel:\n  cp: 2\n",
     "3:3: parallel.cp: not available yet, wanted 1, found 2"},
    {"etp", DATA "parallel:\n  etp: 2\n",
     "3:3: parallel.etp: not available yet, wanted 1, found 2"},
    {"zero 2", DATA "parallel:\n  zero: 2\n",
     "3:3: parallel.zero: not available yet, wanted 1, found 2"},
    {"zero 4", DATA "parallel:\n  zero: 4\n",
     "3:9: parallel.zero: wanted a whole number from 0 to 3, found 4"},
    {"kernel rule", DATA "kernels:\n  rule: [gemm=blis, blis]\n",
     "3:3: kernels.rule: wanted OP=NAME, OP=NAME? or OP=!NAME, found \"blis\""},
    {"kernel rule both ways", DATA "kernels:\n  rule: gemm=!blis?\n",
     "3:3: kernels.rule: wanted OP=NAME, OP=NAME? or OP=!NAME, found \"gemm=!blis?\""},
    {"kernel rule without a dtype", DATA "kernels:\n  rule: gemm/=blis\n",
     "3:3: kernels.rule: wanted OP=NAME, OP=NAME? or OP=!NAME, found \"gemm/=blis\""},
    {"kernel check", DATA "kernels:\n  check: sample:0\n",
     "3:3: kernels.check: wanted off, first, sample:N or all, found \"sample:0\""},
    {"kernels by time", DATA "kernels:\n  tune: true\n",
     "3:3: kernels.tune: wanted train.mode fast: time is not reproducible"},
    {"kernels by time elsewhere",
     DATA "train:\n  mode: fast\nkernels:\n  device: cuda\n  tune: true\n",
     "6:3: kernels.tune: wanted kernels.device cpu: on others nothing is measured"},
    {"a device's number", DATA "kernels:\n  device: cuda:0\n",
     "3:3: kernels.device: wanted a device such as cpu or cuda, found \"cuda:0\""},
    {"device", DATA "kernels:\n  device: \"gpu 0\"\n",
     "3:3: kernels.device: wanted a device such as cpu or cuda, found \"gpu 0\""},
};

struct bad_option {
    const char *text;
    int code;
    const char *error;
};

static const struct bad_option bad_options[] = {
    {"train", ERR_USAGE, "-S: wanted KEY=VALUE, found \"train\""},
    {"=3", ERR_USAGE, "-S: wanted KEY=VALUE, found \"=3\""},
    {"train=3", ERR_SPEC,
     "-S: train: wanted a key of it, such as train.steps, found the section alone"},
    {"zzz=1", ERR_SPEC,
     "-S: job: wanted one of its keys, found \"zzz\"; its keys are name, seed, model, "
     "data, train, parallel, checkpoint, kernels, retry, queue, launcher, distill"},
    {"train.lrr=3", ERR_SPEC,
     "-S: train: wanted one of its keys, found \"lrr\"; did you mean \"lr\"?"},
    {"lr=3", ERR_SPEC,
     "-S: job: wanted one of its keys, found \"lr\"; did you mean \"train.lr\"?"},
    {"train.lr.x=3", ERR_SPEC,
     "-S: train: wanted one of its keys, found \"lr.x\"; its keys are steps, batch, "
     "chunks, precision, mode, optimizer, lr, min_lr, warmup, schedule, decay_steps, "
     "beta1, beta2, eps, momentum, weight_decay, clip, loss_scale, loss_scale_window, "
     "nonfinite, valid_every, valid_batches, log_every, threads, label_smoothing, "
     "batch_tokens, best, patience, ema, teacher, teacher_k, teacher_c, teacher_min, "
     "teacher_own, memory, recompute, recompute_layers"},
    {"train.lr=", ERR_SPEC,
     "-S: train.lr: wanted a number from 0 to 1000, found nothing"},
    {"train.lr=fast", ERR_SPEC,
     "-S: train.lr: wanted a number from 0 to 1000, found \"fast\""},
    {"train.lr+=1", ERR_SPEC,
     "-S: train.lr: wanted = and one value, found += for what is no list"},
    {"train.lr=1 ", ERR_SPEC,
     "-S: train.lr: wanted a number from 0 to 1000, found \"1 \""},
    {"train.precision=fp23", ERR_SPEC,
     "-S: train.precision: wanted one of bf16, fp16, fp32, found \"fp23\"; did you "
     "mean \"fp32\"?"},
    {"data.train=[a", ERR_SPEC,
     "-S: data.train: wanted ',' or ']', found something else while parsing a flow "
     "sequence"},
    {"data.train=[[a]]", ERR_SPEC,
     "-S: data.train: wanted a text of 1 to 4096 bytes, found a list"},
    {"data.train=[a] b", ERR_SPEC,
     "-S: data.train: wanted the end of the text, found more"},
    {"kernels.rule=gemm", ERR_SPEC,
     "-S: kernels.rule: wanted OP=NAME, OP=NAME? or OP=!NAME, found \"gemm\""},
    {"model.layers=-1", ERR_SPEC,
     "-S: model.layers: wanted a whole number from 1 to 1024, found -1"},
    {"parallel.dp=3", ERR_SPEC, "-S: parallel.dp: wanted a power of two, found 3"},
    {"name=", ERR_SPEC, "-S: name: wanted a text of 1 to 64 bytes, found \"\""},
};

static void is_refused(void **state)
{
    const struct bad *b = *state;
    struct spec *s = spec_create();
    struct err e = {0};
    char wanted[1100];
    int rc = spec_load_text(s, "job.yaml", b->text, strlen(b->text), &e);

    if (rc == 0)
        rc = spec_resolve(s, &e);
    spec_destroy(s);
    assert_int_equal(rc, ERR_SPEC);
    assert_int_equal(e.code, ERR_SPEC);
    snprintf(wanted, sizeof(wanted), "job.yaml:%s", b->error);
    assert_string_equal(e.text, wanted);
}

static void option_is_refused(void **state)
{
    const struct bad_option *b = *state;
    struct spec *s = spec_create();
    struct err e = {0};
    int rc;

    assert_int_equal(spec_load_text(s, "job.yaml", DATA, strlen(DATA), &e), 0);
    rc = spec_set(s, b->text, &e);
    if (rc == 0)
        rc = spec_resolve(s, &e);
    spec_destroy(s);
    assert_int_equal(rc, b->code);
    assert_int_equal(e.code, b->code);
    assert_string_equal(e.text, b->error);
}

static void load_error(const char *text, size_t len, struct err *e)
{
    struct spec *s = spec_create();

    assert_int_equal(spec_load_text(s, "job.yaml", text, len, e), ERR_SPEC);
    assert_int_equal(spec_load_text(s, "job.yaml", text, len, NULL), ERR_SPEC);
    spec_destroy(s);
}

static void too_long_is_refused(void **state)
{
    char *text = malloc(SPEC_TEXT_MAX + 1);
    struct err e;

    (void)state;
    memset(text, '#', SPEC_TEXT_MAX + 1);
    load_error(text, SPEC_TEXT_MAX + 1, &e);
    assert_string_equal(e.text,
                        "job.yaml:1:1: job: wanted at most 1048576 bytes, found more");
    load_error(text, SPEC_TEXT_MAX, &e); /* read, and found to be a comment */
    assert_string_equal(
        e.text, "job.yaml:2:1: job: wanted keys and values, found an empty file");
    free(text);
}

static void byte_nul_is_refused(void **state)
{
    static const char text[] = "name: de\0mo\n";
    struct err e;

    (void)state;
    load_error(text, sizeof(text) - 1, &e);
    assert_string_equal(e.text,
                        "job.yaml:1:9: job: wanted UTF-8 text, found byte 0x00");
}

/* A bomb of brackets ends at the first that has no place in a job. */
static void deep_nesting_is_refused(void **state)
{
    char *text = malloc(SPEC_TEXT_MAX);
    struct err e;

    (void)state;
    memset(text, '[', SPEC_TEXT_MAX);
    load_error(text, SPEC_TEXT_MAX, &e);
    assert_string_equal(e.text,
                        "job.yaml:1:1: job: wanted keys and values, found a list");
    memset(text, '{', SPEC_TEXT_MAX);
    load_error(text, SPEC_TEXT_MAX, &e);
    free(text);
}

static void long_list_is_refused(void **state)
{
    struct buf text = {0};
    struct err e;

    (void)state;
    buf_puts(&text, "data:\n  train:\n");
    for (int i = 0; i < 1025; i++)
        buf_puts(&text, "  - a\n");
    load_error(text.data, text.len, &e);
    assert_string_equal(
        e.text, "job.yaml:1027:5: data.train: wanted at most 1024 values, found more");
    buf_free(&text);
}

/* With the same words as what is read from elsewhere. */
static void long_file_is_refused(void **state)
{
    const char *dir = *state;
    char *text = malloc(2 * SPEC_TEXT_MAX), path[128], wanted[256];
    struct spec *s = spec_create();
    struct err e;

    memset(text, '#', 2 * SPEC_TEXT_MAX);
    snprintf(path, sizeof(path), "%s/job.yaml", dir);
    for (size_t more = 1; more <= 1 << 20; more <<= 20) {
        assert_int_equal(fs_replace(path, text, SPEC_TEXT_MAX + more, &e), 0);
        assert_int_equal(spec_load_file(s, path, &e), ERR_SPEC);
        snprintf(wanted, sizeof(wanted),
                 "%s:1:1: job: wanted at most 1048576 bytes, found more", path);
        assert_string_equal(e.text, wanted);
    }
    spec_destroy(s);
    free(text);
}

static void missing_file_is_refused(void **state)
{
    struct spec *s = spec_create();
    struct err e;

    (void)state;
    assert_int_equal(spec_load_file(s, "/nonexistent/job.yaml", &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.text, "/nonexistent/job.yaml"));
    spec_destroy(s);
}

/* A prefix of a job file is a job, or a mistake with a place; never a crash. */
static void every_prefix_is_survived(void **state)
{
    static const char text[] =
        "name: \"d\\x41\"\ntrain: {lr: 3e-4, steps: 20}\ndata:\n  train: [a, 'b', >-\n"
        "   c]\nmodel:\n  moe:\n    experts: 4\n    dense_layers: [0, 1]\n";

    (void)state;
    for (size_t len = 0; len <= strlen(text); len++) {
        struct spec *s = spec_create();
        struct err e = {0};
        char *copy = malloc(len ? len : 1); /* exact, for the sanitizer */

        memcpy(copy, text, len);
        if (spec_load_text(s, "job.yaml", copy, len, &e) || spec_resolve(s, &e))
            assert_true(strncmp(e.text, "job.yaml:", 9) == 0);
        free(copy);
        spec_destroy(s);
    }
}

#define NBADS    (sizeof(bads) / sizeof(bads[0]))
#define NOPTIONS (sizeof(bad_options) / sizeof(bad_options[0]))

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(too_long_is_refused),
        cmocka_unit_test(byte_nul_is_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(long_list_is_refused),
        cmocka_unit_test_setup_teardown(long_file_is_refused, unit_dir_setup,
                                        unit_dir_teardown),
        cmocka_unit_test(missing_file_is_refused),
        cmocka_unit_test(every_prefix_is_survived),
    };
    struct CMUnitTest tests[NBADS + NOPTIONS + sizeof(others) / sizeof(others[0])];
    size_t n = 0;

    for (size_t i = 0; i < NBADS; i++)
        tests[n++] = (struct CMUnitTest){.name = bads[i].name,
                                         .test_func = is_refused,
                                         .initial_state = (void *)&bads[i]};
    for (size_t i = 0; i < NOPTIONS; i++)
        tests[n++] = (struct CMUnitTest){.name = bad_options[i].text,
                                         .test_func = option_is_refused,
                                         .initial_state = (void *)&bad_options[i]};
    memcpy(tests + n, others, sizeof(others));
    return cmocka_run_group_tests_name("proto/spec: mistakes", tests, NULL, NULL);
}
