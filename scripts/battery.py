#!/usr/bin/env python3
"""Every method at equal bytes and other programs on real sets, as tables by compression ratio.

    cargo build --release -p trainer
    python3 scripts/battery.py --sets anime,criteo --ratios 10,100

Needs numpy and Python 3.11 or newer.

A set is a file of configs/real and its rows, which are not part of this repository (data/README.md
says how to get them). Runs that are finished in --out are not repeated, so it can be interrupted
and continued. After a change of the program or of a configuration use another --out. `trainer
report` draws the same runs.

Peers train on the same rows, and are not compressed: `lr`, a hashed logistic regression (one pass,
Adagrad); `lightgbm` on ordered target statistics; `vw`, Vowpal Wabbit with its own defaults (one
pass). The last two run only if they are installed.
"""

import argparse
import csv
import filecmp
import importlib.util
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import time
import tomllib
import zlib
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs/real"

# Differences from the defaults. Names that end in -sgd train as in the papers.
METHODS = {
    "full": {"method": "full"},
    "coded": {"method": "coded"},
    "coded-frequencies": {"method": "coded", "frequency_inputs": True},
    "unified-i8": {"method": "unified", "precision": "i8"},
    "cafe": {"method": "cafe"},
    "cafe-coded": {
        "method": "cafe",
        "precision": "i8",
        "cafe.cold": "coded",
        "cafe.rule": "quota",
        "cafe.victim": "by-chance",
        "cafe.slots": 8,
        "cafe.shared_share": 0.9,
    },
    "cafe_plus": {"method": "cafe_plus"},
    "hash": {"method": "hash"},
    "qr": {"method": "qr"},
    "mde": {"method": "mde"},
    "offline": {"method": "offline"},
    "cafe-sgd": {"method": "cafe"},
    "hash-sgd": {"method": "hash"},
}
# The program's exit code for invalid configurations, and its messages for a ratio it cannot reach.
CONFIG_EXIT = 78
OUT_OF_REACH = ("n/a: ", " is too small: ")

LR_BITS = 22
LR_RATES = (0.05, 0.1, 0.2)
LR_BATCH = 16
# More than any file has.
ALL_ROWS = 1 << 40
BOOSTING = {"objective": "binary", "num_threads": 2, "seed": 1, "deterministic": True, "force_row_wise": True, "verbose": -1}
# The weight of the overall share of positives in a target statistic, in rows.
PRIOR_ROWS = 10
# Blocks of training rows for such statistics, if one block per row is not suitable.
N_BLOCKS = 100
# Fields with more values are represented by their statistics only.
MAX_CATEGORIES = 64

CAPTION = """AUC and log-loss are means over the seeds ({seeds}); ± is half of the AUCs' range or 1.96 standard errors, whichever is
larger. All are tested on the same rows, so that two may differ by less than that and still differ. Bold is the best compressed
method. A ratio is that of the full table's bytes to the budget, which for `coded` pays for the state of its optimizer, too,
and for the others does not. `full` and other programs are not compressed."""
NO_SETS = """no set is there: {files} not found.
Any delimited file with a label of 0 or 1 will do: copy {example} to configs/real/NAME.toml, describe the columns there
as the README's "On your data" says, put the file where data.path says, and paste the features that
`trainer scan --config configs/real/NAME.toml` prints. data/README.md says how to get those that are described already."""


def main():
    args = arguments()
    try:
        sets, missing = cut_sets(args)
        peers = run_peers(sets, args)
        outcomes = run_all(sets, args)
    except KeyboardInterrupt:
        tell("stopped; the same command goes on")
        sys.exit(130)
    findings = Findings(sets, args.methods, args.peers, outcomes, peers)
    print(CAPTION.format(seeds=", ".join(map(str, args.seeds))) + "\n")
    if missing:
        print(f"Not there, and left out: {', '.join(missing)}.\n")
    print("\n\n".join(findings.tables(ratio) for ratio in args.ratios))
    if args.json:
        args.json.write_text(json.dumps(findings.numbers(), indent=1) + "\n")
    failed = [outcome for outcome in outcomes.values() if outcome.state == "failed"]
    for outcome in failed:
        print(f"\nfailed: {outcome.name}: {outcome.why}")
    sys.exit(1 if failed else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known_sets = sorted(path.stem for path in CONFIGS.glob("*.toml"))
    known_peers = list(PEERS)

    def some_of(known):
        def parse(text):
            for name in text.split(","):
                if name not in known:
                    raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, got {name}")
            return [name for name in known if name in text.split(",")]
        return parse

    def numbers(kind):
        return lambda text: sorted({kind(number) for number in text.split(",")})

    parser.add_argument("--data", type=Path, default=ROOT / "data/real", help="where the rows are")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/battery", help="where runs go")
    parser.add_argument("--sets", type=some_of(known_sets), default=known_sets, help="some of configs/real")
    parser.add_argument("--methods", type=some_of(list(METHODS)), default=list(METHODS),
                        help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--ratios", type=numbers(float), default=[10.0, 100.0, 1000.0], help="10,100,1000")
    parser.add_argument("--seeds", type=numbers(int), default=[1, 2], help="1,2")
    parser.add_argument("--rows", type=int, help="no more than so many of each set; ratios still count all features")
    parser.add_argument("--peers", type=lambda text: [] if text == "none" else some_of(known_peers)(text),
                        default=known_peers, help="some of lr,lightgbm,vw, or none")
    parser.add_argument("--trainer", type=Path, default=ROOT / "target/release/trainer")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores")
    parser.add_argument("--json", type=Path, help="all numbers, to this file")
    args = parser.parse_args()
    if not args.trainer.exists():
        parser.error(f"{args.trainer} is not there: cargo build --release -p trainer")
    return args


# Sets.


@dataclass
class RealSet:
    """A configuration, and the rows that every tool gets."""
    name: str
    config: Path
    columns: dict
    paths: list
    test_paths: list
    n_rows: int
    n_train: int

    @property
    def numeric(self):
        return [column if isinstance(column, str) else column["column"] for column in self.columns.get("numeric", [])]

    @property
    def categorical(self):
        """Names with the separator of their values, if a row may have several."""
        described = [{"column": it} if isinstance(it, str) else it for it in self.columns["categorical"]]
        return {it["column"]: it.get("separator") for it in described}


def cut_sets(args):
    sets, missing, files = [], [], []
    for name in args.sets:
        config = CONFIGS / f"{name}.toml"
        data = tomllib.loads(config.read_text())["data"]
        sources = [[args.data / Path(path).name for path in listed(data.get(key, []))] for key in ("path", "test_path")]
        absent = [str(path) for path in itertools.chain(*sources) if not path.exists()]
        if absent:
            files += absent
            missing.append(f"{name} ({', '.join(absent)})")
        else:
            sets.append(cut_set(name, config, data, sources, args))
    if not sets:
        print(NO_SETS.format(files=", ".join(files), example=f"configs/real/{args.sets[0]}.toml"), file=sys.stderr)
        sys.exit(2)
    return sets, missing


def listed(paths):
    return [paths] if isinstance(paths, str) else paths


def cut_set(name, config, data, sources, args):
    columns = data["columns"]
    if columns.get("quoting", True) or columns["label"].keys() != {"column"} or "split" in data:
        sys.exit(f"{config}: expected quoting = false, a label of 0 or 1 without a rule, and no split: peers know no more")
    limit = min(data.get("rows", ALL_ROWS), args.rows or ALL_ROWS)
    folder, counts = args.out / "sets", []
    folder.mkdir(parents=True, exist_ok=True)
    for paths, n_left in zip(sources, (limit, ALL_ROWS)):
        n_before = n_left
        for path in paths:
            n_left -= cut_file(path, folder / path.name, columns.get("header", True), n_left)
        counts.append(n_before - n_left)
    n_first, n_test = counts
    # As in the program; the small addition is for products such as 0.9 * 10.
    n_train = n_first if n_test else int(n_first * data.get("train_fraction", 6 / 7) + 1e-6)
    paths, test_paths = [[folder / path.name for path in paths] for paths in sources]
    return RealSet(name, config, columns, paths, test_paths, n_first + n_test, n_train)


def cut_file(source, target, has_header, n_rows):
    """Copies the first rows and returns their number."""
    partial, n_lines = target.with_suffix(".partial"), 0
    with source.open("rb") as lines, partial.open("wb") as out:
        for line in itertools.islice(lines, n_rows + has_header):
            out.write(line)
            n_lines += 1
    if not target.exists():
        partial.rename(target)
    elif filecmp.cmp(partial, target, shallow=False):
        partial.unlink()
    else:
        partial.unlink()
        sys.exit(f"{target} holds other rows of {source} than asked for now, and so do its runs: choose another --out")
    return max(n_lines - has_header, 0)


# Runs of the program.


@dataclass
class Run:
    set: RealSet
    method: str
    ratio: float
    seed: int

    @property
    def name(self):
        return f"{self.set.name}-{self.method}-{self.ratio:g}-{self.seed}"

    @property
    def key(self):
        return self.set.name, self.method, self.ratio, self.seed

    def settings(self):
        settings = {"data.path": one_or_all(self.set.paths)}
        if self.set.test_paths:
            settings["data.test_path"] = one_or_all(self.set.test_paths)
        settings |= {f"embedding.{key}": value for key, value in METHODS[self.method].items()}
        settings |= {"embedding.compression": self.ratio, "seed": self.seed, "checkpoint.keep_at_end": False}
        if self.method.endswith("-sgd"):
            settings["train.optimizer"] = "sgd"
            if not self.set.numeric:
                settings["model.constant_input"] = False
        return settings


def one_or_all(paths):
    texts = [str(path.resolve()) for path in paths]
    return texts[0] if len(texts) == 1 else texts


@dataclass
class Outcome:
    name: str
    state: str  # done, n/a or failed
    why: str = ""
    report: dict = None


def run_all(sets, args):
    runs = [
        Run(set, method, ratio, seed)
        for set in sets
        for method in args.methods
        for ratio in ([1.0] if method == "full" else args.ratios)
        for seed in args.seeds
    ]
    pool = ThreadPoolExecutor(args.jobs)
    try:
        return {run.key: outcome for run, outcome in zip(runs, pool.map(lambda run: execute(run, args), runs))}
    finally:
        pool.shutdown(cancel_futures=True)


def execute(run, args):
    folder = args.out / run.name
    report = folder / "report.json"
    if not report.exists():
        command = [args.trainer, "--config", run.set.config, "--run-dir", folder, "--resume=auto"]
        settings = {**run.settings(), "threads": max(1, os.cpu_count() // args.jobs)}
        # JSON strings, numbers and lists are also valid TOML.
        command += [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        started = time.monotonic()
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode != 0:
            return not_done(run.name, done)
        tell(f"{run.name}: {time.monotonic() - started:.0f} s")
    return Outcome(run.name, "done", report=json.loads(report.read_text()))


def not_done(name, done):
    lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
    why = next((line for line in lines if line.startswith("error: ")), lines[-1]).removeprefix("error: ")
    is_out_of_reach = done.returncode == CONFIG_EXIT and any(part in why for part in OUT_OF_REACH)
    tell(f"{name}: {why}")
    return Outcome(name, "n/a" if is_out_of_reach else "failed", why)


def tell(text):
    print(text, file=sys.stderr, flush=True)


# Peers.


@dataclass
class Field:
    """Numbered values of a column: those of row i are codes[start[i]:start[i + 1]]."""
    codes: np.ndarray
    start: np.ndarray
    values: list


@dataclass
class Table:
    labels: np.ndarray
    n_train: int
    numeric: dict
    fields: dict

    def hashed(self):
        """Input of linear models: per row the weights of its values, numbers in log buckets."""
        fields = self.fields | {name: bucketed(column) for name, column in self.numeric.items()}
        counts = sum(np.diff(field.start) for field in fields.values())
        start = np.concatenate([[0], np.cumsum(counts)])
        index, place = np.empty(start[-1], np.int64), start[:-1].copy()
        for name, field in fields.items():
            weights = np.array([zlib.crc32(f"{name}={value}".encode()) % (1 << LR_BITS) for value in field.values])
            per_row = np.diff(field.start)
            within = np.arange(len(field.codes)) - np.repeat(field.start[:-1], per_row)
            index[np.repeat(place, per_row) + within] = weights[field.codes]
            place += per_row
        return index, start


def bucketed(numbers):
    """Buckets of equal width in ln(x + 1), one for negative values, one for missing ones."""
    buckets = np.where(numbers < 0, -1, np.floor(4 * np.log1p(np.maximum(numbers, 0))))
    values, codes = np.unique(buckets, return_inverse=True)
    return Field(codes, np.arange(len(codes) + 1), values.tolist())


def read_table(real_set):
    label, missing = real_set.columns["label"]["column"], real_set.columns.get("missing", [""])
    labels, numeric = array("b"), {name: array("d") for name in real_set.numeric}
    # Values are numbered in order of first occurrence.
    numbering = {name: {} for name in real_set.categorical}
    codes = {name: array("q") for name in real_set.categorical}
    ends = {name: array("q", [0]) for name in real_set.categorical}
    for path in real_set.paths + real_set.test_paths:
        for row in read_rows(path, real_set.columns):
            labels.append(int(row[label]))
            for name, column in numeric.items():
                column.append(math.nan if row[name] in missing else float(row[name]))
            for name, separator in real_set.categorical.items():
                values = dict.fromkeys(row[name].split(separator)) if separator else (row[name],)
                numbers = numbering[name]
                codes[name].extend(numbers.setdefault(value, len(numbers)) for value in values)
                ends[name].append(len(codes[name]))
    fields = {name: Field(np.array(codes[name]), np.array(ends[name]), list(numbering[name])) for name in codes}
    numeric = {name: np.array(column) for name, column in numeric.items()}
    return Table(np.array(labels, np.float64), real_set.n_train, numeric, fields)


def read_rows(path, columns):
    with path.open(newline="", errors="replace") as lines:
        rows = csv.reader(lines, delimiter=columns.get("delimiter", ","), quoting=csv.QUOTE_NONE)
        names = next(rows) if columns.get("header", True) else columns["names"]
        for row in rows:
            yield dict(zip(names, row))


def lr(table):
    """Chooses the rate with the lowest loss on training rows, each scored before it is learned."""
    index, start = table.hashed()
    _, logits = min((one_pass(table, index, start, rate) for rate in LR_RATES), key=lambda found: found[0])
    return logits


def one_pass(table, index, start, rate):
    """The progressive loss of the training rows, and the final logits of the test rows."""
    weights, squares = np.zeros(1 << LR_BITS), np.full(1 << LR_BITS, 1e-3)
    bias, bias_squares, loss = 0.0, 1e-3, 0.0
    for first in range(0, table.n_train, LR_BATCH):
        last = min(first + LR_BATCH, table.n_train)
        used, ends, labels = index[start[first] : start[last]], start[first:last], table.labels[first:last]
        logits = np.add.reduceat(weights[used], ends - ends[0]) + bias
        loss += log_loss(labels, logits).sum()
        slopes = 1 / (1 + np.exp(-logits)) - labels
        gradients = np.repeat(slopes, np.diff(start[first : last + 1]))
        np.add.at(squares, used, gradients**2)
        np.subtract.at(weights, used, rate * gradients / np.sqrt(squares[used]))
        bias_squares += np.sum(slopes**2)
        bias -= rate * np.sum(slopes) / np.sqrt(bias_squares)
    first = start[table.n_train]
    return loss, np.add.reduceat(weights[index[first:]], start[table.n_train : -1] - first) + bias


def lightgbm(table):
    # Threads that spin while waiting slow each other down on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import lightgbm as lgb

    # Blocks and the number of trees are the best for the last tenth of the training rows, whose
    # labels are hidden from the statistics like those of test rows.
    n_fit = table.n_train * 9 // 10
    trials = []
    for n_blocks in (n_fit, N_BLOCKS):
        matrix, categories = boosted_columns(table, n_fit, n_blocks)
        held_out = boosting_rows(lgb, table, matrix, categories, n_fit, table.n_train)
        fit = boosting_rows(lgb, table, matrix, categories, 0, n_fit)
        stop = lgb.early_stopping(20, verbose=False)
        trial = lgb.train(BOOSTING, fit, 500, valid_sets=[held_out], callbacks=[stop])
        trials.append((trial.best_score["valid_0"]["binary_logloss"], trial.best_iteration, n_blocks))
    _, n_trees, n_blocks = min(trials)
    # One block per row, now of all training rows.
    n_blocks = table.n_train if n_blocks == n_fit else n_blocks
    matrix, categories = boosted_columns(table, table.n_train, n_blocks)
    model = lgb.train(BOOSTING, boosting_rows(lgb, table, matrix, categories, 0, table.n_train), n_trees)
    return model.predict(matrix[table.n_train :], raw_score=True)


def boosting_rows(lgb, table, matrix, categories, first, last):
    labels = table.labels[first:last]
    return lgb.Dataset(matrix[first:last], labels, categorical_feature=categories, params=BOOSTING)


def boosted_columns(table, n_known, n_blocks):
    """Numbers, statistics of all fields, small fields unchanged; and the columns of the latter."""
    columns, categories = list(table.numeric.values()), []
    for field in table.fields.values():
        columns += ordered_statistics(field, table.labels, n_known, n_blocks)
        is_single = len(field.codes) == len(table.labels)
        if is_single and len(field.values) <= MAX_CATEGORIES:
            categories.append(len(columns))
            columns.append(field.codes)
    return np.stack(columns, axis=1, dtype=np.float32, casting="unsafe"), categories


def ordered_statistics(field, labels, n_known, n_blocks):
    """Per row the share of positives among rows with its values, and the number of these rows.

    Counts the earlier blocks of the first `n_known` rows, so that no row includes its own label.
    With one block per row the statistic is as recent as possible. If the label of a row reveals
    others (a list with one clicked item), test rows lack that information, and larger blocks are
    better."""
    row = np.repeat(np.arange(len(labels)), np.diff(field.start))
    order = np.argsort(field.codes, kind="stable")
    block = np.minimum(row * n_blocks // n_known, n_blocks)[order]
    starts_value = np.diff(field.codes[order], prepend=-1) != 0
    starts_block = starts_value | (np.diff(block, prepend=-1) != 0)
    value_idx, block_idx = np.cumsum(starts_value) - 1, np.cumsum(starts_block) - 1

    def earlier(weights):
        sums = np.cumsum(weights[order]) - weights[order]
        found = np.empty(len(order))
        found[order] = sums[starts_block][block_idx] - sums[starts_value][value_idx]
        return np.add.reduceat(found, field.start[:-1])

    is_known = (row < n_known).astype(float)
    positives, seen = earlier(is_known * labels[row]), earlier(is_known)
    share = labels[:n_known].mean()
    return [(positives + PRIOR_ROWS * share) / (seen + PRIOR_ROWS), np.log1p(seen)]


def vw(table):
    from vowpalwabbit import Workspace

    index, start = table.hashed()
    model = Workspace(f"--loss_function logistic -b {LR_BITS} --quiet")

    def features(row):
        return "| " + " ".join(map(str, index[start[row] : start[row + 1]].tolist()))

    for row in range(table.n_train):
        model.learn(f"{1 if table.labels[row] else -1} {features(row)}")
    logits = np.array([model.predict(features(row)) for row in range(table.n_train, len(table.labels))])
    model.finish()
    return logits


# Functions from a table to the logits of its test rows, and the package that each needs.
PEERS = {"lr": (lr, None), "lightgbm": (lightgbm, "lightgbm"), "vw": (vw, "vowpalwabbit")}


def run_peers(sets, args):
    """Quality by set and peer; without peers that are not installed."""
    path = args.out / "peers.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    found = {}
    for real_set in sets:
        table = None
        for name in args.peers:
            peer, package = PEERS[name]
            key = f"{real_set.name}:{real_set.n_rows}:{name}"
            if key not in known and (package is None or importlib.util.find_spec(package)):
                started = time.monotonic()
                table = table or read_table(real_set)
                known[key] = quality(table.labels[table.n_train :], peer(table))
                write_whole(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
                tell(f"{real_set.name}-{name}: {time.monotonic() - started:.0f} s")
            if key in known:
                found[real_set.name, name] = known[key]
    return found


def write_whole(path, text):
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def quality(labels, logits):
    _, tie, counts = np.unique(logits, return_inverse=True, return_counts=True)
    # Equal scores share the mean of their ranks.
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[tie]
    positives = int(labels.sum())
    negatives = len(labels) - positives
    auc = (ranks[labels > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    logloss = log_loss(labels, logits).mean()
    return {"auc": float(auc), "logloss": float(logloss), "rows": len(labels), "positives": positives}


def log_loss(labels, logits):
    return np.logaddexp(0, logits) - labels * logits


# Tables.


@dataclass
class Cell:
    auc: float
    half: float
    logloss: float

    def text(self):
        return f"{self.auc:.4f} ± {self.half:.4f}"


def cell(results):
    """One set over seeds: the larger of sampling error of the test rows and spread of training."""
    aucs = [result["auc"] for result in results]
    auc, rows, positives = statistics.mean(aucs), results[0]["rows"], results[0]["positives"]
    half = max((max(aucs) - min(aucs)) / 2, 1.96 * standard_error(auc, positives, rows - positives))
    return Cell(auc, half, statistics.mean(result["logloss"] for result in results))


def standard_error(auc, positives, negatives):
    """Hanley and McNeil (1982)."""
    above = auc / (2 - auc) - auc**2
    below = 2 * auc**2 / (1 + auc) - auc**2
    variance = auc * (1 - auc) + (positives - 1) * above + (negatives - 1) * below
    return math.sqrt(variance / (positives * negatives))


class Findings:
    def __init__(self, sets, methods, peers, outcomes, peer_results):
        self.sets = [real_set.name for real_set in sets]
        self.rows = {real_set.name: (real_set.n_train, real_set.n_rows - real_set.n_train) for real_set in sets}
        self.methods, self.peers = methods, peers
        self.outcomes, self.peer_results = outcomes, peer_results

    def cell(self, method, set, ratio):
        """A cell, or the text in its place."""
        if method in PEERS:
            result = self.peer_results.get((set, method))
            return cell([result]) if result else "not installed"
        ratio = 1.0 if method == "full" else ratio
        outcomes = [outcome for key, outcome in self.outcomes.items() if key[:3] == (set, method, ratio)]
        states = {outcome.state for outcome in outcomes}
        for state in ("failed", "n/a"):
            if state in states:
                return state
        results = [of_report(outcome.report) for outcome in outcomes]
        if any(result["auc"] is None for result in results):
            return "one label"
        return cell(results)

    def column(self, set, ratio, methods):
        cells = {method: self.cell(method, set, ratio) for method in methods}
        return {method: cell for method, cell in cells.items() if isinstance(cell, Cell)}

    def compressed(self):
        return [method for method in self.methods if method != "full"]

    def tables(self, ratio):
        parts = [f"## Test AUC at a compression ratio of {ratio:g}", self.auc_table(ratio)]
        if "coded" in self.methods:
            parts += [self.distances(ratio), "Test log-loss:", self.logloss_table(ratio)]
        return "\n\n".join(filter(None, parts))

    def auc_table(self, ratio):
        best = {set: best_of(self.column(set, ratio, self.compressed())) for set in self.sets}
        lines = header(["method", *self.sets, "mean difference to coded"])
        for method in self.methods + self.peers:
            cells = [self.cell(method, set, ratio) for set in self.sets]
            texts = [cell.text() if isinstance(cell, Cell) else cell for cell in cells]
            texts = [f"**{text}**" if best[set] == method else text for set, text in zip(self.sets, texts)]
            lines.append(line([method, *texts, self.mean_difference(method, ratio)]))
        return "\n".join(lines)

    def mean_difference(self, method, ratio):
        if method == "coded" or "coded" not in self.methods:
            return ""
        columns = [self.column(set, ratio, [method, "coded"]) for set in self.sets]
        differences = [column[method].auc - column["coded"].auc for column in columns if len(column) == 2]
        if not differences:
            return ""
        n_coded = sum("coded" in column for column in columns)
        of = f" ({len(differences)} of {n_coded} sets)" if len(differences) < n_coded else ""
        return f"{statistics.mean(differences):+.4f}{of}"

    def distances(self, ratio):
        """The difference of `coded` from the best other method, for each set."""
        others = [method for method in self.compressed() if method != "coded"]
        lines = []
        for what, rivals in [
            ("another method over coded at most", others),
            ("full over coded", [method for method in self.methods if method == "full"]),
            ("the better of lr and lightgbm over coded", [peer for peer in self.peers if peer != "vw"]),
        ]:
            texts = [self.lead(set, ratio, rivals) for set in self.sets]
            if any(texts):
                lines.append(f"* {what}: {', '.join(filter(None, texts))}")
        return "\n".join(lines)

    def lead(self, set, ratio, rivals):
        rivals, coded = self.column(set, ratio, rivals), self.cell("coded", set, ratio)
        if not rivals or not isinstance(coded, Cell):
            return None
        best = best_of(rivals)
        return f"{set} {rivals[best].auc - coded.auc:+.4f}" + (f" ({best})" if best != "full" else "")

    def logloss_table(self, ratio):
        lines = header(["method", *self.sets])
        for method in [method for method in ("coded", "full") if method in self.methods]:
            cells = [self.cell(method, set, ratio) for set in self.sets]
            lines.append(line([method, *(f"{it.logloss:.4f}" if isinstance(it, Cell) else it for it in cells)]))
        texts = []
        for set in self.sets:
            others = self.column(set, ratio, [method for method in self.compressed() if method != "coded"])
            best = min(others, key=lambda method: others[method].logloss, default=None)
            texts.append(f"{others[best].logloss:.4f} ({best})" if best else "")
        return "\n".join(lines + [line(["best other", *texts])] * any(texts))

    def numbers(self):
        runs = []
        for (set, method, ratio, seed), outcome in self.outcomes.items():
            run = {"set": set, "method": method, "ratio": ratio, "seed": seed, "state": outcome.state}
            if outcome.report:
                sizes = ("embedding_bytes", "embedding_total_bytes", "budget_bytes", "full_bytes")
                run |= of_report(outcome.report) | {key: outcome.report[key] for key in sizes}
            runs.append(run | ({"why": outcome.why} if outcome.why else {}))
        sets = [{"set": name, "train_rows": n_train, "test_rows": n_test} for name, (n_train, n_test) in self.rows.items()]
        peers = [{"set": set, "peer": peer, **result} for (set, peer), result in self.peer_results.items()]
        return {"sets": sets, "runs": runs, "peers": peers}


def of_report(report):
    names = {"auc": "test_auc", "logloss": "test_logloss", "rows": "test_rows", "positives": "test_positives"}
    return {name: report[key] for name, key in names.items()}


def best_of(cells):
    return max(cells, key=lambda method: cells[method].auc, default=None)


def header(names):
    return [line(names), "|---" * len(names) + "|"]


def line(cells):
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
