#!/usr/bin/env python3
"""Prints the rows that PyTorch's Adagrad and Adam give, for tests of crates/cafe-core.

Each row is its own parameter, and has no gradient in a step in which it does not occur. The
optimizer then leaves the row and its state unchanged, like ours. Run: python3
scripts/golden_rows.py
"""

import torch

START = [[0.5, -0.25, 0.125], [-1.0, 2.0, 0.0625]]
# (row, gradient) of each step; row 1 starts late and pauses.
STEPS = [
    {0: [0.5, -1.5, 0.0]},
    {0: [0.25, 0.75, 2.0], 1: [-0.125, 1.0, 3.0]},
    {0: [-1.0, 0.5, 0.03125]},
    {0: [0.0, -0.5, 1.0], 1: [0.5, -0.5, -1.0]},
]
OPTIMIZERS = {
    "Adagrad": lambda rows: torch.optim.Adagrad(rows, lr=0.1, eps=1e-8),
    "Adam": lambda rows: torch.optim.Adam(rows, lr=0.1, betas=(0.9, 0.999), eps=1e-8),
}

for name, optimizer_of in OPTIMIZERS.items():
    rows = [torch.nn.Parameter(torch.tensor(row)) for row in START]
    optimizer = optimizer_of(rows)
    for step in STEPS:
        for idx, row in enumerate(rows):
            row.grad = torch.tensor(step[idx]) if idx in step else None
        optimizer.step()
    print(name, [[float(f"{value:.9g}") for value in row.tolist()] for row in rows])
