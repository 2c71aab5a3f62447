//! What a person reads when a configuration is wrong, word for word.

use crate::config::{Named, models};
use std::path::Path;

use cafe_core::RowPrecision;
use cafe_core::table::Signs;

use super::{Config, EmbeddingOptimizer};

const DATA: &str = "[data]\nsynthetic = { rows = 700 }\n";
const SMALL: &str = "[data]\nsynthetic = { rows = 700 }\n[embedding]\ncompression = 100\n";

fn problems(text: &str, overrides: &[&str]) -> Vec<String> {
    let overrides: Vec<_> = overrides.iter().map(|&text| text.to_owned()).collect();
    let error = Config::parse(text, Path::new("a.toml"), &overrides).expect_err("invalid");
    error.to_string().lines().map(str::to_owned).collect()
}

/// The problems of `lines` before a small configuration that is right.
fn golden(lines: &str, overrides: &[&str], expected: &[&str]) {
    assert_eq!(problems(&format!("{lines}{SMALL}"), overrides), expected, "{lines}{overrides:?}");
}

#[test]
fn unknown_keys_and_values() {
    golden(
        "[train]\nbacth = 3\n",
        &[],
        &["a.toml:2: train.bacth: unknown key; did you mean `batch`?"],
    );
    golden("[trian]\nbatch = 3\n", &[], &["a.toml:1: trian: unknown key; did you mean `train`?"]);
    golden(
        "[train]\nmomentum = 0.9\n",
        &[],
        &[
            "a.toml:2: train.momentum: unknown key; expected one of `batch`, `epochs`, `optimizer`, `embedding_optimizer`, `lr`, `embedding_lr`, `init`, `schedule`, `eval_every`, `log_every`, `tensorboard`",
        ],
    );
    golden(
        "train.schedule.warmup = 3\n",
        &[],
        &[
            "a.toml:1: train.schedule.warmup: unknown key; expected one of `warmup_steps`, `decay_start`, `decay_steps`, `power`, `floor`",
        ],
    );
    golden(
        "[model]\nkind = \"dlmr\"\n",
        &[],
        &[
            "a.toml:2: model.kind: expected one of `dlrm`, `wdl`, `dcn`, `dcnv2`, `deepfm`, got `dlmr`; did you mean `dlrm`?",
        ],
    );
    golden(
        "[model]\nkind = 'transformer'\n",
        &[],
        &[
            "a.toml:2: model.kind: expected one of `dlrm`, `wdl`, `dcn`, `dcnv2`, `deepfm`, got `transformer`",
        ],
    );
}

#[test]
fn unknown_names_suggest_the_nearest() {
    golden(
        "engine = \"natve\"\n",
        &[],
        &[
            "a.toml:1: engine: expected one of `native`, `candle`, got `natve`; did you mean `native`?",
        ],
    );
    golden(
        "precision = \"f16\"\n",
        &[],
        &[
            "a.toml:1: precision: expected one of `f32`, `bf16`, `bf16-emulated`, got `f16`; did you mean `bf16`?",
        ],
    );
    golden(
        "device = \"tpu\"\n",
        &[],
        &["a.toml:1: device: expected `cpu` or `cuda:N`, such as `cuda:0`, got `tpu`"],
    );
    golden(
        "",
        &["embedding.method=cafe-plus"],
        &[
            "--set embedding.method=cafe-plus: embedding.method: expected one of `full`, `coded`, `cafe`, `cafe_plus`, `offline`, `unified`, `hash`, `qr`, `mde`, `ada`, got `cafe-plus`; did you mean `cafe_plus`?",
        ],
    );
    golden(
        "",
        &["train.bacth=3"],
        &["--set train.bacth=3: train.bacth: unknown key; did you mean `batch`?"],
    );
    golden(
        "",
        &["trian.batch=3"],
        &["--set trian.batch=3: trian: unknown key; did you mean `train`?"],
    );
    let text = SMALL.replace("synthetic", "path = \"a\"\nformat = \"criteo_kagle\"\n#");
    assert_eq!(
        problems(&text, &[]),
        [
            "a.toml:3: data.format: expected one of `criteo-kaggle`, `criteo-terabyte`, `criteo-terabyte-third`, `avazu`, `kdd12`, `delimited`, `parquet`, got `criteo_kagle`; did you mean `criteo-kaggle`?"
        ]
    );
}

#[test]
fn values_of_the_wrong_kind() {
    golden(
        "threads = -1\n",
        &[],
        &["a.toml:1: threads: expected a whole number of 0 or more, got `-1`"],
    );
    golden(
        "threads = \"two\"\n",
        &[],
        &["a.toml:1: threads: expected a whole number of 0 or more, got `\"two\"`"],
    );
    golden("name = 3\n", &[], &["a.toml:1: name: expected a text, got `3`"]);
    golden("train = 3\n", &[], &["a.toml:1: train: expected a section, got `3`"]);
    golden(
        "[train]\nlr = \"fast\"\n",
        &[],
        &["a.toml:2: train.lr: expected a number, got `\"fast\"`"],
    );
    golden(
        "[train]\ntensorboard = 1\n",
        &[],
        &["a.toml:2: train.tensorboard: expected true or false, got `1`"],
    );
    golden(
        "[model]\nbottom = [16, -8]\n",
        &[],
        &["a.toml:2: model.bottom: expected a whole number of 0 or more, got `-8`"],
    );
    golden(
        "max_memory = \"2 parsecs\"\n",
        &[],
        &[
            "a.toml:1: max_memory: expected bytes such as 2000000, \"500 KB\" or \"2 MiB\", got \"2 parsecs\"",
        ],
    );
}

#[test]
fn values_of_the_wrong_kind_in_sections() {
    golden(
        "max_memory = [1]\n",
        &[],
        &[
            "a.toml:1: max_memory: expected bytes such as 2000000, \"500 KB\" or \"2 MiB\", got `[1]`",
        ],
    );
    golden(
        "",
        &["train.batch=many"],
        &["--set train.batch=many: train.batch: expected a whole number of 0 or more, got `many`"],
    );
    golden(
        "",
        &["train.batch="],
        &["--set train.batch=: train.batch: expected a whole number of 0 or more, got nothing"],
    );
    golden(
        "",
        &["train.batch.x=3"],
        &["--set train.batch.x=3: train.batch: expected a whole number of 0 or more, got `batch`"],
    );
    golden(
        "[train]\nbatch = 4\n",
        &["train.batch.x=3"],
        &[
            "--set train.batch.x=3: train.batch: expected a section, got a value; drop what follows its name",
        ],
    );
    golden("", &["train"], &["--set train: expected key.path=value"]);
    golden("", &["train..lr=1"], &["--set train..lr=1: expected key.path=value"]);
    let text = SMALL.replace("rows = 700", "seed = 4");
    assert_eq!(problems(&text, &[]), ["a.toml:2: data.synthetic.rows: missing; add it"]);
    let text = SMALL.replace("rows = 700", "rows = true");
    assert_eq!(
        problems(&text, &[]),
        ["a.toml:2: data.synthetic.rows: expected a whole number of 0 or more, got `true`"]
    );
}

#[test]
fn what_is_no_toml() {
    golden("name =\n", &[], &["a.toml:1: string values must be quoted, expected literal string"]);
    golden("seed = 1\nseed = 2\n", &[], &["a.toml:2: duplicate key"]);
    golden(
        "seed = 1\nname = x\n[train\n",
        &["train"],
        &[
            "a.toml:2: string values must be quoted, expected literal string",
            "a.toml:3: unclosed table, expected `]`",
            "--set train: expected key.path=value",
        ],
    );
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn numbers_out_of_range() {
    for (lines, expected) in [
        (
            "name = \"a/b\"\n",
            "a.toml:1: name: expected a name without `/` that does not start with `.`, got \"a/b\"; it names the run's directory",
        ),
        (
            "threads = 5000\n",
            "a.toml:1: threads: expected at most 1024, 0 for one a core, got 5000",
        ),
        ("[train]\nbatch = 0\n", "a.toml:2: train.batch: expected at least 1, got 0"),
        ("[train]\nlr = -0.5\n", "a.toml:2: train.lr: expected a positive number, got -0.5"),
        (
            "[train]\nembedding_lr = nan\n",
            "a.toml:2: train.embedding_lr: expected a positive number, got NaN",
        ),
        (
            "[train.schedule]\nfloor = 2\ndecay_steps = 9\n",
            "a.toml:2: train.schedule.floor: expected a number from 0 to 1, got 2",
        ),
        (
            "[train.schedule]\n\ndecay_start = 2\n",
            "a.toml:1: train.schedule.decay_steps: expected at least 1 with decay_start, got 0; say how long the decay takes",
        ),
        (
            "[train.schedule]\nwarmup_steps = 9\ndecay_steps = 1\ndecay_start = 2\n",
            "a.toml:4: train.schedule.decay_start: expected 9 or more, where the warm-up ends, got 2",
        ),
        (
            "[model]\ntop = [8]\n",
            "a.toml:2: model.top: expected sizes of at least 1, the last 1 (one logit), got [8]",
        ),
        (
            "[model]\ndeep = [8]\n",
            "a.toml:2: model.deep: expected none, as only wdl, dcn, dcnv2 and deepfm have it, not dlrm; remove it",
        ),
        (
            "[model]\nkind = \"dcn\"\ncross_layers = 0\n",
            "a.toml:3: model.cross_layers: expected at least 1, got 0",
        ),
        (
            "engine = \"native\"\ndevice = \"cuda:0\"\n",
            "a.toml:1: engine: expected `candle` on a GPU, got `native`; set device to `cpu` to use that",
        ),
        (
            "engine = \"candle\"\nprecision = \"bf16\"\n",
            "a.toml:2: precision: expected `f32` with engine = \"candle\", got `bf16`; set engine to `native`",
        ),
    ] {
        golden(lines, &[], &[expected]);
    }
    for (lines, expected) in [
        (
            "train_fraction = 1.5\n",
            "a.toml:5: data.train_fraction: expected a number between 0 and 1, got 1.5",
        ),
        (
            "rows = 0\n",
            "a.toml:5: data.rows: expected at least 1, got 0; leave it out to read all rows",
        ),
        (
            "cache = true\n",
            "a.toml:5: data.cache: expected none beside data.synthetic; remove it: only files are cached",
        ),
        (
            "split_seed = 3\n",
            "a.toml:5: data.split_seed: expected with split = \"random\" only; remove it",
        ),
    ] {
        let text = format!("[embedding]\ncompression = 100\n{DATA}");
        assert_eq!(problems(&(text + lines), &[]), [expected]);
    }
    for (lines, expected) in [
        (
            "budget = 4\n",
            "a.toml:5: embedding.budget: expected embedding.compression or embedding.budget, got both; remove one of them",
        ),
        (
            "features = [1, 2]\n",
            "a.toml:5: embedding.features: expected 26 numbers of at least 1, one a field, got 2",
        ),
        ("unified.hashes = 3\n", "a.toml:5: embedding.unified.hashes: expected 1 or 2, got 3"),
        ("cafe_plus.slots = 0\n", "a.toml:5: embedding.cafe_plus.slots: expected 1 to 1024, got 0"),
        (
            "cafe_plus.growth = 2\n",
            "a.toml:5: embedding.cafe_plus.growth: expected 1 or a little more, below 1.01, got 2",
        ),
        (
            "offline.rows = 0\n",
            "a.toml:5: embedding.offline.rows: expected at least 1, got 0; leave it out to count in all rows",
        ),
        (
            "offline.shared_share = 1\n",
            "a.toml:5: embedding.offline.shared_share: expected a number over 0 and up to 0.999, got 1",
        ),
        (
            "[embedding.cafe]\nshared_share = 2.0\n",
            "a.toml:6: embedding.cafe.shared_share: expected a number over 0 and up to 0.999, got 2",
        ),
        (
            "[embedding.cafe]\nhysteresis = 0.5\n",
            "a.toml:6: embedding.cafe.hysteresis: expected at least 1, got 0.5",
        ),
        (
            "[embedding.cafe]\nhysteresis = 0.5\n",
            "a.toml:6: embedding.cafe.hysteresis: expected at least 1, got 0.5",
        ),
        (
            "[embedding.cafe]\nmedium_share = 0.5\n",
            "a.toml:5: embedding.cafe.multi_level: expected true with medium_share or medium_threshold_ratio, got false",
        ),
    ] {
        assert_eq!(problems(&(SMALL.to_owned() + lines), &[]), [expected]);
    }
    golden(
        "",
        &["embedding.compression=0.5"],
        &["--set embedding.compression=0.5: embedding.compression: expected at least 1, got 0.5"],
    );
    golden(
        "",
        &["train={ lr = -1.0 }"],
        &["--set train={ lr = -1.0 }: train.lr: expected a positive number, got -1"],
    );
}

#[test]
fn descriptions_of_columns() {
    let text = |columns: &str| {
        format!(
            "[embedding]\ncompression = 9\nfeatures = [3]\n[data]\npath = \"a\"\nformat = \"delimited\"\n{columns}"
        )
    };
    for (columns, expected) in [
        (
            "",
            "a.toml:4: data.columns: missing: format `delimited` needs a description of the columns; the README has an example",
        ),
        (
            "[data.columns]\nlabel = { column = 'y' }\ncategorical = ['a']\ndelimiter = '\"'\n",
            "a.toml:10: data.columns.delimiter: expected one ASCII character that is no quote and no line end, got '\"'",
        ),
        (
            "[data.columns]\nlabel = { column = 'y' }\ncategorical = ['y']\n",
            "a.toml:7: data.columns: column `y`: the label and categorical at once; drop one of them",
        ),
        ("[data.columns]\ncategorical = ['y']\n", "a.toml:7: data.columns.label: missing; add it"),
        (
            "[data.columns]\nlabel = { column = 'y' }\ncategorical = ['x', { column = 'a', kind = 'hexx' }]\n",
            "a.toml:9: data.columns.categorical.kind: expected one of `string`, `hex`, `integer`, got `hexx`; did you mean `hex`?",
        ),
    ] {
        assert_eq!(problems(&text(columns), &[]), [expected]);
    }
}

#[test]
fn all_problems_are_told_at_once_in_their_order() {
    let text = "device = \"tpu\"\n[data]\ntrain_fraction = 1.5\n[model]\ntop = [8]\nkindd = \"wdl\"\n[train]\nbatch = 0\nlr = -1.0\n\
                optimizer = \"sgdd\"\nepochs = -1\n[embedding]\ncompression = 0.5\nfeatures = [1, 2]\n[embedding.cafe]\nshared_share = 2.0\n";
    let places: Vec<_> = problems(text, &["threads=5000", "train.warmup=3"]);
    let places: Vec<_> =
        places.iter().map(|line| line.rsplitn(2, ": ").last().unwrap_or_default()).collect();
    let expected = [
        "a.toml:1: device",
        "a.toml:2: data.path: missing; give a file, or data.synthetic.rows for generated rows",
        "a.toml:3: data.train_fraction",
        "a.toml:5: model.top",
        "a.toml:6: model.kindd: unknown key; did you mean `kind`?",
        // Of a section with a value that can't be read the rest is not judged.
        "a.toml:10: train.optimizer",
        "a.toml:11: train.epochs",
        "a.toml:13: embedding.compression",
        "a.toml:14: embedding.features",
        "a.toml:16: embedding.cafe.shared_share",
        "--set threads=5000: threads",
        "--set train.warmup=3: train.warmup",
    ];
    assert_eq!(places.len(), expected.len(), "{places:?}");
    for (got, expected) in places.iter().zip(expected) {
        assert!(expected.starts_with(got), "{got}, expected {expected}");
    }
}

#[test]
fn what_is_missing_names_the_file_and_its_section() {
    assert_eq!(
        problems("", &[]),
        [
            "a.toml: data.path: missing; give a file, or data.synthetic.rows for generated rows",
            "a.toml: embedding.compression: missing; give a ratio such as 1000, or embedding.budget in bytes",
        ]
    );
    let text = "[data]\nsynthetic = { rows = 700 }\n\n[embedding]\nmethod = \"hash\"\n";
    assert_eq!(
        problems(text, &[]),
        [
            "a.toml:4: embedding.compression: missing; give a ratio such as 1000, or embedding.budget in bytes"
        ]
    );
    // An override that makes the section has nothing to do with what is missing in it.
    assert_eq!(
        problems(DATA, &["embedding.method=hash"]),
        [
            "a.toml: embedding.compression: missing; give a ratio such as 1000, or embedding.budget in bytes"
        ]
    );
    // What was meant is not missing.
    let text = "[data]\npaths = \"a\"\n[embedding]\ncompresion = 5\n";
    assert_eq!(
        problems(text, &[]),
        [
            "a.toml:2: data.paths: unknown key; did you mean `path`?",
            "a.toml:4: embedding.compresion: unknown key; did you mean `compression`?"
        ]
    );
}

#[test]
fn thousands_of_problems_end() {
    let text = (0..5000).map(|n| format!("key{n} = 1")).collect::<Vec<_>>().join("\n");
    assert_eq!(problems(&text, &[]).len(), 50);
}

#[test]
fn cross_layers_warm_up_unless_told_otherwise() {
    let steps = |kind: &str, overrides: &[&str]| {
        let text = format!("[embedding]\ncompression = 100\n[model]\nkind = \"{kind}\"\n{DATA}");
        let overrides: Vec<String> = overrides.iter().map(|&one| one.to_owned()).collect();
        let config = Config::parse(&text, Path::new("a.toml"), &overrides).expect("right");
        config.train.schedule.warmup_steps
    };
    assert_eq!(
        [steps("dlrm", &[]), steps("dcn", &[]), steps("dcnv2", &[])],
        [Some(0), Some(500), Some(500)]
    );
    assert_eq!(steps("dcn", &["train.schedule.warmup_steps=0"]), Some(0));
    assert_eq!(steps("dcn", &["train.init=runs/a"]), Some(0));
    assert_eq!(steps("dlrm", &["train.schedule.warmup_steps=9"]), Some(9));
}

/// With nothing said but its name each has the layers of the README's table, on the inputs of
/// Criteo Kaggle.
#[test]
fn every_model_is_complete_by_its_name_alone() {
    let expected = [
        ("dlrm", 475_985, 3577),
        ("wdl", 176_559, 1370),
        ("dcn", 244_924, 4200),
        ("dcnv2", 795_760, 5487),
        ("deepfm", 242_351, 1658),
    ];
    assert_eq!(models::MODELS.len(), expected.len());
    for (entry, (name, n_parameters, activation_floats)) in models::MODELS.iter().zip(expected) {
        let text = format!("{SMALL}[model]\nkind = \"{name}\"\n");
        let config = Config::parse(&text, Path::new("a.toml"), &[]).expect("a configuration");
        assert_eq!((config.model.kind.name(), entry.name), (name, name));
        let shape = models::model_config(&config).expect("a known format");
        shape.validate().expect("layers that fit together");
        assert_eq!((shape.name(), shape.n_parameters()), (name, n_parameters));
        assert_eq!(shape.activation_floats(), activation_floats, "{name}");
        // As it is written to a run's directory it is the same, and has no key that the model does
        // not.
        let written = toml::Table::try_from(&config.model).expect("TOML");
        let mut keys = written.keys().filter(|key| !["kind", "dim"].contains(&key.as_str()));
        assert!(keys.all(|key| config.model.kind.has(key)), "{name}: {written}");
        assert!(
            entry.keys.iter().all(|key| *key == "cross_rank" || written.contains_key(*key)),
            "{name}: {written}"
        );
    }
}

/// Without numbers a network has the constant 1 in their place, or, where that is not wanted, no
/// use for a bottom network.
#[test]
fn data_without_numbers() {
    let avazu =
        "[data]\npath = \"rows\"\nformat = \"avazu\"\n[embedding]\ncompression = 100\n[model]\n";
    assert_eq!(
        problems(&format!("{avazu}bottom = [64, 16]\nconstant_input = false\n"), &[]),
        [
            "a.toml:7: model.bottom: expected none, as the data have no numeric columns to go into it; remove it, or set \
          constant_input = true"
        ]
    );
    for entry in &models::MODELS {
        // By default every network has the constant 1 as its number.
        for (more, n_dense) in
            [("", 1), ("constant_input = true\n", 1), ("constant_input = false\n", 0)]
        {
            let text = format!("{avazu}kind = \"{}\"\n{more}", entry.name);
            let config = Config::parse(&text, Path::new("a.toml"), &[]);
            let shape =
                models::model_config(&config.expect("a configuration")).expect("a known format");
            shape.validate().expect("layers that fit together");
            assert_eq!((shape.n_dense(), shape.n_fields()), (n_dense, 22));
        }
    }
}

/// What earlier versions knew: what it measured is in the documentation, and nothing does it now.
#[test]
fn removed_settings_are_refused_by_name() {
    let removed = "was removed: measured gain in docs/figures.md; leave it out";
    for (key, value) in [
        ("hot", "\"residual\""),
        ("write_back", "0.5"),
        ("sketches", "\"per-field\""),
        ("slot_layout", "\"compact\""),
        ("rows_per_bucket", "4"),
    ] {
        let text = format!("{SMALL}[embedding.cafe]\n{key} = {value}\n");
        let refused = [
            Config::parse(&text, Path::new("a.toml"), &[]).err(),
            Config::parse_saved(&text, Path::new("a.toml")).err(),
        ];
        for error in refused {
            let message = error.expect("refused").to_string();
            assert!(message.contains(&format!("embedding.cafe.{key}: {removed}")), "{message}");
        }
    }
    let text = SMALL.to_owned() + "method = \"hash2\"\n";
    let message = Config::parse(&text, Path::new("a.toml"), &[]).expect_err("refused").to_string();
    assert!(
        message.contains("embedding.method: `hash2` is gone: use `hash` or `unified`"),
        "{message}"
    );
}

/// The values that earlier versions wrote out for what is done now anyway.
#[test]
fn settings_that_say_what_is_done_anyway_are_read_and_forgotten() {
    let plain = format!("{SMALL}[embedding.cafe]\nslots = 4\n");
    let in_full = format!(
        "{plain}hot = \"exclusive\"\nwrite_back = 0.0\nsketches = \"one\"\nslot_layout = \"full\"\n"
    );
    let parse = |text: &str| Config::parse(text, Path::new("a.toml"), &[]).expect("valid");
    assert_eq!(parse(&in_full).embedding.cafe, parse(&plain).embedding.cafe);
}

/// A report has the presets in full, so that the run can be repeated when they are others.
#[test]
fn a_preset_in_full_is_the_preset() {
    use crate::build::plan_embedding;
    use crate::config::cafe::{cafe_in_full, cafe_settings};
    let parse =
        |text: &str| Config::parse(text, Path::new("a.toml"), &[]).expect("a configuration");
    let embedding =
        |method: &str, more: &str| format!("{DATA}[embedding]\nmethod = \"{method}\"\n{more}");
    let cases = [
        "",
        "[embedding.cafe]\nmulti_level = true\n",
        "[embedding.cafe]\nrule = \"quota\"\nhysteresis = 1.5\n",
        "[embedding.cafe]\nrule = \"quota\"\ncold = \"coded\"\n",
    ];
    let ratios = [2.0, 10.0, 316.0, 317.0, 10_000.0].into_iter();
    for (ratio, more) in ratios.flat_map(|ratio| cases.map(|more| (ratio, more))) {
        let preset = parse(&embedding("cafe", &format!("compression = {ratio}\n{more}")));
        let Ok(plan) = plan_embedding(&preset) else { continue };
        let precision = serde_json::to_string(&plan.format.precision).expect("JSON");
        let table = toml::to_string(&cafe_in_full(&preset)).expect("TOML");
        let full =
            format!("compression = {ratio}\nprecision = {precision}\n[embedding.cafe]\n{table}");
        let full = parse(&embedding("cafe", &full));
        assert_eq!(cafe_settings(&full), cafe_settings(&preset), "{table}");
        assert_eq!(cafe_in_full(&full), cafe_in_full(&preset));
    }
}

#[test]
fn another_device_has_its_own_engine() {
    use dlrm_model::DeviceSpec::{Cpu, Cuda};
    let parse = |lines: &str| {
        Config::parse(&format!("{lines}{SMALL}"), Path::new("a.toml"), &[])
            .expect("a configuration")
    };
    for (lines, device, expected) in [
        ("device = \"cuda:0\"\n", Cpu, ["cpu", "native", "f32"]),
        ("device = \"cuda:0\"\n", Cuda(1), ["cuda:1", "candle", "f32"]),
        ("precision = \"bf16-emulated\"\n", Cuda(0), ["cuda:0", "candle", "f32"]),
        ("precision = \"bf16-emulated\"\n", Cpu, ["cpu", "native", "bf16-emulated"]),
        ("engine = \"candle\"\n", Cpu, ["cpu", "candle", "f32"]),
    ] {
        let moved = parse(lines).moved_to(device);
        assert_eq!([moved.device, moved.engine, moved.precision], expected, "{lines}{device}");
    }
}

/// What a run of an earlier version saved means what it meant: one rate and one optimizer, no
/// constant input, `signed`.
#[test]
fn a_saved_configuration_keeps_the_defaults_of_its_version() {
    let saved = "[data]\npath = \"rows\"\nformat = \"avazu\"\n[model]\nkind = \"dlrm\"\ntop = [512, 256, 1]\n\
                 [embedding]\nmethod = \"unified\"\ncompression = 100.0\n[embedding.unified]\nhashes = 1\nsigned = false\n\
                 field_rows = true\n[train]\noptimizer = \"adam\"\nlr = 0.003\n";
    let config = Config::parse_saved(saved, Path::new("a.toml")).expect("valid");
    let Config { train, model, embedding, .. } = &config;
    assert_eq!((train.lr, train.embedding_lr), (Some(0.003), Some(0.003)));
    assert_eq!(train.embedding_optimizer, Some(EmbeddingOptimizer::Adam));
    assert_eq!((model.constant_input, &model.bottom[..]), (Some(false), &[][..]));
    assert_eq!(
        (embedding.unified.signs, embedding.precision),
        (Signs::None, Some(RowPrecision::F32))
    );
    // Also where the rows' rate was given.
    let given = saved.replace("lr = 0.003", "lr = 0.003\nembedding_lr = 0.5");
    let train = Config::parse_saved(&given, Path::new("a.toml")).expect("valid").train;
    assert_eq!(
        (train.embedding_lr, train.embedding_optimizer),
        (Some(0.5), Some(EmbeddingOptimizer::Adam))
    );
    // As saved by this version it stays what it is, whatever the defaults.
    let text = toml::to_string(&config).expect("TOML");
    let again = Config::parse_saved(&text, Path::new("a.toml")).expect("valid");
    assert_eq!(toml::to_string(&again).expect("TOML"), text);
    // Given today, the same keys mean today's defaults.
    let today = Config::parse(saved, Path::new("a.toml"), &[]).expect("valid");
    assert_eq!(today.train.embedding_optimizer, Some(EmbeddingOptimizer::RowWiseAdagrad));
    assert_eq!(
        (today.train.embedding_lr, today.model.constant_input),
        (Some(0.1 / 22_f32.sqrt()), Some(true))
    );
}

/// The rate follows the optimizer that is chosen, and the widest layer; rows' follow the number of
/// fields.
#[test]
fn rates_follow_optimizers_and_sizes() {
    let rates = |more: &str| {
        let train = Config::parse(&format!("{SMALL}{more}"), Path::new("a.toml"), &[])
            .expect("valid")
            .train;
        (train.lr(), train.embedding_lr())
    };
    let of_26 = 0.1 / 26_f32.sqrt();
    for (more, expected) in [
        ("", (2.5 / 512.0, of_26)),
        ("[model]\nbottom = [64, 16]\ntop = [256, 1]\n", (2.5 / 256.0, of_26)),
        ("[model]\nbottom = [64, 16]\ntop = [64, 1]\n", (0.02, of_26)),
        ("[train]\noptimizer = \"sgd\"\n", (0.1, 0.1)),
        ("[train]\noptimizer = \"sgd\"\nlr = 0.5\n", (0.5, 0.5)),
        ("[train]\noptimizer = \"adam\"\n", (0.001, of_26)),
        (
            "[train]\noptimizer = \"adam\"\nembedding_optimizer = \"adam\"\nlr = 0.002\n",
            (0.002, 0.002),
        ),
        (
            "[train]\noptimizer = \"sgd\"\nembedding_optimizer = \"row-wise-adagrad\"\n",
            (0.1, of_26),
        ),
        ("[train]\nlr = 0.5\nembedding_lr = 0.25\n", (0.5, 0.25)),
        ("[train]\nembedding_optimizer = \"adagrad\"\nlr = 0.5\n", (0.5, of_26)),
    ] {
        assert_eq!(rates(more), expected, "{more}");
    }
}
