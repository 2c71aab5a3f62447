//! The cache of rows: it returns the parsed rows, or the reason why not.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use criteo_io::{
    Cache, CacheError, CacheFault, CachePlan, Format, ReadError, Reader, Record, RecordSource,
    Synth, SynthConfig, write_record,
};
use proptest::collection::vec;
use proptest::prelude::*;

const KAGGLE: Format = Format::CriteoKaggle;

/// Rows `rows` of a generated log, as text.
fn text(rows: std::ops::Range<u64>) -> Vec<u8> {
    let mut synth = Synth::new(SynthConfig { seed: 3, rows_per_day: 1000 }, rows);
    let (mut record, mut text) = (Record::default(), Vec::new());
    while synth.read_record(&mut record).unwrap() {
        write_record(&record, &mut text);
    }
    text
}

fn records(source: &mut dyn RecordSource) -> Vec<Record> {
    let (mut record, mut all) = (Record::default(), Vec::new());
    while source.read_record(&mut record).unwrap() {
        all.push(record.clone());
    }
    assert!(!source.read_record(&mut record).unwrap(), "the end stays the end");
    all
}

fn parsed(paths: &[PathBuf]) -> Vec<Record> {
    records(&mut Reader::open(paths.to_vec(), KAGGLE).unwrap())
}

fn plan(paths: &[PathBuf]) -> CachePlan {
    CachePlan::new(paths.to_vec(), KAGGLE, None, None).unwrap()
}

fn build(plan: &CachePlan) -> Cache {
    plan.build(&mut |_| {}).unwrap()
}

/// A directory with `n_rows` rows in one file, and the plan of its cache.
fn one_file(n_rows: u64) -> (tempfile::TempDir, PathBuf, CachePlan) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.tsv");
    fs::write(&path, text(0..n_rows)).unwrap();
    let plan = plan(std::slice::from_ref(&path));
    (directory, path, plan)
}

/// Replaces the file of the cache by one with `bytes`, as a cache is read-only.
fn replace(plan: &CachePlan, bytes: &[u8]) {
    fs::remove_file(plan.file()).unwrap();
    fs::write(plan.file(), bytes).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

fn record(wide: bool) -> impl Strategy<Value = Record> {
    let integer =
        prop_oneof![any::<i32>().prop_map(i64::from), Just(i64::MIN), Just(i64::MAX), any::<i64>()];
    let integer = integer.prop_map(move |value| if wide { value } else { i64::from(value as i32) });
    let (integers, tokens) =
        (vec(prop::option::of(integer), 13), vec(prop::option::of(any::<u32>()), 26));
    let parts = (any::<bool>(), integers, tokens);
    parts.prop_map(|(clicked, integers, tokens)| Record {
        clicked,
        integers,
        tokens,
        ..Record::default()
    })
}

fn some_records() -> impl Strategy<Value = Vec<Record>> {
    any::<bool>().prop_flat_map(|wide| vec(record(wide), 1..40))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cached_rows_are_the_parsed_rows(
        records_in in some_records(),
        n_skipped in 0_u64..50,
        terabyte: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows.tsv");
        let mut text = Vec::new();
        for record in &records_in {
            write_record(record, &mut text);
        }
        fs::write(&path, text).unwrap();
        let format = if terabyte { Format::CriteoTerabyte } else { KAGGLE };
        let plan = CachePlan::new(vec![path], format, None, None).unwrap();
        build(&plan);
        let cache = plan.open().unwrap();
        prop_assert_eq!(cache.n_rows(), records_in.len() as u64);
        prop_assert_eq!(records(&mut cache.rows()), records_in.clone());
        let mut rows = cache.rows();
        let n_there = n_skipped.min(cache.n_rows());
        prop_assert_eq!(rows.skip_records(n_skipped).unwrap(), n_there);
        prop_assert_eq!(records(&mut rows), records_in[n_there as usize..].to_vec());
    }
}

/// More than two blocks, in a plain, a gzip and a zstd file.
#[test]
fn files_of_any_compression_share_a_cache() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["day_0", "day_1.gz", "day_2.zst"].map(|name| directory.path().join(name));
    fs::write(&paths[0], text(0..1000)).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(
        File::create(&paths[1]).unwrap(),
        flate2::Compression::fast(),
    );
    gzip.write_all(&text(1000..1900)).unwrap();
    gzip.finish().unwrap();
    fs::write(&paths[2], zstd::encode_all(&text(1900..2500)[..], 1).unwrap()).unwrap();

    let plan = plan(&paths);
    let mut n_reported = 0;
    let built = plan.build(&mut |n_rows| n_reported = n_rows).unwrap();
    let (cache, expected) = (plan.open().unwrap(), parsed(&paths));
    assert_eq!((expected.len(), cache.n_rows(), n_reported), (2500, 2500, 2048));
    assert_eq!(cache.n_bytes(), plan.file().metadata().unwrap().len());
    assert_eq!(plan.file().parent(), Some(directory.path()));
    assert_eq!(records(&mut built.rows()), expected);
    assert_eq!(records(&mut cache.rows()), expected);
    for n_skipped in [1, 1023, 1024, 1025, 2047, 2048, 2499, 2500, 2501, u64::MAX] {
        let mut rows = cache.rows();
        let mut record = Record::default();
        assert!(rows.read_record(&mut record).unwrap());
        assert_eq!(rows.skip_records(n_skipped).unwrap(), n_skipped.min(2499));
        let start = n_skipped.min(2499) as usize + 1;
        assert_eq!(records(&mut rows), expected[start..], "{n_skipped}");
    }
}

#[test]
fn each_list_and_format_has_its_own_cache() {
    let (directory, first, _) = one_file(3);
    let second = directory.path().join("second.tsv");
    fs::write(&second, text(3..5)).unwrap();
    let elsewhere = directory.path().join("caches");
    let dir = Some(elsewhere.as_path());
    let lists = [vec![first.clone()], vec![first.clone(), second.clone()], vec![second, first]];
    for paths in &lists {
        for format in [KAGGLE, Format::CriteoTerabyte] {
            CachePlan::new(paths.clone(), format, None, dir).unwrap().build(&mut |_| {}).unwrap();
        }
    }
    assert_eq!(
        names(&elsewhere).len(),
        6,
        "one file for each list and format: {:?}",
        names(&elsewhere)
    );
    for paths in &lists {
        let cache = CachePlan::new(paths.clone(), KAGGLE, None, dir).unwrap().open().unwrap();
        assert_eq!(records(&mut cache.rows()), parsed(paths));
    }
}

#[test]
fn every_changed_byte_and_length_is_found() {
    let (_directory, _, plan) = one_file(3);
    build(&plan);
    let good = fs::read(plan.file()).unwrap();
    plan.open().unwrap();
    for idx in 0..good.len() {
        for mask in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[idx] ^= mask;
            replace(&plan, &bytes);
            assert!(plan.open().is_err(), "byte {idx} of {}, mask {mask:#x}", good.len());
        }
    }
    for n_bytes in 0..good.len() {
        replace(&plan, &good[..n_bytes]);
        assert!(plan.open().is_err(), "cut to {n_bytes} of {}", good.len());
    }
    replace(&plan, &[&good[..], &[0]].concat());
    assert!(matches!(plan.open(), Err(CacheFault::Length { .. })));
    replace(&plan, &good);
    plan.open().unwrap();
}

#[test]
fn damaged_and_swapped_blocks_are_found() {
    let (_directory, _, plan) = one_file(2500);
    build(&plan);
    let good = fs::read(plan.file()).unwrap();
    for idx in (0..good.len()).step_by(9973) {
        let mut bytes = good.clone();
        bytes[idx] ^= 0x10;
        replace(&plan, &bytes);
        assert!(plan.open().is_err(), "byte {idx}");
    }
    let block_bytes = 1024 * 164 + 4;
    let header_bytes = good.len() - (2500 * 164 + 3 * 4);
    let (header, blocks) = good.split_at(header_bytes);
    let swapped = [
        header,
        &blocks[block_bytes..2 * block_bytes],
        &blocks[..block_bytes],
        &blocks[2 * block_bytes..],
    ];
    replace(&plan, &swapped.concat());
    assert!(matches!(plan.open(), Err(CacheFault::DamagedRows { first: 0, last: 1023 })));
}

#[test]
fn stale_foreign_and_damaged_caches_are_distinguished() {
    let (directory, path, plan) = one_file(3);
    assert!(matches!(plan.open(), Err(CacheFault::Absent)));
    build(&plan);
    let good = fs::read(plan.file()).unwrap();

    let mut future = good.clone();
    future[8] = 5;
    replace(&plan, &future);
    let fault = plan.open().unwrap_err();
    assert_eq!(fault.to_string(), "it is of version 5, and this program reads version 4");
    replace(&plan, b"1\t2\t3 and more than sixteen bytes");
    assert!(matches!(plan.open(), Err(CacheFault::NotACache)));
    let other = directory.path().join("other.tsv");
    fs::write(&other, text(0..3)).unwrap();
    let other_plan = self::plan(&[other]);
    build(&other_plan);
    replace(&plan, &fs::read(other_plan.file()).unwrap());
    assert!(matches!(plan.open(), Err(CacheFault::Foreign)));
    replace(&plan, &good);

    let stale = |fault: CacheFault| match fault {
        CacheFault::Stale { file } => file.ends_with("rows.tsv"),
        _ => false,
    };
    let before = path.metadata().unwrap().modified().unwrap();
    let set_time = |time: SystemTime| {
        File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    let again = || self::plan(std::slice::from_ref(&path)).open();
    set_time(before + Duration::from_millis(1));
    assert!(stale(again().unwrap_err()), "another time");
    set_time(before);
    again().unwrap();
    let rows = text(0..3);
    for change in [0, rows.len() - 2] {
        let mut changed = rows.clone();
        changed[change] ^= 1;
        fs::write(&path, &changed).unwrap();
        set_time(before);
        assert!(stale(again().unwrap_err()), "byte {change}, same length and time");
    }
    fs::write(&path, text(0..4)).unwrap();
    let plan = self::plan(std::slice::from_ref(&path));
    assert!(stale(plan.open().unwrap_err()), "longer");
    build(&plan);
    assert_eq!(records(&mut plan.open().unwrap().rows()), parsed(&[path]));
}

#[test]
fn cache_of_first_rows_is_valid_for_fewer_rows() {
    let (_directory, path, _) = one_file(2000);
    let wanting = |n_rows| CachePlan::new(vec![path.clone()], KAGGLE, n_rows, None).unwrap();
    let rows = |plan: &CachePlan| records(&mut plan.open().unwrap().rows());
    let expected = parsed(std::slice::from_ref(&path));
    build(&wanting(Some(1500)));
    assert_eq!(rows(&wanting(Some(1500))), expected[..1500]);
    assert_eq!(rows(&wanting(Some(10))), expected[..10]);
    for n_rows in [Some(1501), None] {
        assert!(matches!(wanting(n_rows).open(), Err(CacheFault::TooFewRows { n_rows: 1500 })));
    }
    build(&wanting(Some(3000)));
    assert_eq!(rows(&wanting(None)), expected, "there were no more");
    assert_eq!(wanting(Some(3000)).open().unwrap().n_rows(), 2000);
}

#[test]
fn failed_build_keeps_the_old_cache() {
    let (directory, path, plan) = one_file(1500);
    build(&plan);
    let before = names(directory.path());
    let good = fs::read(plan.file()).unwrap();
    fs::write(&path, [&text(0..1500)[..], b"2\tno row\n"].concat()).unwrap();
    let failed = self::plan(std::slice::from_ref(&path)).build(&mut |_| {});
    assert!(
        matches!(failed, Err(CacheError::Input(ReadError::Row { line: 1501, .. }))),
        "{failed:?}"
    );
    assert_eq!(names(directory.path()), before);
    assert_eq!(fs::read(plan.file()).unwrap(), good);

    fs::write(&path, text(0..1500)).unwrap();
    let plan = self::plan(std::slice::from_ref(&path));
    let meddled = plan.build(&mut |_| fs::write(&path, text(0..1501)).unwrap());
    let is_stale =
        matches!(meddled, Err(CacheError::Unusable { fault: CacheFault::Stale { .. }, .. }));
    assert!(is_stale, "the input changed meanwhile: {meddled:?}");
    assert_eq!(names(directory.path()), before);
}

#[test]
fn abandoned_temporary_files_are_removed() {
    let (directory, _, plan) = one_file(3);
    let name = plan.file().file_name().unwrap().to_str().unwrap();
    let old = SystemTime::now() - Duration::from_secs(7200);
    for (file, time) in [
        (format!("{name}.abc.tmp"), old),
        (format!("{name}.new.tmp"), SystemTime::now()),
        ("other.rows.abc.tmp".to_owned(), old),
    ] {
        File::create(directory.path().join(file)).unwrap().set_modified(time).unwrap();
    }
    build(&plan);
    let expected = ["other.rows.abc.tmp", "rows.tsv", name, &format!("{name}.new.tmp")];
    assert_eq!(names(directory.path()), expected);
}

#[test]
fn concurrent_builds_succeed() {
    let (directory, path, plan) = one_file(3000);
    let expected = parsed(std::slice::from_ref(&path));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(records(&mut build(&plan).rows()), expected));
        }
    });
    assert_eq!(records(&mut plan.open().unwrap().rows()), expected);
    assert_eq!(names(directory.path()).len(), 2, "{:?}", names(directory.path()));
}

#[test]
fn cache_replaced_in_use_is_read_to_its_end() {
    let (_directory, path, plan) = one_file(3000);
    let expected = parsed(std::slice::from_ref(&path));
    let mut rows = build(&plan).rows();
    assert_eq!(rows.skip_records(1).unwrap(), 1);
    build(&plan);
    assert_eq!(records(&mut rows), expected[1..]);
    fs::remove_file(plan.file()).unwrap();
    let mut rows = build(&plan).rows();
    fs::remove_file(plan.file()).unwrap();
    assert_eq!(records(&mut rows), expected);
}

#[cfg(unix)]
#[test]
fn change_in_place_is_noticed_at_the_next_block() {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    let (_directory, _, plan) = one_file(3000);
    let changes: [fn(&File); 2] = [
        |file| file.set_len(400_000).unwrap(),
        |file| file.write_all_at(b"other", 400_000).unwrap(),
    ];
    for change in changes {
        build(&plan);
        let permissions = plan.file().metadata().unwrap().permissions();
        assert!(permissions.readonly(), "a cache is read-only");
        let mut rows = plan.open().unwrap().rows();
        let mut record = Record::default();
        assert!(rows.read_record(&mut record).unwrap());
        fs::set_permissions(plan.file(), fs::Permissions::from_mode(0o644)).unwrap();
        change(&File::options().write(true).open(plan.file()).unwrap());
        for _ in 1..2048 {
            assert!(rows.read_record(&mut record).unwrap());
        }
        let error = rows.read_record(&mut record).unwrap_err();
        assert!(matches!(error, ReadError::Cache { .. }) && error.is_data_error(), "{error}");
        assert!(!rows.read_record(&mut record).unwrap(), "the stream has ended");
        assert!(plan.open().is_err());
    }
}

#[test]
fn uncacheable_inputs_are_refused() {
    let (directory, path, _) = one_file(3);
    let read_once = CachePlan::new(vec![path.clone(), "-".into()], KAGGLE, None, None);
    assert!(matches!(read_once, Err(ReadError::ReadOnce { .. })));
    assert!(matches!(CachePlan::new(Vec::new(), KAGGLE, None, None), Err(ReadError::NoFiles)));
    let absent = CachePlan::new(vec![directory.path().join("absent")], KAGGLE, None, None);
    assert!(matches!(absent, Err(ReadError::Missing { .. })));
    // A file in place of a directory: unlike a directory without permission, that also stops root.
    let plan =
        CachePlan::new(vec![path.clone()], KAGGLE, None, Some(&path.join("caches"))).unwrap();
    assert!(matches!(plan.build(&mut |_| {}), Err(CacheError::Directory { .. })));
}
