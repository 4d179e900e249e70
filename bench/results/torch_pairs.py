#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# torch_pairs.py - an encoder-decoder Transformer of nnd's in plain PyTorch, trained as
# its job says on the same ids, for rows that are held to PyTorch.
#
#   torch_pairs.py MANIFEST SEED THREADS KEPT TRAIN VALID [WRITTEN]
#
# MANIFEST is that of a checkpoint of nnd's: its job, and the number of parameters,
# which has to be the same.  What was ended goes on from the file KEPT.  TRAIN and VALID
# are the beginnings of file names: TRAIN.source and TRAIN.target hold the ids of a text
# a line, as nnctl tokenizer encode prints them.  It prints the least validation loss,
# nats per token without smoothing; with WRITTEN it then writes, by those weights, the
# likeliest token each time for the sources of VALID, as ids.

import copy
import json
import math
import random
import sys

import torch
from torch import nn
from torch.nn import functional as F

from torch_kept import Kept

PAD, BOS, EOS = 0, 1, 2


class Attention(nn.Module):
    def __init__(self, m):
        super().__init__()
        w = m["width"]
        self.heads, self.dropout = m["heads"], m["dropout"]
        self.q, self.k, self.v, self.o = (nn.Linear(w, w, bias=m["bias"])
                                          for _ in range(4))

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x, memory, seen):
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(
            self.split(self.q(x)), self.split(self.k(memory)),
            self.split(self.v(memory)), attn_mask=seen, dropout_p=p)
        return F.dropout(self.o(y.transpose(1, 2).flatten(2)), p)


class Mlp(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.up = nn.Linear(m["width"], m["ffn"], bias=m["bias"])
        self.down = nn.Linear(m["ffn"], m["width"], bias=m["bias"])
        self.dropout = m["dropout"]

    def forward(self, x):
        return F.dropout(self.down(F.gelu(self.up(x))), self.dropout, self.training)


class Layer(nn.Module):
    def __init__(self, m, looks):
        super().__init__()
        self.attention, self.mlp = Attention(m), Mlp(m)
        self.look = Attention(m) if looks else None
        self.norms = nn.ModuleList(nn.LayerNorm(m["width"], eps=m["norm_eps"])
                                   for _ in range(2 + looks))

    def forward(self, x, seen, memory=None, memory_seen=None):
        y = self.norms[0](x)
        x = x + self.attention(y, y, seen)
        if self.look:
            x = x + self.look(self.norms[1](x), memory, memory_seen)
        return x + self.mlp(self.norms[-1](x))


def sinusoid(rows, width):
    at = torch.arange(rows)[:, None]
    angle = at / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :width]


class EncDec(nn.Module):
    """Pre-norm, sinusoidal positions, scaled embeddings, a tied output."""

    def __init__(self, m, vocab, source_vocab):
        super().__init__()
        w = m["width"]
        self.scale, self.dropout = math.sqrt(w), m["dropout"]
        self.embed = nn.Embedding(vocab, w)
        self.source = (self.embed if m["share_embeddings"]
                       else nn.Embedding(source_vocab, w))
        places = sinusoid(max(m["context"], m["source_context"]), w)
        self.register_buffer("places", places)
        self.encoder = nn.ModuleList(Layer(m, False)
                                     for _ in range(m["encoder_layers"]))
        self.decoder = nn.ModuleList(Layer(m, True) for _ in range(m["layers"]))
        self.norms = nn.ModuleList(nn.LayerNorm(w, eps=m["norm_eps"])
                                   for _ in range(2))
        self.init(m)

    def init(self, m):
        last = m["init_std"] / math.sqrt(2 * (m["layers"] + m["encoder_layers"]))
        for name, p in self.named_parameters():
            if p.dim() > 1:
                table = name in ("embed.weight", "source.weight")
                inner = name.endswith((".o.weight", ".down.weight"))
                std = 1 / self.scale if table else last if inner else m["init_std"]
                nn.init.normal_(p, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def begin(self, table, ids):
        x = table(ids) * self.scale + self.places[:ids.shape[1]]
        return F.dropout(x, self.dropout, self.training)

    def read(self, source):
        seen = (source != PAD)[:, None, None, :]
        x = self.begin(self.source, source)
        for layer in self.encoder:
            x = layer(x, seen)
        return self.norms[0](x), seen

    def write(self, given, memory, seen):
        n = given.shape[1]
        before = torch.ones(n, n, dtype=torch.bool).tril()
        x = self.begin(self.embed, given)
        for layer in self.decoder:
            x = layer(x, before, memory, seen)
        return F.linear(self.norms[1](x), self.embed.weight)

    def forward(self, source, given):
        return self.write(given, *self.read(source))


# --- text ---------------------------------------------------------------------

def read_side(path, most, cut):
    rows = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            ids = [int(x) for x in line.split()]
            rows.append(ids[:most - 1] + [EOS] if cut else ids + [EOS])
    return rows


def read_pairs(stem, job):
    m, way = job["model"], job["data"]["too_long"]
    pairs = list(zip(read_side(stem + ".source", m["source_context"], way == "cut"),
                     read_side(stem + ".target", m["context"], way == "cut")))
    return [(s, t) for s, t in pairs
            if len(s) <= m["source_context"] and len(t) <= m["context"]]


def batches(pairs, rows, most, order):
    """Pairs of like length side by side, as many as fit: rows on either side."""
    pairs = list(pairs)
    order.shuffle(pairs)
    out = []
    for at in range(0, len(pairs), 16 * most):
        batch, s, t = [], 0, 0
        pool = sorted(pairs[at:at + 16 * most], key=lambda p: (len(p[1]), len(p[0])))
        for p in pool:
            if batch and (s + len(p[0]) > rows or t + len(p[1]) > rows
                          or len(batch) == most):
                out.append(batch)
                batch, s, t = [], 0, 0
            batch.append(p)
            s, t = s + len(p[0]), t + len(p[1])
        out.append(batch)
    order.shuffle(out)
    return out


def padded(rows):
    n = max(len(r) for r in rows)
    return torch.tensor([r + [PAD] * (n - len(r)) for r in rows])


def tensors(batch):
    source, target = padded([s for s, _ in batch]), padded([t for _, t in batch])
    given = torch.cat((torch.full((len(batch), 1), BOS), target[:, :-1]), 1)
    return source, given, target


# --- training -----------------------------------------------------------------

def rate(t, step):
    s, w = step + 1, t["warmup"]
    if t["schedule"] == "inverse_sqrt":
        return t["lr"] * min(math.sqrt(w / s), s / w)
    if t["schedule"] != "cosine":
        sys.exit("torch_pairs.py: wanted train.schedule inverse_sqrt or cosine")
    if step < w:
        return t["lr"] * s / w
    done = min((step - w) / (t["steps"] - w), 1)
    span = t["lr"] - t["min_lr"]
    return t["min_lr"] + span * 0.5 * (1 + math.cos(math.pi * done))


def optimizer(model, t):
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1],
         "weight_decay": t["weight_decay"]},
        {"params": [p for p in model.parameters() if p.dim() == 1],
         "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=t["lr"], betas=(t["beta1"], t["beta2"]),
                             eps=t["eps"])


@torch.no_grad()
def validate(model, valid, rows):
    model.eval()
    total, count = 0.0, 0
    for batch in batches(valid, rows, 512, random.Random(0)):
        source, given, target = tensors(batch)
        z = model(source, given).flatten(0, 1)
        total += F.cross_entropy(z, target.flatten(), ignore_index=PAD,
                                 reduction="sum").item()
        count += (target != PAD).sum().item()
    model.train()
    return total / count


def train(model, job, pairs, valid, kept):
    t, rows = job["train"], job["train"]["batch_tokens"]
    opt, order = optimizer(model, t), random.Random(job["seed"])
    begin, so_far = kept.load(model, opt, best=math.inf, weights={})
    best, weights, queue = so_far["best"], so_far["weights"], []
    for step in range(t["steps"]):
        queue = queue or batches(pairs, rows, t["batch"], order)
        batch = queue.pop()
        if step < begin:
            continue
        source, given, target = tensors(batch)
        for group in opt.param_groups:
            group["lr"] = rate(t, step)
        loss = F.cross_entropy(model(source, given).flatten(0, 1), target.flatten(),
                               ignore_index=PAD, label_smoothing=t["label_smoothing"])
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), t["clip"])
        opt.step()
        if (step + 1) % t["valid_every"] == 0 or step + 1 == t["steps"]:
            now = validate(model, valid, rows)
            print(f"step {step + 1} valid {now:.4f}", file=sys.stderr, flush=True)
            if now < best:
                best, weights = now, copy.deepcopy(model.state_dict())
        kept.save(step + 1, model, opt, best=best, weights=weights)
    model.load_state_dict(weights)
    return best


@torch.no_grad()
def write(model, sources, most, path):
    model.eval()
    with open(path, "w", encoding="utf-8") as f:
        for at in range(0, len(sources), 32):
            memory, seen = model.read(padded(sources[at:at + 32]))
            given = torch.full((len(memory), 1), BOS)
            for _ in range(most):
                z = model.write(given, memory, seen)[:, -1]
                z[:, [PAD, BOS]] = -math.inf
                given = torch.cat((given, z.argmax(-1, keepdim=True)), 1)
                if (given == EOS).any(1).all():
                    break
            for row in given[:, 1:].tolist():
                row = row[:row.index(EOS)] if EOS in row else row
                f.write(" ".join(map(str, row)) + "\n")


def table(manifest, side):
    """How many tokens a side has; a source that shares the target's table has none."""
    tensor = manifest["tensors"].get(f"model.{side}.embed_tokens.weight")
    return tensor["shape"][0] if tensor else 0


def main():
    if len(sys.argv) not in (7, 8):
        sys.exit("usage: torch_pairs.py MANIFEST SEED THREADS KEPT TRAIN VALID "
                 "[WRITTEN]")
    with open(sys.argv[1], encoding="utf-8") as f:
        manifest = json.load(f)
    job = manifest["job"]
    m, job["seed"] = job["model"], int(sys.argv[2])
    wanted = {"family": "encdec", "norm": "layer", "norm_place": "pre",
              "position": "sinusoid", "activation": "gelu", "scale_embeddings": True,
              "tie_embeddings": True}
    for key, value in wanted.items():
        if m.get(key) != value:
            sys.exit(f"torch_pairs.py: model.{key}: wanted {value}, found {m.get(key)}")
    torch.set_num_threads(int(sys.argv[3]))
    torch.manual_seed(job["seed"])
    model = EncDec(m, table(manifest, "decoder"), table(manifest, "encoder"))
    count = sum(p.numel() for p in model.parameters())
    if count != manifest["nparams"]:
        sys.exit(f"torch_pairs.py: {count} parameters, wanted {manifest['nparams']}")
    pairs, valid = (read_pairs(stem, job) for stem in sys.argv[5:7])
    kept = Kept(sys.argv[4], job["checkpoint"]["every"])
    print(f"{train(model, job, pairs, valid, kept):.4f}")
    if len(sys.argv) == 8:
        sources = read_side(sys.argv[6] + ".source", m["source_context"], True)
        write(model, sources, m["context"], sys.argv[7])


main()
