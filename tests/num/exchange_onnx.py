#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# exchange_onnx.py - models of every family as ONNX: the checker of onnx passes, and
# onnxruntime computes what nnd does within 1e-4, on rows of different lengths, whole
# and step by step.  For exchange_onnx.test, which says what is needed; ran with onnx
# 1.23.2 and onnxruntime 1.31.1.
#
#   exchange_onnx.py WORKER LOGITS DIR

import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime

WORKER, LOGITS, DIR = sys.argv[1:]
LIMIT = 1e-4

COMMON = ["train.steps=2", "train.batch=4", "train.chunks=2", "train.precision=fp32",
          "train.valid_every=0", "train.threads=1", "train.lr=0.02", "train.warmup=0",
          "model.layers=2", "model.width=16", "model.heads=4", "model.context=16",
          "model.init_std=0.2"]
MOE = ["model.moe.experts=4", "model.moe.expert_ffn=8"]
PAIRS = ["data.format=pairs", "data.columns=[1,2]", "data.tokenizer=char",
         "model.source_context=16", "data.too_long=cut"]
ENCDEC = PAIRS + ["model.family=encdec"]
SEQ2SEQ = PAIRS + ["model.family=seq2seq", "model.position=none",
                   "model.tie_embeddings=true"]
CASES = {
    "decoder": ["model.kv_heads=2"],
    "decoder-experts": MOE + ["model.qk_norm=true", "model.kv_heads=1"],
    "decoder-sigmoid": MOE + ["model.moe.score=sigmoid", "model.moe.bias_rate=0.01",
                              "model.moe.shared_experts=1", "model.moe.scale=1.5",
                              "model.moe.every=2", "model.tie_embeddings=false"],
    "decoder-gelu-experts": MOE + ["model.activation=gelu",
                                   "model.moe.renormalize=false"],
    "decoder-gpt2": ["model.norm=layer", "model.position=learned", "model.bias=true",
                     "model.activation=gelu_tanh"],
    "encdec-post": ENCDEC + ["model.norm_place=post", "model.norm=layer",
                             "model.position=sinusoid", "model.activation=gelu",
                             "model.bias=true", "model.scale_embeddings=true"],
    "encdec-pre": ENCDEC + MOE + ["model.kv_heads=2"],
    "encdec-relu": ENCDEC + MOE + ["model.norm=layer", "model.bias=true",
                                   "model.activation=relu", "model.moe.every=2"],
    "encdec-learned": ENCDEC + MOE + ["model.norm=layer", "model.position=learned",
                                      "model.moe.every=2", "data.share_vocab=true",
                                      "model.share_embeddings=true"],
    "rnnlm-gru": ["model.family=rnnlm", "model.cell=gru", "model.bias=true"],
    "rnnlm-lstm": ["model.family=rnnlm", "model.cell=lstm", "model.bias=true"],
    "rnnlm-rnn": ["model.family=rnnlm", "model.cell=rnn"],
    "seq2seq-none": SEQ2SEQ + ["model.cell=gru", "model.bias=true"],
    "seq2seq-additive": SEQ2SEQ + ["model.cell=lstm", "model.attention=additive",
                                   "model.bidirectional=true", "model.bias=true"],
    "seq2seq-concat": SEQ2SEQ + ["model.cell=rnn", "model.attention=dot",
                                 "model.bidirectional=true", "model.merge=concat"],
    "seq2seq-dot": SEQ2SEQ + ["model.cell=gru", "model.attention=dot"],
    "seq2seq-before": SEQ2SEQ + ["model.cell=gru", "model.attention=additive",
                                 "model.attention_place=before", "model.bias=true"],
    "seq2seq-before-lstm": SEQ2SEQ + ["model.cell=lstm", "model.attention=dot",
                                      "model.attention_place=before",
                                      "model.bidirectional=true",
                                      "model.merge=concat"],
}
ROWS = [[9, 5, 7, 4, 6], [8], [4, 4, 9, 5, 6, 7, 8, 5, 4, 9, 6]]
SOURCES = [[5, 6], [7, 4, 9, 8, 6, 5, 4], [9, 9, 4, 5]]

number = 0


def ok(name, why=None):
    global number
    number += 1
    print(("not " if why else "") + f"ok {number} - {name}", flush=True)
    if why:
        print("# " + str(why).strip().replace("\n", "\n# "))


def run(*args, **kw):
    r = subprocess.run(args, capture_output=True, **kw)
    if r.returncode:
        raise RuntimeError(f"exit {r.returncode}: {r.stderr.decode()}")
    return r.stdout


def train(name, keys):
    job = os.path.join(DIR, name + ".yaml")
    text = os.path.join(DIR, "pairs" if "data.format=pairs" in keys else "text")
    with open(job, "w") as f:
        f.write(f"data: {{train: {text}}}\n")
    folder = os.path.join(DIR, name)
    sets = [x for k in COMMON + keys for x in ("-S", k)]
    run(WORKER, "train", "--job", job, "--dir", folder, *sets)
    return folder


def ours(folder, reads):
    text = ""
    for i, r in enumerate(ROWS):
        if reads:
            text += " ".join(map(str, SOURCES[i])) + " | "
        text += " ".join(map(str, r)) + "\n"
    out = np.frombuffer(run(LOGITS, folder, input=text.encode()), np.float32)
    return out.reshape(len(ROWS), max(map(len, ROWS)), -1)


def padded(rows):
    out = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for i, r in enumerate(rows):
        out[i, :len(r)] = r
    return out


def worst(a, b):
    return max(float(np.abs(a[i, :len(r)] - b[i, :len(r)]).max())
               for i, r in enumerate(ROWS))


def verdict(a, b):
    d = worst(a, b)
    return None if d <= LIMIT else f"largest difference {d:.2e}"


def session(path):
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = 1
    o.log_severity_level = 3
    return onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"])


def sources():
    return {"source.id": padded(SOURCES),
            "source.len": np.array([len(s) for s in SOURCES], np.int64)}


def feed(s, values):
    names = [i.name for i in s.get_inputs()]
    return {n: values[n] for n in names}


def whole(path, reads):
    s = session(path)
    values = {"id": padded(ROWS)}
    if reads:
        values.update(sources())
    return s.run(None, feed(s, values))[0]


def shapes(path, reads):
    """Inner edges have the shapes that the file says."""
    m = onnx.load(path)
    told = list(m.graph.value_info)
    if not told:
        return "no shapes"
    m.graph.output.extend(told)
    s = session(m.SerializeToString())
    values = {"id": padded(ROWS), **(sources() if reads else {})}
    size = {"batch": len(ROWS), "len": max(map(len, ROWS)),
            "src_len": max(map(len, SOURCES))}
    for v, got in zip(m.graph.output, s.run(None, feed(s, values))):
        dims = v.type.tensor_type.shape.dim
        want = tuple(size.get(d.dim_param, d.dim_value) for d in dims)
        if got.shape != want:
            return f"{v.name}: says {want}, is {got.shape}"


def one_by_one(path, want, reads):
    """Every row alone gives what it gives among others."""
    s = session(path)
    for i, r in enumerate(ROWS):
        values = {"id": np.array([r], np.int64)}
        if reads:
            values["source.id"] = np.array([SOURCES[i]], np.int64)
            values["source.len"] = np.array([len(SOURCES[i])], np.int64)
        got = s.run(None, feed(s, values))[0][0]
        d = float(np.abs(got - want[i, :len(r)]).max())
        if d > LIMIT:
            return f"row {i}: largest difference {d:.2e}"


def steps(base, reads):
    s = session(base + ".step.onnx")
    state = {}
    if reads:
        e = session(base + ".encoder.onnx")
        state = dict(zip([o.name for o in e.get_outputs()],
                         e.run(None, feed(e, sources()))))
        state["source.len"] = sources()["source.len"]
    for i in s.get_inputs():
        if i.name in state or i.name in ("id", "pos"):
            continue
        dims = [{"batch": len(ROWS), "past_len": 16}.get(d, d) for d in i.shape]
        state[i.name] = np.zeros(dims, np.float32)
    ids, out = padded(ROWS), []
    for t in range(ids.shape[1]):
        values = dict(state, id=ids[:, t], pos=np.full(len(ROWS), t, np.int64))
        got = dict(zip([o.name for o in s.get_outputs()],
                       s.run(None, feed(s, values))))
        out.append(got["logits"])
        for n, x in got.items():
            if n.endswith(".next"):
                state[n[:-5]] = x
    return np.stack(out, 1)


def case(name, keys):
    reads = "data.format=pairs" in keys
    try:
        folder = train(name, keys)
        want = ours(folder, reads)
        if np.ptp(want) < 0.5:
            raise RuntimeError("the logits say nothing")
        base = os.path.join(DIR, name + "-onnx")
        run(WORKER, "export", "--checkpoint", folder, "--format", "onnx",
            "--output", base + ".onnx")
        parts = ["", ".step"] + ([".encoder"] if reads else [])
        for p in parts:
            onnx.checker.check_model(base + p + ".onnx", full_check=True)
        functions = [f.name for f in onnx.load(base + parts[0] + ".onnx").functions]
        ok(f"{name}: the checker takes {len(parts)} files; blocks: "
           f"{', '.join(functions)}", None if functions else "no functions")
        m = onnx.load(base + ".onnx")
        silent = [x.name for x in [*m.functions, *m.graph.input] if not x.doc_string]
        ok(f"{name}: functions and inputs say what they are",
           silent or None if m.doc_string else "the model does not")
        ok(f"{name}: whole, rows of different lengths",
           verdict(whole(base + ".onnx", reads), want))
        ok(f"{name}: shapes of edges", shapes(base + ".onnx", reads))
        ok(f"{name}: whole, row by row", one_by_one(base + ".onnx", want, reads))
        ok(f"{name}: step by step", verdict(steps(base, reads), want))
    except Exception as e:
        ok(name, e)


def external(name):
    base = os.path.join(DIR, name + "-beside")
    try:
        run(WORKER, "export", "--checkpoint", os.path.join(DIR, name), "--format",
            "onnx", "--external", "--output", base + ".onnx")
        onnx.checker.check_model(base + ".onnx", full_check=True)
        a = whole(base + ".onnx", False)
        b = whole(os.path.join(DIR, name + "-onnx.onnx"), False)
        ok("weights in a file beside the model",
           None if np.array_equal(a, b) else "other logits")
    except Exception as e:
        ok("weights in a file beside the model", e)


with open(os.path.join(DIR, "text"), "w") as f:
    f.write("the quick brown fox jumps over the lazy dog\n" * 20)
with open(os.path.join(DIR, "pairs"), "w") as f:
    for i in range(20):
        f.write(f"abc{i} de\tfg{i} hijk\n")
only = os.environ.get("NND_ONNX_CASE")
for name, keys in CASES.items():
    if not only or only == name:
        case(name, keys)
if not only or only == "decoder":
    external("decoder")
print(f"1..{number}")
