#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# torch_models.py - the families of nnd in plain PyTorch, for torch_step.py: what a
# manifest's job says, with as many parameters.

import math

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

    def forward(self, x, memory=None, causal=True):
        m = self.m
        memory = x if memory is None else memory
        q = self.heads(self.q(x), m["heads"])
        k = self.heads(self.k(memory), m["kv_heads"])
        v = self.heads(self.v(memory), m["kv_heads"])
        if m["qk_norm"]:
            q, k = self.q_norm(q), self.k_norm(k)
        if m["position"] == "rope":
            q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        group = m["heads"] // m["kv_heads"]
        if group > 1:
            k, v = (t.repeat_interleave(group, 1) for t in (k, v))
        q, k = q.to(v.dtype), k.to(v.dtype)
        p = m["dropout"] if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=p)
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


def init_all(model, m):
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=m["init_std"])


def loss_of(logits, target):
    return F.cross_entropy(logits.flatten(0, 1).float(), target.flatten())


class Decoder(nn.Module):
    def __init__(self, m, vocab, _):
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
        init_all(self, m)

    def forward(self, ids, target, _):
        x = self.embed(ids)
        if self.m["position"] == "learned":
            x = x + self.place.weight
        x = F.dropout(x, self.m["dropout"], self.training)
        loss = 0.0
        for layer in self.layers:
            x, more = layer(x)
            loss = loss + more
        logits = self.head(self.norm(x))
        return loss_of(logits, target) + loss


def sinusoid(rows, width):
    at = torch.arange(rows)[:, None]
    angle = at / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :width]


class SideLayer(nn.Module):
    """A layer of one side of an encoder-decoder; the target's looks at the source."""

    def __init__(self, m, looks):
        super().__init__()
        self.post = m["norm_place"] == "post"
        self.norms = nn.ModuleList(Norm(m, m["width"]) for _ in range(2 + looks))
        self.self_attn = Attention(m)
        self.cross_attn = Attention(m) if looks else None
        self.mlp = Mlp(m, m["ffn"], m["bias"])

    def part(self, i, x, f):
        if self.post:
            return self.norms[i](x + f(x))
        return x + f(self.norms[i](x))

    def forward(self, x, memory=None):
        looks = self.cross_attn is not None
        x = self.part(0, x, lambda y: self.self_attn(y, causal=looks))
        if looks:
            x = self.part(1, x, lambda y: self.cross_attn(y, memory, causal=False))
        return self.part(-1, x, self.mlp)


class Side(nn.Module):
    def __init__(self, m, vocab, layers, context, looks):
        super().__init__()
        self.m = m
        self.embed = nn.Embedding(vocab, m["width"])
        if m["position"] == "learned":
            self.place = nn.Parameter(torch.zeros(context, m["width"]))
        elif m["position"] == "sinusoid":
            self.register_buffer("place", sinusoid(context, m["width"]))
        self.layers = nn.ModuleList(SideLayer(m, looks) for _ in range(layers))
        self.norm = Norm(m, m["width"]) if m["norm_place"] == "pre" else None

    def forward(self, ids, memory=None):
        x = self.embed(ids)
        if self.m["scale_embeddings"]:
            x = x * math.sqrt(self.m["width"])
        if self.m["position"] in ("learned", "sinusoid"):
            x = x + self.place
        for layer in self.layers:
            x = layer(x, memory)
        return self.norm(x) if self.norm else x


class EncDec(nn.Module):
    def __init__(self, m, vocab, source_vocab):
        super().__init__()
        self.encoder = Side(m, source_vocab, m["encoder_layers"], m["source_context"],
                            False)
        self.decoder = Side(m, vocab, m["layers"], m["context"], True)
        self.head = nn.Linear(m["width"], vocab, bias=False)
        if m["tie_embeddings"]:
            self.head.weight = self.decoder.embed.weight
        init_all(self, m)

    def forward(self, ids, target, source):
        return loss_of(self.head(self.decoder(ids, self.encoder(source))), target)


CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class RnnLm(nn.Module):
    def __init__(self, m, vocab, _):
        super().__init__()
        self.embed = nn.Embedding(vocab, m["width"])
        self.cells = CELLS[m["cell"]](m["width"], m["width"], m["layers"],
                                      batch_first=True)
        self.head = nn.Linear(m["width"], vocab, bias=False)
        if m["tie_embeddings"]:
            self.head.weight = self.embed.weight

    def forward(self, ids, target, _):
        return loss_of(self.head(self.cells(self.embed(ids))[0]), target)


class Seq2Seq(nn.Module):
    """The encoder's last state begins the decoder, and comes to each of its steps."""

    def __init__(self, m, vocab, source_vocab):
        super().__init__()
        w, kind = m["width"], CELLS[m["cell"]]
        self.source = nn.Embedding(source_vocab, w)
        self.embed = nn.Embedding(vocab, w)
        self.encoder = kind(w, w, m["layers"], batch_first=True)
        self.decoder = kind(2 * w, w, m["layers"], batch_first=True)
        self.head = nn.Linear(w, vocab, bias=False)

    def forward(self, ids, target, source):
        state = self.encoder(self.source(source))[1]
        top = (state[0] if isinstance(state, tuple) else state)[-1]
        top = top[:, None].expand(-1, ids.shape[1], -1)
        x = torch.cat((self.embed(ids), top), -1)
        return loss_of(self.head(self.decoder(x, state)[0]), target)


FAMILIES = {"decoder": Decoder, "encdec": EncDec, "rnnlm": RnnLm, "seq2seq": Seq2Seq}
