#!/usr/bin/env python3
"""Golden values for the other models of crates/dlrm-model, in the form of golden_dlrm.py.

    python scripts/golden_models.py      # needs torch

Writes crates/dlrm-model/tests/golden/{wdl,dcn,dcnv2,deepfm}.json.

Each model is written from the formulas in the crate's documentation and computed in float32 by
PyTorch's autograd, with the same four cases: mixed, extreme, single, no_dense. DCNv2 has them with
full matrices and with matrices of rank 2. The extreme rows are scaled until a logit is beyond
+-100; the labels of two samples, including that one, disagree with their logits.
"""

import contextlib
import io
import json
from pathlib import Path

import torch

from golden_dlrm import EXTREME_LEARNING_RATE, STEPS, case, mlp

OUTPUT = Path(__file__).resolve().parent.parent / "crates/dlrm-model/tests/golden"
DEEP = [5, 4]


def linear(n_input, n_output, bias=True):
    """A layer with the crate's initial weights."""
    layer = torch.nn.Linear(n_input, n_output, bias=bias)
    torch.nn.init.normal_(layer.weight, 0.0, (2.0 / (n_input + n_output)) ** 0.5)
    if bias:
        torch.nn.init.normal_(layer.bias, 0.0, (1.0 / n_output) ** 0.5)
    return layer


class Model(torch.nn.Module):
    """x = dense ‖ rows, and the shape as the tests read it."""

    def __init__(self, kind, n_dense, n_fields, dim, **shape):
        super().__init__()
        self.shape = dict(kind=kind, n_dense=n_dense, n_fields=n_fields, dim=dim, deep=DEEP, **shape)
        self.n_input = n_dense + n_fields * dim

    def forward(self, dense, rows):
        return self.logits(torch.cat([dense, rows.flatten(1)], dim=1), rows).squeeze(1)


class WideDeep(Model):
    def __init__(self, *shape):
        super().__init__("wdl", *shape)
        self.deep, self.run_deep = mlp(self.n_input, [*DEEP, 1], False)
        self.wide = linear(self.n_input, 1)

    def logits(self, x, rows):
        return self.run_deep(x) + self.wide(x)


class DeepFm(Model):
    def __init__(self, *shape):
        super().__init__("deepfm", *shape)
        self.deep, self.run_deep = mlp(self.n_input, [*DEEP, 1], False)
        self.linear = linear(self.n_input, 1)

    def logits(self, x, rows):
        second_order = 0.5 * (rows.sum(1) ** 2 - (rows**2).sum(1)).sum(1, keepdim=True)
        return self.run_deep(x) + self.linear(x) + second_order


class VectorCross(torch.nn.Module):
    """x_0 · (x · w) + b + x"""

    def __init__(self, n):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(1, n) * (2.0 / (n + 1)) ** 0.5)
        self.bias = torch.nn.Parameter(torch.randn(n) * (1.0 / n) ** 0.5)

    def forward(self, x_0, x):
        return x_0 * (x @ self.weight.T) + self.bias + x


class LowRank(torch.nn.Module):
    def __init__(self, n, rank):
        super().__init__()
        self.v = linear(n, rank, bias=False)
        self.u = linear(rank, n)

    def forward(self, x):
        return self.u(self.v(x))


class Dcn(Model):
    def __init__(self, *shape):
        super().__init__("dcn", *shape, n_cross=3)
        self.deep, self.run_deep = mlp(self.n_input, DEEP, True)
        self.cross = torch.nn.ModuleList(VectorCross(self.n_input) for _ in range(3))
        self.logit = linear(self.n_input + DEEP[-1], 1)

    def logits(self, x_0, rows):
        x = x_0
        for cross in self.cross:
            x = cross(x_0, x)
        return self.logit(torch.cat([x, self.run_deep(x_0)], dim=1))


class DcnV2(Model):
    """x_0 ∘ (W x + b) + x, with W = U Vᵀ if there is a rank"""

    def __init__(self, *shape, rank=None):
        super().__init__("dcnv2", *shape, n_cross=2, **({"rank": rank} if rank else {}))
        n = self.n_input
        self.deep, self.run_deep = mlp(n, DEEP, True)
        self.cross = torch.nn.ModuleList(LowRank(n, rank) if rank else linear(n, n) for _ in range(2))
        self.logit = linear(n + DEEP[-1], 1)

    def logits(self, x_0, rows):
        x = x_0
        for cross in self.cross:
            x = x_0 * cross(x) + x
        return self.logit(torch.cat([x, self.run_deep(x_0)], dim=1))


def extreme(model, dense, rows):
    """The rows, scaled up until a logit is beyond +-100, and labels that agree and disagree."""
    with torch.no_grad():
        while model(dense, rows).abs().max() < 100:
            rows = rows * 1.25
        logits = model(dense, rows)
    labels = (logits > 0).float()
    for sample in (logits.abs().argmax(), logits.abs().argmin()):
        labels[sample] = 1 - labels[sample]
    return dense, rows, labels


def dense_inputs(n_samples):
    values = torch.log1p(torch.randint(0, 6, (n_samples, 2)).float())
    values[0, 0] = 0.0
    return values


def draw(name, build):
    """A model, a batch, and the other arguments of `case`."""
    labels = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])
    if name == "no_dense":
        return build(0, 4, 2), torch.zeros(5, 0), torch.randn(5, 4, 2) * 0.5, labels
    model = build(2, 3, 2)
    if name == "extreme":
        return model, *extreme(model, dense_inputs(5), torch.randn(5, 3, 2)), EXTREME_LEARNING_RATE
    rows = torch.randn(1 if name == "single" else 5, 3, 2) * 0.5
    if name == "mixed":
        rows[3, 1] = rows[0, 1]
        rows[4] = rows[2]
    return model, dense_inputs(len(rows)), rows, labels[: len(rows)]


def numbers(value):
    """All floats of a case, in their order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def well_conditioned(name, build, suffix):
    """The first case for which float32 and float64 agree, to a third of the tests' tolerance.

    In others a sum cancels, or Adagrad divides by a gradient close to zero. Then two orders of
    addition differ by more than any test should allow.
    """
    for seed in range(10_000):
        torch.manual_seed(seed)
        model, dense, rows, labels, *rate = draw(name, build)
        with contextlib.redirect_stdout(io.StringIO()):
            single = case(name + suffix, model, dense, rows.clone(), labels, *rate)
            double = case(name + suffix, model.double(), dense.double(), rows.double(), labels.double(), *rate)
        pairs = zip(numbers(single), numbers(double), strict=True)
        if all(3 * abs(a - b) <= max(1e-6, 1e-5 * abs(b)) for a, b in pairs):
            print(f"{name + suffix}: seed {seed}, loss {single['loss']:.4g}")
            return single
    raise SystemExit(f"{name + suffix}: no seed will do")


def cases(build, suffix=""):
    return [well_conditioned(name, build, suffix) for name in ("mixed", "extreme", "single", "no_dense")]


def main():
    torch.set_num_threads(1)
    kinds = dict(
        wdl=lambda: cases(WideDeep),
        dcn=lambda: cases(Dcn),
        dcnv2=lambda: cases(DcnV2) + cases(lambda *shape: DcnV2(*shape, rank=2), "_low_rank"),
        deepfm=lambda: cases(DeepFm),
    )
    for kind, make in kinds.items():
        print(kind)
        document = dict(torch=torch.__version__, steps=STEPS, adagrad_epsilon=1e-10, cases=make())
        path = OUTPUT / f"{kind}.json"
        path.write_text(json.dumps(document, separators=(",", ":")) + "\n")
        print(f"wrote {path.name} ({path.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
