//! A million rows from the cache, against parsing the text they came from, and against copying as
//! many bytes as the cache has: no reader of it can be faster than that.
#![allow(missing_docs, reason = "the macros of criterion have none")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use criteo_io::{
    Batch, CachePlan, Format, Reader, Record, RecordSource, Synth, SynthConfig, write_record,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const N_ROWS: u64 = 1_000_000;
const BATCH_SIZE: usize = 2048;

/// The generated rows in files of both kinds.
fn write_files(directory: &tempfile::TempDir) -> [PathBuf; 2] {
    let paths = ["rows.tsv", "rows.tsv.gz"].map(|name| directory.path().join(name));
    let create = |path| BufWriter::new(File::create(path).expect("a file"));
    let mut plain = create(&paths[0]);
    let mut gzip = flate2::write::GzEncoder::new(create(&paths[1]), flate2::Compression::default());
    let mut synth = Synth::new(SynthConfig::default(), 0..N_ROWS);
    let (mut record, mut line) = (Record::default(), Vec::new());
    while synth.read_record(&mut record).expect("generated rows cannot fail") {
        line.clear();
        write_record(&record, &mut line);
        plain.write_all(&line).expect("written");
        gzip.write_all(&line).expect("written");
    }
    plain.flush().expect("written");
    gzip.finish().and_then(|mut file| file.flush()).expect("written");
    paths
}

fn read(source: &mut dyn RecordSource) -> u64 {
    let (mut record, mut n_rows) = (Record::default(), 0);
    while source.read_record(&mut record).expect("good rows") {
        std::hint::black_box(&record);
        n_rows += 1;
    }
    n_rows
}

fn read_and_encode(source: &mut dyn RecordSource) -> u64 {
    let (mut record, mut batch, mut n_rows) = (Record::default(), Batch::default(), 0);
    while source.read_record(&mut record).expect("good rows") {
        batch.push(&record);
        n_rows += 1;
        if batch.len() == BATCH_SIZE {
            std::hint::black_box(&batch);
            batch.clear();
        }
    }
    n_rows
}

fn cache(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let paths = write_files(&directory);
    let mut group = criterion.benchmark_group("cache");
    group.sample_size(10).throughput(Throughput::Elements(N_ROWS));
    for (path, kind) in paths.iter().zip(["plain", "gzip"]) {
        let open = || Reader::open(vec![path.clone()], Format::CriteoKaggle).expect("opened");
        group.bench_function(format!("parse {kind}"), |bencher| bencher.iter(|| read(&mut open())));
        let plan =
            CachePlan::new(vec![path.clone()], Format::CriteoKaggle, None, None).expect("planned");
        group.bench_function(format!("build from {kind}"), |bencher| {
            bencher.iter(|| plan.build(&mut |_| {}).expect("built"));
        });
    }
    let [path, _] = paths;
    let plan =
        CachePlan::new(vec![path.clone()], Format::CriteoKaggle, None, None).expect("planned");
    let cache = plan.open().expect("built");
    group.bench_function("open", |bencher| bencher.iter(|| plan.open().expect("good")));
    group.bench_function("read", |bencher| bencher.iter(|| read(&mut cache.rows())));
    group.bench_function("read and encode", |bencher| {
        bencher.iter(|| read_and_encode(&mut cache.rows()));
    });
    group.bench_function("parse plain and encode", |bencher| {
        let open = || Reader::open(vec![path.clone()], Format::CriteoKaggle).expect("opened");
        bencher.iter(|| read_and_encode(&mut open()));
    });
    let (from, mut to) =
        (vec![1_u8; cache.n_bytes() as usize], vec![0_u8; cache.n_bytes() as usize]);
    group.bench_function("limit: copy the bytes", |bencher| {
        bencher.iter(|| std::hint::black_box(&mut to).copy_from_slice(std::hint::black_box(&from)));
    });
    group.finish();
}

criterion_group!(benches, cache);
criterion_main!(benches);
