# SPDX-License-Identifier: Apache-2.0
#
# torch_kept.py - what a training by PyTorch keeps in a file on its way, as nnd does in
# its checkpoints: one that was ended goes on where it was, and draws what it would have
# drawn.

import os

import torch


class Kept:
    """The state of a training in FILE, written after every `every` steps."""

    def __init__(self, path, every):
        self.path, self.every = path, every

    def load(self, model, optimizer, **first):
        """How many steps are done, and the numbers that `first` begins with."""
        if not os.path.exists(self.path):
            return 0, first
        found = torch.load(self.path, weights_only=True)
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        torch.set_rng_state(found["drawn"])
        return found["step"], found["more"]

    def save(self, step, model, optimizer, **more):
        if step % self.every:
            return
        part = self.path + ".part"
        torch.save({"step": step, "more": more, "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "drawn": torch.get_rng_state()}, part)
        os.replace(part, self.path)
