#!/usr/bin/env python3
"""Golden values for Adam in crates/dlrm-model from PyTorch: weights and moments after ten steps.

    python scripts/golden_adam.py        # needs torch

Writes crates/dlrm-model/tests/golden/adam.json.

The models, their weights and their batches are the cases of `golden_dlrm.py`, read from its file.
The learning rate rises and falls from step to step. Two settings: PyTorch's defaults, and one with
small betas, which give past gradients little weight.
"""

import json

import torch
import torch.nn.functional as F

from golden_dlrm import OUTPUT as CASES
from golden_dlrm import Dlrm, named

OUTPUT = CASES.with_name("adam.json")
SETTINGS = [dict(beta1=0.9, beta2=0.999, epsilon=1e-8), dict(beta1=0.5, beta2=0.75, epsilon=1e-3)]
# Factors of the learning rate of the case.
SCHEDULE = [0.125, 0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.125]


def train(case, beta1, beta2, epsilon):
    shape = {key: case[key] for key in ("n_dense", "n_fields", "dim", "bottom", "top")}
    model = Dlrm(**shape)
    model.load_state_dict({t["name"]: torch.tensor(t["values"]).reshape(t["shape"]) for t in case["parameters"]})
    labels = torch.tensor(case["labels"])
    dense = torch.tensor(case["dense"]).reshape(len(labels), shape["n_dense"])
    rows = torch.tensor(case["rows"]).reshape(len(labels), shape["n_fields"], shape["dim"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=(beta1, beta2), eps=epsilon)
    for share in SCHEDULE:
        optimizer.param_groups[0]["lr"] = share * case["learning_rate"]
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(dense, rows), labels).backward()
        optimizer.step()
    moments = [
        (f"{name}.{ours}", optimizer.state[parameter][theirs])
        for name, parameter in model.named_parameters()
        for ours, theirs in (("first_moment", "exp_avg"), ("second_moment", "exp_avg_sq"))
    ]
    return dict(
        case=case["name"],
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        parameters=named(model.named_parameters()),
        moments=named(moments),
    )


def main():
    torch.set_num_threads(1)
    cases = json.loads(CASES.read_text())["cases"]
    runs = [train(case, **setting) for setting in SETTINGS for case in cases]
    document = dict(torch=torch.__version__, schedule=SCHEDULE, runs=runs)
    OUTPUT.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    print(f"wrote {OUTPUT} ({OUTPUT.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
