# SPDX-License-Identifier: Apache-2.0
#
# attention_torch.py - the other side of bench/attention.sh.
#
#     attention_torch.py T fp32|bf16 THREADS fused|plain
#
# Serves as bench/attention does: for each line on standard input one forward and one
# backward, and a line "FORWARD BACKWARD PEAK" (seconds, MiB); "q" ends it.  "fused" is
# scaled_dot_product_attention, with whatever kernel this PyTorch has for it; "plain"
# is product, mask, softmax, product.
import math
import sys
import time

import torch

BATCH, HEADS, SIZE = 8, 6, 64


def plain(q, k, v):
    scores = q @ k.transpose(-2, -1) / math.sqrt(SIZE)
    hidden = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v


def fused(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def peak_mib():
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0


def main():
    length, dtype, threads = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    attention = {"fused": fused, "plain": plain}[sys.argv[4]]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    q, k, v, dout = (torch.randn(BATCH, HEADS, length, SIZE).to(kind) for _ in range(4))
    for x in (q, k, v):
        x.requires_grad_(True)
    print("PyTorch", torch.__version__, sys.argv[4], file=sys.stderr)
    for line in sys.stdin:
        if line[0] == "q":
            break
        for x in (q, k, v):
            x.grad = None
        start = time.perf_counter()
        out = attention(q, k, v)
        middle = time.perf_counter()
        out.backward(dout)
        end = time.perf_counter()
        print(f"{middle - start:.6f} {end - middle:.6f} {peak_mib():.1f}", flush=True)


main()
