#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# torch_step.py - trains the model of a checkpoint's job in plain PyTorch and prints
# the seconds of each step, a line each.
#
#   bench/torch_step.py [--compile] [--device cuda] MANIFEST STEPS THREADS
#
# MANIFEST is a checkpoint's manifest.json: it names the job and the number of
# parameters, which must be the same here, so that the same architecture is timed.
# Text is random; a batch is computed at once; 16 bits are torch.autocast's; --compile
# lets torch.compile have the model.  The models are in torch_models.py, written as one
# writes PyTorch, experts in a loop over who has rows.

import json
import sys
import time

import torch
from torch import nn
from torch_models import FAMILIES


def optimizer(model, t):
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1],
         "weight_decay": t["weight_decay"]},
        {"params": [p for p in model.parameters() if p.dim() == 1],
         "weight_decay": 0.0},
    ]
    betas = (t["beta1"], t["beta2"])
    if t["optimizer"] == "sgd":
        return torch.optim.SGD(groups, lr=t["lr"], momentum=t["momentum"])
    kind = torch.optim.AdamW if t["optimizer"] == "adamw" else torch.optim.Adam
    try:  # one pass over the weights, where this release has it
        return kind(groups, lr=t["lr"], betas=betas, eps=t["eps"], fused=True)
    except (RuntimeError, TypeError):
        return kind(groups, lr=t["lr"], betas=betas, eps=t["eps"])


def step(model, opt, m, t, vocab, source_vocab, device):
    ids = torch.randint(vocab, (t["batch"], m["context"] + 1), device=device)
    source = None
    if source_vocab:
        shape = (t["batch"], m["source_context"])
        source = torch.randint(source_vocab, shape, device=device)
    half = t["precision"] != "fp32"
    with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
        loss = model(ids[:, :-1], ids[:, 1:], source)
    loss.backward()
    if t["clip"] > 0:
        nn.utils.clip_grad_norm_(model.parameters(), t["clip"])
    opt.step()
    opt.zero_grad(set_to_none=True)
    return loss.item()


def vocab_of(manifest, side):
    for name in (f"model.{side}.embed_tokens.weight", "model.embed_tokens.weight"):
        if name in manifest["tensors"]:
            return manifest["tensors"][name]["shape"][0]
    sys.exit(f"torch_step.py: no table of the {side}'s tokens")


def main():
    args = [a for a in sys.argv[1:] if a != "--compile"]
    device = "cpu"
    if "--device" in args:
        at = args.index("--device")
        device = args[at + 1]
        del args[at:at + 2]
    if len(args) != 3:
        sys.exit("usage: torch_step.py [--compile] [--device cuda] "
                 "MANIFEST STEPS THREADS")
    with open(args[0], encoding="utf-8") as f:
        manifest = json.load(f)
    torch.set_num_threads(int(args[2]))
    torch.manual_seed(1)
    m, t = manifest["job"]["model"], manifest["job"]["train"]
    family = m.get("family", "decoder")
    vocab, source_vocab = vocab_of(manifest, "decoder"), 0
    if family in ("encdec", "seq2seq"):
        source_vocab = vocab_of(manifest, "encoder")
    model = FAMILIES[family](m, vocab, source_vocab).to(device)
    count = sum(p.numel() for p in model.parameters())
    if count != manifest["nparams"]:
        sys.exit(f"torch_step.py: {count} parameters, wanted {manifest['nparams']}")
    opt = optimizer(model, t)
    if "--compile" in sys.argv:
        torch._dynamo.config.suppress_errors = True
        model = torch.compile(model)
    for _ in range(int(args[1])):
        begin = time.perf_counter()
        step(model, opt, m, t, vocab, source_vocab, device)
        print(f"{time.perf_counter() - begin:.6f}", flush=True)


main()
