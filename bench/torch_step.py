#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# torch_step.py - trains the model of a checkpoint's job in plain PyTorch and prints
# the seconds of each step, a line each.
#
#   bench/torch_step.py MANIFEST STEPS THREADS
#
# MANIFEST is a checkpoint's manifest.json: it names the job and the number of
# parameters, which must be the same here, so that the same architecture is timed.
# Text is random; a batch is computed at once; 16 bits are torch.autocast's.  Written
# as one writes PyTorch, experts in a loop over who has rows.

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Norm(nn.Module):
    def __init__(self, m, width):
        super().__init__()
        self.rms, self.eps, self.width = m["norm"] == "rms", m["norm_eps"], width
        self.weight = nn.Parameter(torch.ones(width))
        biased = m["bias"] and not self.rms
        self.bias = nn.Parameter(torch.zeros(width)) if biased else None

    def forward(self, x):
        if not self.rms:
            return F.layer_norm(x, (self.width,), self.weight, self.bias, self.eps)
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (x.float() * scale).to(x.dtype) * self.weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.m, w, d = m, m["width"], m["head_dim"]
        self.q = nn.Linear(w, m["heads"] * d, bias=m["bias"])
        self.k = nn.Linear(w, m["kv_heads"] * d, bias=m["bias"])
        self.v = nn.Linear(w, m["kv_heads"] * d, bias=m["bias"])
        self.o = nn.Linear(m["heads"] * d, w, bias=m["bias"])
        if m["qk_norm"]:
            self.q_norm, self.k_norm = Norm(m, d), Norm(m, d)
        if m["position"] == "rope":
            at = torch.arange(m["context"])[:, None]
            turn = at * m["rope_theta"] ** (-torch.arange(0, d, 2) / d)
            self.register_buffer("cos", turn.cos())
            self.register_buffer("sin", turn.sin())

    def heads(self, x, n):
        return x.view(*x.shape[:2], n, self.m["head_dim"]).transpose(1, 2)

    def forward(self, x):
        m = self.m
        q = self.heads(self.q(x), m["heads"])
        k = self.heads(self.k(x), m["kv_heads"])
        v = self.heads(self.v(x), m["kv_heads"])
        if m["qk_norm"]:
            q, k = self.q_norm(q), self.k_norm(k)
        if m["position"] == "rope":
            q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        group = m["heads"] // m["kv_heads"]
        if group > 1:
            k, v = (t.repeat_interleave(group, 1) for t in (k, v))
        q, k = q.to(v.dtype), k.to(v.dtype)
        p = m["dropout"] if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p)
        return F.dropout(self.o(y.transpose(1, 2).flatten(2)), p)


class Mlp(nn.Module):
    def __init__(self, m, inner, bias):
        super().__init__()
        self.gated = m["activation"] == "swiglu"
        self.approx = "tanh" if m["activation"] == "gelu_tanh" else "none"
        if self.gated:
            self.gate = nn.Linear(m["width"], inner, bias=bias)
        self.up = nn.Linear(m["width"], inner, bias=bias)
        self.down = nn.Linear(inner, m["width"], bias=bias)

    def forward(self, x):
        if self.gated:
            return self.down(F.silu(self.gate(x)) * self.up(x))
        return self.down(F.gelu(self.up(x), approximate=self.approx))


class Moe(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.c = c = m["moe"]
        self.router = nn.Linear(m["width"], c["experts"], bias=False)
        self.experts = nn.ModuleList(
            Mlp(m, c["expert_ffn"], False) for _ in range(c["experts"]))
        if c["shared_experts"]:
            inner = c["shared_experts"] * c["expert_ffn"]
            self.shared = Mlp(m, inner, m["bias"])
        if c["bias_rate"] > 0:
            self.register_buffer("balance", torch.zeros(c["experts"]))

    def route(self, x):
        c = self.c
        with torch.autocast("cpu", enabled=False):
            z = F.linear(x.float(), self.router.weight)
            s = z.softmax(-1) if c["score"] == "softmax" else z.sigmoid()
            chosen = s + self.balance if c["bias_rate"] > 0 else s
            expert = chosen.topk(c["top_k"], -1).indices
            gate = s.gather(-1, expert)
            if c["renormalize"]:
                gate = gate / (gate.sum(-1, keepdim=True) + 1e-20)
            share = F.one_hot(expert, c["experts"]).float().mean((0, 1))
            p = (s / s.sum(-1, keepdim=True)).mean(0)
            loss = c["aux_coef"] * c["experts"] * (share * p).sum()
            loss = loss + c["z_coef"] * z.logsumexp(-1).pow(2).mean()
        return expert, gate * c["scale"], loss

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        expert, gate, loss = self.route(rows)
        y = self.shared(rows) if self.c["shared_experts"] else torch.zeros_like(rows)
        for i, block in enumerate(self.experts):
            row, k = (expert == i).nonzero(as_tuple=True)
            if len(row):
                part = block(rows[row]) * gate[row, k, None]
                y = y.index_add(0, row, part.to(y.dtype))
        return y.view_as(x), loss


class Layer(nn.Module):
    def __init__(self, m, i):
        super().__init__()
        c = m["moe"]
        self.dropout = m["dropout"]
        self.norm1, self.norm2 = Norm(m, m["width"]), Norm(m, m["width"])
        self.attention = Attention(m)
        self.is_moe = (c["experts"] > 0 and (i + 1) % c["every"] == 0
                       and i not in c["dense_layers"])
        self.ffn = Moe(m) if self.is_moe else Mlp(m, m["ffn"], m["bias"])

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y = self.ffn(self.norm2(x))
        y, loss = y if self.is_moe else (y, 0.0)
        return x + F.dropout(y, self.dropout, self.training), loss


class Decoder(nn.Module):
    def __init__(self, m, vocab):
        super().__init__()
        self.m = m
        self.embed = nn.Embedding(vocab, m["width"])
        if m["position"] == "learned":
            self.place = nn.Embedding(m["context"], m["width"])
        self.layers = nn.ModuleList(Layer(m, i) for i in range(m["layers"]))
        self.norm = Norm(m, m["width"])
        self.head = nn.Linear(m["width"], vocab, bias=False)
        if m["tie_embeddings"]:
            self.head.weight = self.embed.weight
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=m["init_std"])

    def forward(self, ids, target):
        x = self.embed(ids)
        if self.m["position"] == "learned":
            x = x + self.place.weight
        x = F.dropout(x, self.m["dropout"], self.training)
        loss = 0.0
        for layer in self.layers:
            x, more = layer(x)
            loss = loss + more
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1).float(), target.flatten()) + loss


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
    return kind(groups, lr=t["lr"], betas=betas, eps=t["eps"])


def step(model, opt, m, t, vocab):
    ids = torch.randint(vocab, (t["batch"], m["context"] + 1))
    half = t["precision"] != "fp32"
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        loss = model(ids[:, :-1], ids[:, 1:])
    loss.backward()
    if t["clip"] > 0:
        nn.utils.clip_grad_norm_(model.parameters(), t["clip"])
    opt.step()
    opt.zero_grad(set_to_none=True)
    return loss.item()


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: torch_step.py MANIFEST STEPS THREADS")
    with open(sys.argv[1], encoding="utf-8") as f:
        manifest = json.load(f)
    torch.set_num_threads(int(sys.argv[3]))
    torch.manual_seed(1)
    m, t = manifest["job"]["model"], manifest["job"]["train"]
    vocab = manifest["tensors"]["model.embed_tokens.weight"]["shape"][0]
    model = Decoder(m, vocab)
    count = sum(p.numel() for p in model.parameters())
    if count != manifest["nparams"]:
        sys.exit(f"torch_step.py: {count} parameters, wanted {manifest['nparams']}")
    opt = optimizer(model, t)
    for _ in range(int(sys.argv[2])):
        begin = time.perf_counter()
        step(model, opt, m, t, vocab)
        print(f"{time.perf_counter() - begin:.6f}", flush=True)


main()
