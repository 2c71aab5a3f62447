//! Text to records: the parser alone, decompression alone, and both on one thread and on two. The
//! limits, a copy and a search for line feeds over the same bytes, are measured in the same run.
//!
//! Throughput is in bytes of text, whatever the compression.
#![allow(missing_docs, reason = "the macros of criterion have none")]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use criteo_io::{
    Categorical, Columns, Dialect, Format, Kind, Label, Numeric, Prefetch, PrefetchConfig, Reader,
    Record, RecordSource, RowWriter, Schema, Synth, SynthConfig, parse_line, write_record,
};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

const N_ROWS: u64 = 130_000;
const BUFFER_BYTES: usize = 256 << 10;

/// Generated rows as text; `edit` changes each before it is written.
fn text(mut edit: impl FnMut(&mut Record)) -> Vec<u8> {
    let mut rows = Synth::new(SynthConfig::default(), 0..N_ROWS);
    let (mut record, mut text) = (Record::default(), Vec::new());
    while rows.read_record(&mut record).expect("generated rows cannot fail") {
        edit(&mut record);
        write_record(&record, &mut text);
    }
    text
}

/// As wide as rows of the Terabyte log get: no value is missing.
fn fill_in(record: &mut Record) {
    for (field, integer) in record.integers.iter_mut().enumerate() {
        integer.get_or_insert(field as i64 * 97);
    }
    for (field, token) in record.tokens.iter_mut().enumerate() {
        token.get_or_insert(0x9e37_79b9_u32.wrapping_mul(field as u32 + 1));
    }
}

fn parse_all(text: &[u8], schema: &Schema, record: &mut Record) -> usize {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text) {
        parse_line(&text[start..end], schema, record).expect("good rows");
        black_box(&*record);
        start = end + 1;
    }
    start
}

/// Decompresses and parses by turns on this thread, as a reader without a second one would.
fn parse_stream(mut input: impl Read, schema: &Schema) {
    let (mut buffer, mut n_bytes) = (vec![0; BUFFER_BYTES], 0);
    let mut record = Record::default();
    loop {
        let n_read = input.read(&mut buffer[n_bytes..]).expect("good data");
        if n_read == 0 {
            return;
        }
        n_bytes += n_read;
        let n_parsed = parse_all(&buffer[..n_bytes], schema, &mut record);
        buffer.copy_within(n_parsed..n_bytes, 0);
        n_bytes -= n_parsed;
    }
}

/// The obvious program: the `csv` crate splits, the standard library reads the numbers.
fn parse_by_csv(text: &[u8]) {
    let mut builder = csv::ReaderBuilder::new();
    let mut reader = builder.delimiter(b'\t').quoting(false).has_headers(false).from_reader(text);
    let mut row = csv::StringRecord::new();
    let mut record = Record::default();
    while reader.read_record(&mut row).expect("good rows") {
        record.clicked = &row[0] == "1";
        record.integers.clear();
        record.integers.extend(row.iter().skip(1).take(13).map(|text| text.parse::<i64>().ok()));
        record.tokens.clear();
        record.tokens.extend(row.iter().skip(14).map(|text| u32::from_str_radix(text, 16).ok()));
        black_box(&record);
    }
}

fn read_all(path: &Path) {
    read_as(path, Format::CriteoKaggle);
}

fn read_as(path: &Path, dialect: impl Into<Dialect>) {
    let mut reader = Reader::open(vec![path.to_owned()], dialect).expect("opened");
    let mut record = Record::default();
    while reader.read_record(&mut record).expect("good rows") {
        black_box(&record);
    }
}

/// All of the way to batches, with parsing and encoding on the reader's thread.
fn prefetch_all(path: &Path) {
    let reader = Reader::open(vec![path.to_owned()], Format::CriteoKaggle).expect("opened");
    let config = PrefetchConfig::new(2048, 4);
    let mut prefetch = Prefetch::spawn(Box::new(reader), config);
    while let Some(batch) = prefetch.next_batch().expect("good rows") {
        prefetch.recycle(black_box(batch));
    }
}

type Inflate = fn(&Path) -> Box<dyn Read>;

fn gunzip(path: &Path) -> impl Read + use<> {
    flate2::read::GzDecoder::new(File::open(path).expect("a file"))
}

fn unzstd(path: &Path) -> impl Read + use<> {
    zstd::Decoder::new(File::open(path).expect("a file")).expect("a decoder")
}

fn drain(mut input: impl Read) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while input.read(&mut buffer).expect("good data") > 0 {
        black_box(&buffer);
    }
}

fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    text: &[u8],
) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Bytes(text.len() as u64));
    group
}

/// The limits of memory: the bytes copied, and searched once.
fn limits(group: &mut BenchmarkGroup<'_, WallTime>, from: &[u8]) {
    let mut to = from.to_vec();
    group.bench_function("limit: copy", |bencher| {
        bencher.iter(|| black_box(&mut to).copy_from_slice(black_box(from)));
    });
    group.bench_function("limit: find line feeds", |bencher| {
        bencher.iter(|| memchr::memchr_iter(b'\n', black_box(from)).map(black_box).count());
    });
}

fn parse(criterion: &mut Criterion) {
    let (schema, mut record) = (Format::CriteoKaggle.schema(), Record::default());
    for (name, text) in [("parse", text(|_| ())), ("parse, nothing missing", text(fill_in))] {
        let mut group = group(criterion, name, &text);
        limits(&mut group, &text);
        group.bench_function("parse_line", |bencher| {
            bencher.iter(|| parse_all(&text, &schema, &mut record));
        });
        group.bench_function("csv", |bencher| bencher.iter(|| parse_by_csv(&text)));
        group.finish();
    }
}

fn files(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let text = text(|_| ());
    let create = |name: &str| {
        let path = directory.path().join(name);
        (File::create(&path).expect("a file"), path)
    };
    let (mut file, plain) = create("rows.tsv");
    file.write_all(&text).expect("written");
    let (file, gzip) = create("rows.tsv.gz");
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    encoder.write_all(&text).and_then(|()| encoder.finish()).expect("written");
    let (file, zstd) = create("rows.tsv.zst");
    zstd::stream::copy_encode(&text[..], file, 3).expect("written");

    let schema = Format::CriteoKaggle.schema();
    let compressed: [(&str, &PathBuf, Inflate); 2] = [
        ("gzip", &gzip, |path| Box::new(gunzip(path))),
        ("zstd", &zstd, |path| Box::new(unzstd(path))),
    ];
    for (name, path, inflate) in compressed {
        let mut group = group(criterion, name, &text);
        group.bench_function("limit: decompress", |bencher| bencher.iter(|| drain(inflate(path))));
        group.bench_function("parse, one thread", |bencher| {
            bencher.iter(|| parse_stream(inflate(path), &schema));
        });
        group.bench_function("Reader", |bencher| bencher.iter(|| read_all(path)));
        group.bench_function("Prefetch", |bencher| bencher.iter(|| prefetch_all(path)));
        group.finish();
    }
    let mut group = group(criterion, "plain", &text);
    limits(&mut group, &text);
    group.bench_function("Reader", |bencher| bencher.iter(|| read_all(&plain)));
    group.bench_function("Prefetch", |bencher| bencher.iter(|| prefetch_all(&plain)));
    group.finish();
}

/// Criteo's dialect by description, to be read by the `csv` crate's state machine.
fn described() -> Dialect {
    let names: Vec<String> = (1..=40).map(|column| format!("c{column}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let columns = Columns {
        numeric: names[1..14].iter().map(|&name| Numeric::new(name)).collect(),
        categorical: names[14..].iter().map(|&name| Categorical::new(name, Kind::Hex)).collect(),
        ..Columns::tsv(&names, Label::binary(names[0]))
    };
    Dialect::delimited(columns).expect("a good description")
}

/// Rows as Avazu has them.
fn avazu_text() -> Vec<u8> {
    let mut rows = Synth::new(SynthConfig::default(), 0..N_ROWS);
    let mut writer = RowWriter::new(Format::Avazu, SynthConfig::default(), 0);
    let (mut record, mut text) = (Record::default(), Vec::new());
    writer.write_header(&mut text);
    while rows.read_record(&mut record).expect("generated rows cannot fail") {
        writer.write(&record, &mut text);
    }
    text
}

/// The splitter of described tables alone: the `csv` crate over a file.
fn split_by_csv(path: &Path, delimiter: u8) {
    let mut builder = csv::ReaderBuilder::new();
    let builder = builder.delimiter(delimiter).has_headers(false).buffer_capacity(BUFFER_BYTES);
    let mut reader = builder.from_path(path).expect("a file");
    let mut row = csv::ByteRecord::new();
    while reader.read_byte_record(&mut row).expect("good rows") {
        black_box(&row);
    }
}

fn tables(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let tables = [
        ("described: Criteo's columns", text(|_| ()), described(), b'\t'),
        ("described: Avazu", avazu_text(), Format::Avazu.into(), b','),
    ];
    for (name, text, dialect, delimiter) in tables {
        let path = directory.path().join("rows");
        std::fs::write(&path, &text).expect("written");
        let mut group = group(criterion, name, &text);
        group.bench_function("limit: csv splits", |bencher| {
            bencher.iter(|| split_by_csv(&path, delimiter));
        });
        group.bench_function("Reader", |bencher| bencher.iter(|| read_as(&path, dialect.clone())));
        let paths = [path.clone()];
        group.bench_function("count_rows", |bencher| {
            bencher.iter(|| dialect.count_rows(&paths, None).expect("good rows"));
        });
        group.finish();
    }
}

criterion_group!(benches, parse, files, tables);
criterion_main!(benches);
