#!/usr/bin/env python3
"""Golden values for crates/dlrm-model from PyTorch: logits, loss, gradients, weights after steps.

    python scripts/golden_dlrm.py        # needs torch

Writes crates/dlrm-model/tests/golden/dlrm.json.

Each case is a small DLRM with seeded weights, written from the formulas in the crate's
documentation and computed in float32 by PyTorch's autograd:

* mixed      5 samples; some rows occur twice, as with duplicate ids; some dense inputs are zero
* extreme    5 samples, rows scaled so that the logits are beyond +-100; labels agree and disagree
* single     a batch of one
* no_dense   no numeric inputs, so no bottom MLP

The ten steps of SGD and of Adagrad update the dense parameters only. The rows are constant leaf
inputs whose gradient is recorded, because tables and their optimizers are not part of this crate.
Floats are written with the shortest decimal digits that give the same float32.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

OUTPUT = Path(__file__).resolve().parent.parent / "crates/dlrm-model/tests/golden/dlrm.json"
STEPS = 10
LEARNING_RATE = 0.1
EXTREME_LEARNING_RATE = 1e-4  # with 0.1 weights and rounding errors would grow to 1e11


def mlp(n_input, sizes, relu_at_end):
    """Linear layers with ReLU between them, and optionally after the last."""
    linears = torch.nn.ModuleList()
    for n_output in sizes:
        linear = torch.nn.Linear(n_input, n_output)
        torch.nn.init.normal_(linear.weight, 0.0, (2.0 / (n_input + n_output)) ** 0.5)
        torch.nn.init.normal_(linear.bias, 0.0, (1.0 / n_output) ** 0.5)
        linears.append(linear)
        n_input = n_output

    def forward(x):
        for idx, linear in enumerate(linears):
            x = linear(x)
            if relu_at_end or idx + 1 < len(linears):
                x = F.relu(x)
        return x

    return linears, forward


class Dlrm(torch.nn.Module):
    def __init__(self, n_dense, n_fields, dim, bottom, top):
        super().__init__()
        self.shape = dict(kind="dlrm", n_dense=n_dense, n_fields=n_fields, dim=dim, bottom=bottom, top=top)
        n_vectors = n_fields + (n_dense > 0)
        self.pairs = [(i, j) for i in range(1, n_vectors) for j in range(i)]
        self.bottom, self.run_bottom = mlp(n_dense, bottom, True)
        self.top, self.run_top = mlp(len(self.pairs) + (dim if n_dense else 0), top, False)

    def forward(self, dense, rows):
        if not self.shape["n_dense"]:
            return self.run_top(self.dots(rows)).squeeze(1)
        x = self.run_bottom(dense)
        vectors = torch.cat([x.unsqueeze(1), rows], dim=1)
        return self.run_top(torch.cat([x, self.dots(vectors)], dim=1)).squeeze(1)

    def dots(self, vectors):
        return torch.stack([(vectors[:, i] * vectors[:, j]).sum(1) for i, j in self.pairs], dim=1)


def floats(tensor):
    """Flat values; the shortest digits of a float32 are read back as the same float32."""
    return [float(str(value)) for value in tensor.detach().numpy().astype(np.float32).ravel()]


def named(tensors):
    return [dict(name=name, shape=list(t.shape), values=floats(t)) for name, t in sorted(tensors, key=lambda pair: pair[0])]


def after_steps(model, dense, rows, labels, make_optimizer, learning_rate):
    """Dense parameters after the steps; the model itself is unchanged."""
    start = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = make_optimizer(model.parameters(), lr=learning_rate)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(dense, rows), labels).backward()
        optimizer.step()
    result = named(model.named_parameters())
    model.load_state_dict(start)
    return result


def case(name, model, dense, rows, labels, learning_rate=LEARNING_RATE):
    rows.requires_grad_()
    model.zero_grad()
    logits = model(dense, rows)
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    loss.backward()
    row_grads = rows.grad.clone()
    print(f"{name}: loss {loss.item():.6g}, logits {logits.min().item():.4g} to {logits.max().item():.4g}")
    return dict(
        name=name,
        **model.shape,
        dense=floats(dense),
        rows=floats(rows),
        labels=floats(labels),
        parameters=named(model.named_parameters()),
        logits=floats(logits),
        loss=floats(loss)[0],
        row_grads=floats(row_grads),
        gradients=named((name, p.grad.clone()) for name, p in model.named_parameters()),
        learning_rate=learning_rate,
        sgd=after_steps(model, dense, rows, labels, torch.optim.SGD, learning_rate),
        adagrad=after_steps(model, dense, rows, labels, torch.optim.Adagrad, learning_rate),
    )


def main():
    torch.manual_seed(20240607)
    torch.set_num_threads(1)
    shape = dict(n_dense=4, n_fields=3, dim=4, bottom=[8, 4], top=[6, 1])
    labels = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])
    wrong = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])  # two logits beyond +-100 disagree, one agrees

    def dense(n_samples):
        values = torch.log1p(torch.randint(0, 50, (n_samples, 4)).float())
        values[0, 0] = 0.0
        return values

    mixed = torch.randn(5, 3, 4) * 0.5
    mixed[3, 1] = mixed[0, 1]
    mixed[4] = mixed[2]
    extreme = torch.randn(5, 3, 4) * torch.tensor([30.0, 30.0, 40.0, 40.0, 0.1]).reshape(5, 1, 1)
    cases = [
        case("mixed", Dlrm(**shape), dense(5), mixed, labels),
        case("extreme", Dlrm(**shape), dense(5), extreme, wrong, EXTREME_LEARNING_RATE),
        case("single", Dlrm(**shape), dense(1), torch.randn(1, 3, 4) * 0.5, labels[:1]),
        case("no_dense", Dlrm(0, 4, 4, [], [6, 1]), torch.zeros(5, 0), torch.randn(5, 4, 4) * 0.5, labels),
    ]
    document = dict(torch=torch.__version__, steps=STEPS, adagrad_epsilon=1e-10, cases=cases)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    print(f"wrote {OUTPUT} ({OUTPUT.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
