#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# torch_lm.py - a recurrent language model of nnd's in plain PyTorch, trained as its job
# says on the same words, for rows that are held to PyTorch.
#
#   torch_lm.py MANIFEST SEED THREADS KEPT TRAIN VALID
#
# MANIFEST is that of a checkpoint of nnd's: its job, and the number of parameters,
# which has to be the same.  What was ended goes on from the file KEPT.  Streams side by
# side, whose states go on from step to step and are zero at the begin of an epoch.  It
# prints the least validation loss, nats per word.

import json
import math
import random
import sys

import torch
from torch import nn
from torch.nn import functional as F

from torch_kept import Kept


def words(path):
    """As nnd has them: the end of a line is a word."""
    out = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            out += line.split() + ["\n"]
    return out


def vocabulary(train, least):
    """Ids behind the four marks; what is rare, or not there, is <unk>, 3."""
    count = {}
    for word in train:
        count[word] = count.get(word, 0) + 1
    kept = sorted((w for w in count if count[w] >= least),
                  key=lambda w: (-count[w], w.encode()))
    return {word: i + 4 for i, word in enumerate(kept)}


class Model(nn.Module):
    def __init__(self, m, vocab):
        super().__init__()
        w = m["width"]
        kind = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}[m["cell"]]
        self.dropout = m["dropout"]
        self.embed = nn.Embedding(vocab, w)
        self.cells = kind(w, w, m["layers"], bias=m["bias"], batch_first=True,
                          dropout=self.dropout if m["layers"] > 1 else 0.0)
        self.head = nn.Linear(w, vocab, bias=False)
        if m["tie_embeddings"]:
            self.head.weight = self.embed.weight
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=m["init_std"])
            else:
                nn.init.zeros_(p)

    def forward(self, ids, state):
        x = F.dropout(self.embed(ids), self.dropout, self.training)
        x, state = self.cells(x, state)
        return self.head(F.dropout(x, self.dropout, self.training)), state


def detached(state):
    if isinstance(state, tuple):
        return tuple(s.detach() for s in state)
    return state.detach()


def streams(ids, batch, at, each):
    return ids[at:at + batch * each].view(batch, each)


@torch.no_grad()
def validate(model, ids, batch, context):
    model.eval()
    each = (len(ids) - 1) // batch
    given, wanted = streams(ids, batch, 0, each), streams(ids, batch, 1, each)
    total, state = 0.0, None
    for at in range(0, each, context):
        z, state = model(given[:, at:at + context], state)
        total += F.cross_entropy(z.flatten(0, 1),
                                 wanted[:, at:at + context].flatten(),
                                 reduction="sum").item()
    model.train()
    return total / (batch * each)


def rate(t, step):
    if step < t["warmup"]:
        return t["lr"] * (step + 1) / t["warmup"]
    if t["schedule"] == "constant":
        return t["lr"]
    if t["schedule"] != "cosine":
        sys.exit("torch_lm.py: wanted train.schedule cosine or constant")
    done = (step - t["warmup"]) / (t["steps"] - t["warmup"])
    span = t["lr"] - t["min_lr"]
    return t["min_lr"] + span * 0.5 * (1 + math.cos(math.pi * min(done, 1)))


def optimizer(model, t):
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1],
         "weight_decay": t["weight_decay"]},
        {"params": [p for p in model.parameters() if p.dim() == 1],
         "weight_decay": 0.0},
    ]
    if t["optimizer"] == "sgd":
        return torch.optim.SGD(groups, lr=t["lr"], momentum=t["momentum"])
    kind = torch.optim.AdamW if t["optimizer"] == "adamw" else torch.optim.Adam
    return kind(groups, lr=t["lr"], betas=(t["beta1"], t["beta2"]), eps=t["eps"])


def train(model, job, ids, valid, kept):
    t, context, batch = job["train"], job["model"]["context"], job["train"]["batch"]
    windows = (len(ids) - context) // batch // context
    opt, phase = optimizer(model, t), random.Random(job["seed"])
    begin, so_far = kept.load(model, opt, state=None, best=math.inf)
    best = so_far["best"]
    for step in range(t["steps"]):
        place = step % windows
        if place == 0:
            first, state = phase.randrange(context), None
            given = streams(ids, batch, first, windows * context)
            wanted = streams(ids, batch, first + 1, windows * context)
        if step < begin:
            state = so_far["state"]
            continue
        part = slice(place * context, (place + 1) * context)
        for group in opt.param_groups:
            group["lr"] = rate(t, step)
        z, state = model(given[:, part], state)
        loss = F.cross_entropy(z.flatten(0, 1), wanted[:, part].flatten())
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), t["clip"])
        opt.step()
        state = detached(state)
        if (step + 1) % t["valid_every"] == 0 or step + 1 == t["steps"]:
            now = validate(model, valid, batch, context)
            print(f"step {step + 1} valid {now:.4f}", file=sys.stderr, flush=True)
            best = min(best, now)
        kept.save(step + 1, model, opt, state=state, best=best)
    return best


def main():
    if len(sys.argv) != 7:
        sys.exit("usage: torch_lm.py MANIFEST SEED THREADS KEPT TRAIN VALID")
    with open(sys.argv[1], encoding="utf-8") as f:
        manifest = json.load(f)
    job = manifest["job"]
    m, job["seed"] = job["model"], int(sys.argv[2])
    if m["scale_embeddings"]:
        sys.exit("torch_lm.py: wanted model.scale_embeddings false")
    torch.set_num_threads(int(sys.argv[3]))
    torch.manual_seed(job["seed"])
    text = words(sys.argv[5])
    number = vocabulary(text, job["data"]["min_count"])
    ids, valid = (torch.tensor([number.get(w, 3) for w in side])
                  for side in (text, words(sys.argv[6])))
    model = Model(m, len(number) + 4)
    count = sum(p.numel() for p in model.parameters())
    if count != manifest["nparams"]:
        sys.exit(f"torch_lm.py: {count} parameters, wanted {manifest['nparams']}")
    kept = Kept(sys.argv[4], job["checkpoint"]["every"])
    print(f"{train(model, job, ids, valid, kept):.4f}")


main()
