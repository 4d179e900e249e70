#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# exchange_hf.py - models of Hugging Face's `transformers` through nnd and back: the
# same logits within 1e-4, and the same bytes.  For exchange_hf.test, which says what
# is needed; ran with transformers 4.56.2 and 5.23.0.
#
#   exchange_hf.py WORKER LOGITS DIR

import filecmp
import os
import subprocess
import sys

import numpy as np
import torch
import transformers

WORKER, LOGITS, DIR = sys.argv[1:]
LIMIT = 1e-4

SHARED = dict(vocab_size=300, hidden_size=32, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=64,
              bos_token_id=None, eos_token_id=None, pad_token_id=None)
MODELS = {
    "llama": transformers.LlamaConfig(
        intermediate_size=48, num_hidden_layers=2, tie_word_embeddings=True, **SHARED),
    "llama-untied-bias": transformers.LlamaConfig(
        intermediate_size=48, num_hidden_layers=2, attention_bias=True, mlp_bias=True,
        head_dim=16, **SHARED),
    "mixtral": transformers.MixtralConfig(
        intermediate_size=24, num_hidden_layers=2, num_local_experts=4,
        num_experts_per_tok=2, **SHARED),
    "qwen3_moe": transformers.Qwen3MoeConfig(
        intermediate_size=48, moe_intermediate_size=24, num_hidden_layers=4,
        num_experts=4, num_experts_per_tok=2, decoder_sparse_step=2,
        mlp_only_layers=[3], norm_topk_prob=False, head_dim=16, **SHARED),
    "gpt2": transformers.GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=64,
        bos_token_id=None, eos_token_id=None),
    "gpt2-wide-untied": transformers.GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=64, n_inner=80,
        activation_function="gelu", tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=None),
    "gpt2-relu": transformers.GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=64,
        activation_function="relu", bos_token_id=None, eos_token_id=None),
}

number = 0


def ok(name, why):
    global number
    number += 1
    print(("not " if why else "") + f"ok {number} - {name}", flush=True)
    if why:
        print("# " + str(why).strip().replace("\n", "\n# "))


def worker(task, *args):
    r = subprocess.run([WORKER, task, *args], capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError(r.stderr)


def model_of(config):
    torch.manual_seed(1)
    m = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for p in m.parameters():  # so that a norm or bias that is lost shows
            p.add_(torch.randn_like(p) * 0.05)
    return m


ROWS = [[5, 9, 250, 17, 17, 3], [1], [299, 0, 44, 45, 46, 47, 48, 2, 1]]


def theirs(m, rows):
    with torch.no_grad():
        return [m(torch.tensor([r])).logits[0].float().numpy() for r in rows]


def ours(checkpoint, rows, vocab):
    text = "".join(" ".join(map(str, r)) + "\n" for r in rows)
    r = subprocess.run([LOGITS, checkpoint], input=text.encode(), capture_output=True)
    if r.returncode:
        raise RuntimeError(r.stderr.decode())
    out = np.frombuffer(r.stdout, np.float32).reshape(len(rows), -1, vocab)
    return [out[i, :len(row)] for i, row in enumerate(rows)]


def compare(a, b):
    worst = max(float(np.abs(x - y).max()) for x, y in zip(a, b))
    return None if worst <= LIMIT else f"largest difference {worst:.2e}"


def same_files(a, b):
    names = sorted(os.listdir(a))
    if names != sorted(os.listdir(b)):
        return f"{names} and {sorted(os.listdir(b))}"
    bad = [n for n in names
           if not filecmp.cmp(os.path.join(a, n), os.path.join(b, n), shallow=False)]
    return f"differ: {bad}" if bad else None


def load(folder):
    m, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, torch_dtype=torch.float32, output_loading_info=True)
    for what in "missing_keys", "unexpected_keys", "mismatched_keys":
        if info[what]:
            raise RuntimeError(f"{what}: {info[what]}")
    return m.eval()


def case(name, config, dtype=torch.float32, shard="5GB"):
    base = os.path.join(DIR, f"{name}-{str(dtype)[6:]}-{shard}")
    m = model_of(config).to(dtype)
    m.save_pretrained(base, max_shard_size=shard)
    m = m.float()
    label = f"{name} {str(dtype)[6:]} {shard}"
    try:
        worker("import", "--folder", base, "--output", base + ".nnd",
               "--tokenizer", "byte")
        want = theirs(m, ROWS)
        ok(f"{label}: imported, the same logits",
           compare(want, ours(base + ".nnd", ROWS, 300)))
        worker("export", "--checkpoint", base + ".nnd", "--output", base + ".back")
        ok(f"{label}: exported again, the same bytes", same_files(base, base + ".back"))
        worker("export", "--checkpoint", base + ".nnd", "--output", base + ".new",
               "--type", "f32", "--shard", "1")
        again = load(base + ".new")
        ok(f"{label}: written anew, the same logits",
           compare(want, theirs(again, ROWS)))
        if dtype == torch.float32 and shard == "5GB":
            ok(f"{label}: written anew, the same weights' bytes",
               None if filecmp.cmp(base + "/model.safetensors",
                                   base + ".new/model.safetensors", shallow=False)
               else "they differ")
        worker("import", "--folder", base + ".new", "--output", base + ".new.nnd",
               "--tokenizer", "byte")
        worker("export", "--checkpoint", base + ".new.nnd", "--output",
               base + ".new.back")
        ok(f"{label}: ours imported and exported, the same bytes",
           same_files(base + ".new", base + ".new.back"))
    except Exception as e:
        ok(label, e)


for name, config in MODELS.items():
    case(name, config)
case("mixtral", MODELS["mixtral"], shard="20KB")
case("gpt2", MODELS["gpt2"], dtype=torch.bfloat16, shard="20KB")
case("qwen3_moe", MODELS["qwen3_moe"], dtype=torch.float16)
print(f"1..{number}")
