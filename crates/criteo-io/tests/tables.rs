//! Described tables: the records read from them, and every fault with its exact message; plain and
//! compressed, and at every boundary of the buffer.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use criteo_io::{
    Batch, Categorical, Column, Columns, Day, Dialect, Format, Kind, Label, Numeric, Reader,
    Record, RecordSource, Transform, hash_text,
};

/// A temporary directory for files of any content.
struct TestDir(tempfile::TempDir);

impl TestDir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// A shop's table: quoted names of things, ages, prices, tags, a date.
fn shop() -> Columns {
    toml::from_str(
        r#"
        label = { column = "bought", positive = ["yes"], negative = ["no"] }
        numeric = ["age", { column = "price", transform = "none", missing = ["free"] }]
        categorical = [
            "item",
            { column = "shop", kind = "integer" },
            { column = "tags", separator = "|" },
            { column = "colour", kind = "hex" },
        ]
        missing = ["", "NA"]
        day = { column = "time", first = 10 }
        "#,
    )
    .unwrap()
}

const HEADER: &str = "id,time,item,bought,age,price,shop,tags,colour\n";
const ROWS: &str = "\
    1,2024-01-01 10:00,\"a, \"\"b\"\"\nc\",yes,3,0.5,17,red|blue,0000001f\n\
    2,2024-01-01 11:00,NA,no,,free,-1,,\n\
    3,2024-01-02 00:00,d,no,-7,NA,4294967296,NA|red||red,FFFFFFFF\n";

fn shop_records() -> [Record; 3] {
    let text = |text: &str| Some(hash_text(text.as_bytes()));
    let first = Record {
        clicked: true,
        dense: vec![4_f64.ln() as f32, 0.5],
        tokens: vec![text("a, \"b\"\nc"), Some(17), text("red"), text("blue"), Some(0x1f)],
        bag_ends: vec![1, 2, 4, 5],
        day: Some(0),
        ..Record::default()
    };
    let second = Record {
        dense: vec![0.0, 0.0],
        tokens: vec![None, text("-1"), None, None],
        bag_ends: vec![1, 2, 3, 4],
        day: Some(0),
        ..Record::default()
    };
    let third = Record {
        dense: vec![0.0, 0.0],
        tokens: vec![text("d"), text("4294967296"), text("red"), text("red"), Some(u32::MAX)],
        bag_ends: vec![1, 2, 4, 5],
        day: Some(1),
        ..Record::default()
    };
    [first, second, third]
}

fn dialect(columns: Columns) -> Dialect {
    Dialect::delimited(columns).unwrap()
}

fn records(source: &mut dyn RecordSource) -> Vec<Record> {
    let (mut record, mut all) = (Record::default(), Vec::new());
    while source.read_record(&mut record).unwrap() {
        all.push(record.clone());
    }
    assert!(!source.read_record(&mut record).unwrap(), "the end stays the end");
    all
}

fn read(paths: &[PathBuf], dialect: impl Into<Dialect>) -> Vec<Record> {
    records(&mut Reader::open(paths.to_vec(), dialect).unwrap())
}

/// The first error of a file: rows before it, and the message with FILE in place of the path.
fn outcome(path: &Path, columns: &Columns, n_bytes: Option<usize>) -> (u64, String) {
    let mut reader = Reader::open(vec![path.to_owned()], dialect(columns.clone())).unwrap();
    if let Some(n_bytes) = n_bytes {
        reader = reader.with_buffer_bytes(n_bytes);
    }
    let (mut record, mut n_rows) = (Record::default(), 0);
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => n_rows += 1,
            Ok(false) => return (n_rows, "no error".to_owned()),
            Err(error) => {
                return (n_rows, error.to_string().replace(path.to_str().unwrap(), "FILE"));
            }
        }
    }
}

/// The message of a malformed row, with its advice.
fn advised(what: &str, line: u64) -> String {
    format!(
        "{what}; mend or drop line {line}, or set data.bad_rows = \"skip\" to count and skip such \
         rows"
    )
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn quotes_bags_numbers_and_days() {
    let dir = TestDir::new();
    for (name, end, mark) in [("a", "\n", ""), ("b", "\r\n", ""), ("c", "\n", "\u{feff}")] {
        let path =
            dir.write(name, mark.to_owned() + &(HEADER.to_owned() + ROWS).replace('\n', end));
        let mut expected = shop_records();
        if end == "\r\n" {
            expected[0].tokens[0] = Some(hash_text(b"a, \"b\"\r\nc"));
        }
        assert_eq!(read(std::slice::from_ref(&path), dialect(shop())), expected);
        for n_bytes in 1..200 {
            let reader = Reader::open(vec![path.clone()], dialect(shop())).unwrap();
            assert_eq!(records(&mut reader.with_buffer_bytes(n_bytes)), expected, "{n_bytes}");
        }
        assert_eq!(dialect(shop()).count_rows(std::slice::from_ref(&path), None).unwrap(), 3);
        assert_eq!(dialect(shop()).count_rows(&[path], Some(2)).unwrap(), 2);
    }
}

#[test]
fn batches_hold_the_bags_of_all_rows() {
    let mut batch = Batch::default();
    for record in &shop_records() {
        batch.push(record);
    }
    assert_eq!(batch.bag_ends, [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14]);
    assert_eq!(batch.days, [0, 0, 1]);
    assert_eq!(batch.dense, [4_f64.ln() as f32, 0.5, 0.0, 0.0, 0.0, 0.0]);
}

/// Each file has a header in its own order; days continue from one file to the next.
#[test]
fn files_may_differ_in_compression_and_header_order() {
    let dir = TestDir::new();
    let header = "colour,tags,shop,price,age,bought,item,time\n";
    let other = "NA,x,1,2,3,yes,e,2024-01-02 10:00\n,,2,,,no,f,2024-01-03 10:00\n";
    let paths = [
        dir.write("a.csv", HEADER.to_owned() + ROWS),
        dir.write("b.csv.gz", gzip((header.to_owned() + other).as_bytes())),
        dir.write("only a header", HEADER),
        dir.write("c.csv.zst", zstd::encode_all((HEADER.to_owned() + ROWS).as_bytes(), 1).unwrap()),
    ];
    let all = read(&paths, dialect(shop()));
    assert_eq!(
        all.iter().map(|record| record.day.unwrap()).collect::<Vec<_>>(),
        [0, 0, 1, 1, 2, 3, 3, 4]
    );
    assert_eq!(all[..3], shop_records());
    let text = |text: &str| Some(hash_text(text.as_bytes()));
    assert_eq!(all[3].tokens, [text("e"), Some(1), text("x"), None]);
    assert_eq!(all[3].dense, [4_f64.ln() as f32, 2.0]);
    assert!(all[3].clicked && !all[4].clicked);
    assert_eq!(all[5].tokens, shop_records()[0].tokens);
    assert_eq!(dialect(shop()).count_rows(&paths, None).unwrap(), 8);
    // Days are counted in skipped rows as well.
    for n_skipped in 0..8 {
        let mut reader = Reader::open(paths.to_vec(), dialect(shop())).unwrap();
        assert_eq!(reader.skip_records(n_skipped).unwrap(), n_skipped);
        assert_eq!(records(&mut reader), all[n_skipped as usize..]);
    }
}

#[test]
fn columns_without_names_are_numbered() {
    let dir = TestDir::new();
    let path = dir.write("a", "1;x;3\n0;\"y\";4\n\n1;z;5");
    let columns = Columns {
        delimiter: ';',
        header: false,
        quoting: false,
        numeric: vec![Numeric::new(3)],
        categorical: vec![Categorical::new(2, Kind::String)],
        ..Columns::csv(Label::binary(1))
    };
    let found = read(std::slice::from_ref(&path), dialect(columns.clone()));
    let tokens: Vec<_> = found.iter().map(|record| record.tokens[0].unwrap()).collect();
    assert_eq!(tokens, [&b"x"[..], b"\"y\"", b"z"].map(hash_text));
    assert_eq!(found.iter().map(|record| record.clicked).collect::<Vec<_>>(), [true, false, true]);
    assert!(found.iter().all(|record| record.day.is_none() && record.bag_ends.is_empty()));

    let path = dir.write("b", "1;x;3\n0;y\n");
    let expected = advised("FILE:2:4: expected 3 columns, got 2", 2);
    assert_eq!(outcome(&path, &columns, None), (1, expected));
    let path = dir.write("c", "1;x\n");
    let expected =
        "FILE:1:1: there is no column number 3; there are 2 columns; check the delimiter";
    assert_eq!(outcome(&path, &columns, None), (0, expected.to_owned()));
    let named = Columns { names: ["y", "a", "b"].map(str::to_owned).to_vec(), ..columns };
    let path = dir.write("d", "1;x;-");
    let expected = advised("FILE:1:5: field b: expected a number or nothing, got `-`", 1);
    assert_eq!(outcome(&path, &named, None), (0, expected));
}

/// A row that replaces the third one, and its message.
const BAD_ROWS: &[(&str, &str)] = &[
    ("3,2024-01-02,d,no,1,1,1,t", "7:26: expected 9 columns, got 8"),
    ("3,2024-01-02,d,no,1,1,1,t,,x", "7:28: expected 9 columns, got 10"),
    ("lone", "7:5: expected 9 columns, got 1"),
    (
        "3,2024-01-02,d,maybe,1,1,1,t,",
        "7:16: field bought: expected one of the labels, got `maybe`",
    ),
    ("3,2024-01-02,d,,1,1,1,t,", "7:16: field bought: expected one of the labels, got nothing"),
    ("3,2024-01-02,d,no,old,1,1,t,", "7:19: field age: expected a number or nothing, got `old`"),
    ("3,2024-01-02,d,no,free,1,1,t,", "7:19: field age: expected a number or nothing, got `free`"),
    ("3,2024-01-02,d,no,1,nan,1,t,", "7:21: field price: expected a number or nothing, got `nan`"),
    (
        "3,2024-01-02,d,no,1,1e39,1,t,",
        "7:21: field price: expected a number or nothing, got `1e39`",
    ),
    ("3,2024-01-02,d,no,1,1,1.5,t,", "7:23: field shop: expected an integer or nothing, got `1.5`"),
    (
        "3,2024-01-02,d,no,1,1,1,t,1f",
        "7:27: field colour: expected eight hex digits or nothing, got `1f`",
    ),
    ("3,,d,no,1,1,1,t,", "7:3: field time: expected a day, got nothing"),
    // The leftmost counts, whatever the order of the description.
    ("3,2024-01-02,d,no,1,x,y,t,z", "7:21: field price: expected a number or nothing, got `x`"),
    (
        "3,2024-01-02,d,maybe,1,x,y,t,z",
        "7:16: field bought: expected one of the labels, got `maybe`",
    ),
    (
        "3,2024-01-02,d,no,\"1\"0,1,1,t,",
        "7:19: expected the end of the field behind its closing quote, got more text; double the \
         quotes inside it",
    ),
    // Quotes before it, on lines of their own.
    (
        "3,2024-01-02,\"d\n\n\"\"\",no,old,1,1,t,",
        "9:8: field age: expected a number or nothing, got `old`",
    ),
    (
        "3,2024-01-02,d,no,\"o\nld\",1,1,t,",
        "7:19: field age: expected a number or nothing, got `o\\nld`",
    ),
];

#[test]
fn bad_row_messages_are_exact() {
    let dir = TestDir::new();
    for (bad, expected) in BAD_ROWS {
        // The first of the rows takes two lines, and one is empty.
        let text = format!("{HEADER}{}\n\n{bad}\n{}", &ROWS[..ROWS.find("3,2024").unwrap()], ROWS);
        let path = dir.write("bad.csv", &text);
        let line = expected.split(':').next().unwrap().parse().unwrap();
        let expected = (2, advised(&format!("FILE:{expected}"), line));
        let compressed = dir.write("bad.csv.gz", gzip(text.as_bytes()));
        for path in [&path, &compressed] {
            assert_eq!(outcome(path, &shop(), None), expected);
            for n_bytes in 1..=300 {
                assert_eq!(outcome(path, &shop(), Some(n_bytes)), expected, "buffer of {n_bytes}");
            }
        }
        let path = compressed;

        // Reading continues after it, and skipping and counting include it.
        let mut reader = Reader::open(vec![path.clone()], dialect(shop())).unwrap();
        assert_eq!(reader.skip_records(2).unwrap(), 2);
        assert!(reader.read_record(&mut Record::default()).is_err());
        assert_eq!(records(&mut reader).len(), 3);
        assert_eq!(dialect(shop()).count_rows(&[path], None).unwrap(), 6);
    }
}

#[test]
fn bad_file_messages_are_exact() {
    let dir = TestDir::new();
    let cases = [
        (
            "id,time,item,bought,age,price,shop,tags\n".to_owned(),
            "FILE:1:1: there is no column `colour`; the columns are `id`, `time`, `item`, \
             `bought`, `age`, `price`, \
             `shop`, `tags`",
        ),
        (
            format!("\n\n{}", HEADER.replace("id", "age")),
            "FILE:3:1: there are two columns `age`; give the number of the one that is meant",
        ),
        ("\n\r\n\n".to_owned(), "FILE: is empty; remove it from the list, or get it again"),
        (
            format!("{HEADER}1,\"{}", "2,3,4\n".repeat(20_000)),
            "FILE:2:1: expected a row, got one of over 65536 bytes; check that every quote is \
             closed, or set quoting to \
             false",
        ),
        (
            HEADER.replace("item", "\"item\"s"),
            "FILE:1:9: expected the end of the field behind its closing quote, got more text; \
             double the quotes inside it; \
             or set quoting to false",
        ),
        // Quotes that include other rows, an unknown number of them, so that none is left out.
        (
            format!("{HEADER}1,2024-01-02,\"d,no,1,1,1,t,\n2,2024-01-02,d,no,1,1,1,t,\n"),
            "FILE:2:14: expected a closing quote, got the end of the file; close the quote; or set \
             quoting to false",
        ),
        (
            format!("{HEADER}1,2024-01-02,\"d,no,1,1,1,t,\n2,2024-01-02,\"d\",no,1,1,1,t,\n"),
            "FILE:2:14: expected the end of the field behind its closing quote, got more text; \
             double the quotes inside \
             it; or set quoting to false",
        ),
    ];
    for (text, expected) in cases {
        let path = dir.write("bad.csv", text);
        assert_eq!(outcome(&path, &shop(), None), (0, expected.to_owned()));
        assert_eq!(outcome(&path, &shop(), Some(3)), (0, expected.to_owned()));
        // The stream has ended.
        let mut reader = Reader::open(vec![path], dialect(shop())).unwrap();
        assert!(reader.skip_records(9).is_err());
        assert_eq!(records(&mut reader), []);
    }
}

/// Criteo's dialect by description: the same features as from its own parser.
#[test]
fn described_criteo_rows_equal_parsed_ones() {
    let names: Vec<String> = std::iter::once("label".to_owned())
        .chain((1..=13).map(|i| format!("I{i}")))
        .chain((1..=26).map(|i| format!("C{i}")))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let columns = Columns {
        numeric: names[1..14].iter().map(|&name| Numeric::new(name)).collect(),
        categorical: names[14..].iter().map(|&name| Categorical::new(name, Kind::Hex)).collect(),
        ..Columns::tsv(&names, Label::binary("label"))
    };
    let mut text = Vec::new();
    let mut synth = criteo_io::Synth::new(criteo_io::SynthConfig::default(), 0..500);
    let mut record = Record::default();
    while synth.read_record(&mut record).unwrap() {
        criteo_io::write_record(&record, &mut text);
    }
    let dir = TestDir::new();
    let paths = [dir.write("a", &text), dir.write("b.gz", gzip(&text))];
    let batch = |records: Vec<Record>| {
        let mut batch = Batch::default();
        for record in &records {
            batch.push(record);
        }
        batch
    };
    assert_eq!(batch(read(&paths, dialect(columns))), batch(read(&paths, Format::CriteoKaggle)));
}

#[test]
fn columns_round_trip_through_toml() {
    let described = shop();
    let text = toml::to_string(&described).unwrap();
    assert_eq!(toml::from_str::<Columns>(&text).unwrap(), described);
    for format in [Format::Avazu, Format::Kdd12] {
        let columns = format.columns().unwrap();
        assert_eq!(
            toml::from_str::<Columns>(&toml::to_string(&columns).unwrap()).unwrap(),
            columns
        );
    }
    assert_eq!(described.numeric[1].transform, Transform::None);
    assert_eq!(
        described.day,
        Some(Day { column: Column::from("time"), first: Some(10), drop_last: 0 })
    );
}
