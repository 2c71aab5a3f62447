//! Reading a row and encoding it allocates nothing, once the buffers exist. A test binary of its
//! own, because it replaces the allocator.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../../cafe-core/tests/common/counting_allocator.rs"]
mod counting_allocator;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use criteo_io::{
    Batch, CachePlan, Categorical, Columns, Day, Dialect, Format, Kind, Label, Numeric, Prefetch,
    PrefetchConfig, Reader, Record, RecordSource,
};

use counting_allocator::allocations;

const BATCH_SIZE: usize = 100;
const N_WARM_UP: usize = 20;
const N_BATCHES: usize = 100;

fn write_rows(path: &Path, mut output: impl Write) -> PathBuf {
    for row in 0..BATCH_SIZE * (N_WARM_UP + 2 * N_BATCHES) {
        write!(output, "{}", row % 2).unwrap();
        for field in 0..13 {
            // Now and then an integer too long for the fast pass.
            let integer = if row % 50 == field { 1 << 40 } else { row * field % 3000 };
            write!(output, "\t{integer}").unwrap();
        }
        for field in 0..26 {
            write!(output, "\t{:08x}", row * 7919 * (field + 1)).unwrap();
        }
        writeln!(output).unwrap();
    }
    output.flush().unwrap();
    path.to_owned()
}

/// A table with quotes, reals, bags of up to four values and days.
fn write_table(path: &Path, mut output: impl Write) -> PathBuf {
    writeln!(output, "day,y,real,text,bag").unwrap();
    for row in 0..BATCH_SIZE * (N_WARM_UP + N_BATCHES) {
        // The first rows have the longest of everything.
        let n = if row < BATCH_SIZE { 3 } else { row % 4 };
        let bag = ["a", "bb", "ccc", "dddd"][..=n].join("|");
        writeln!(
            output,
            "{},{},{}.{row},\"quoted, {row:09}\",{bag}",
            row / 1000,
            row % 2,
            row % 90
        )
        .unwrap();
    }
    output.flush().unwrap();
    path.to_owned()
}

fn table() -> Dialect {
    let bag = Categorical { separator: Some('|'), ..Categorical::new("bag", Kind::String) };
    let columns = Columns {
        numeric: vec![Numeric::new("real")],
        categorical: vec![Categorical::new("text", Kind::String), bag],
        day: Some(Day { column: "day".into(), first: None, drop_last: 0 }),
        ..Columns::csv(Label::binary("y"))
    };
    Dialect::delimited(columns).unwrap()
}

/// Allocations while `step` is called for a hundred batches, after a warm-up.
fn count(mut step: impl FnMut()) -> usize {
    (0..N_WARM_UP).for_each(|_| step());
    allocations(|| (0..N_BATCHES).for_each(|_| step()))
}

fn read_directly(path: &Path) -> usize {
    read_from(&mut Reader::open(vec![path.to_owned()], Format::CriteoKaggle).unwrap())
}

fn read_cached(path: &Path) -> usize {
    let n_rows = (BATCH_SIZE * (N_WARM_UP + N_BATCHES)) as u64;
    let plan =
        CachePlan::new(vec![path.to_owned()], Format::CriteoKaggle, Some(n_rows), None).unwrap();
    read_from(&mut plan.build(&mut |_| {}).unwrap().rows())
}

fn read_from(reader: &mut dyn RecordSource) -> usize {
    let (mut record, mut batch) = (Record::default(), Batch::default());
    count(|| {
        batch.clear();
        for _ in 0..BATCH_SIZE {
            assert!(reader.read_record(&mut record).unwrap());
            batch.push(&record);
        }
    })
}

fn read_ahead(path: &Path) -> usize {
    let reader = Reader::open(vec![path.to_owned()], Format::CriteoKaggle).unwrap();
    let config = PrefetchConfig::new(BATCH_SIZE, 2);
    let mut prefetch = Prefetch::spawn(Box::new(reader), config);
    // Until every buffer was used once: four of them, all held at the same time.
    let held: Vec<_> = (0..4).map(|_| prefetch.next_batch().unwrap().unwrap()).collect();
    for batch in held {
        prefetch.recycle(batch);
    }
    count(|| {
        let batch = prefetch.next_batch().unwrap().unwrap();
        prefetch.recycle(batch);
    })
}

/// One test, because the count is of the whole process.
#[test]
fn reading_allocates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let create = |name: &str| {
        let path = directory.path().join(name);
        (File::create(&path).unwrap(), path)
    };
    let (file, path) = create("plain");
    let plain = write_rows(&path, std::io::BufWriter::new(file));
    let (file, path) = create("gzip");
    let level = flate2::Compression::fast();
    let gzip = write_rows(&path, flate2::write::GzEncoder::new(file, level));
    let (file, path) = create("zstd");
    let zstd = write_rows(&path, zstd::Encoder::new(file, 1).unwrap().auto_finish());
    for path in [plain, gzip, zstd] {
        assert_eq!(read_directly(&path), 0, "{}", path.display());
        assert_eq!(read_cached(&path), 0, "{}, cached", path.display());
        // The channel allocates where a thread waits for the first time, and there are two.
        let n_ahead = read_ahead(&path);
        assert!(n_ahead < 8, "{n_ahead} for {} ahead", path.display());
    }
    let (file, path) = create("table");
    let table_path = write_table(&path, std::io::BufWriter::new(file));
    assert_eq!(read_from(&mut Reader::open(vec![table_path], table()).unwrap()), 0, "described");
}
