//! Reads any CSV file into batches: describes its columns, counts malformed rows, and prints how
//! many rows and features it has.
//!
//! ```text
//! cargo run -p criteo-io --example read_csv -- shop.csv bought item,colour price
//! ```
//!
//! Arguments: the file, the label (0 or 1), the categorical columns, the numeric columns. Without
//! arguments a small file is generated.

#![allow(clippy::print_stdout, reason = "the output of the program")]

use std::collections::HashSet;
use std::error::Error;
use std::path::PathBuf;

use criteo_io::{
    BadRows, Categorical, Columns, Dialect, Kind, Label, Numeric, Prefetch, PrefetchConfig, Reader,
    SkipLimits,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = tempfile::tempdir()?;
    let (path, label, categorical, numeric) = match &arguments[..] {
        [path, label, categorical, numeric] => {
            (PathBuf::from(path), label.as_str(), categorical.as_str(), numeric.as_str())
        }
        [] => {
            let path = directory.path().join("shop.csv");
            let rows = "1,lamp,red,0.5\n0,desk,,80\n0,\"lamp, large\",red,\nyes,desk,blue,1\n";
            std::fs::write(&path, format!("bought,item,colour,price\n{rows}"))?;
            (path, "bought", "item,colour", "price")
        }
        _ => return Err("usage: read_csv [FILE LABEL CATEGORICAL,... NUMERIC,...]".into()),
    };
    let columns = Columns {
        numeric: numeric.split(',').map(Numeric::new).collect(),
        categorical: categorical.split(',').map(|it| Categorical::new(it, Kind::String)).collect(),
        ..Columns::csv(Label::binary(label))
    };
    let reader = Reader::open(vec![path], Dialect::delimited(columns)?)?;
    // Any share of malformed rows: a real program keeps the default limits.
    let limits = SkipLimits { max_rows: u64::MAX, max_fraction: 1.0 };
    let config = PrefetchConfig { bad_rows: BadRows::Skip(limits), ..PrefetchConfig::new(1024, 4) };
    let mut batches = Prefetch::spawn(Box::new(reader), config);
    let (mut n_positive, mut features) = (0.0, HashSet::new());
    while let Some(batch) = batches.next_batch()? {
        n_positive += batch.labels.iter().sum::<f32>();
        features.extend(batch.ids.iter().copied());
        batches.recycle(batch);
    }
    let pass = batches.pass();
    println!("{} rows, {n_positive} of them positive", pass.n_good());
    println!("{} features", features.len());
    println!("malformed rows: {} ({})", pass.bad_rows.total(), pass.bad_rows);
    Ok(())
}
