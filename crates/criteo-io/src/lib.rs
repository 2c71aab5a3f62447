//! Reads the click logs of Criteo (Kaggle, Terabyte), Avazu and KDD12, any other CSV or TSV file,
//! and Parquet (feature `parquet`): from the path of a file to batches of encoded rows for a model.
//!
//! ```text
//!  day_0.gz ─open→ bytes ─lines→ line ──parse→ Record ─encode→ Batch ─Prefetch→ training loop
//!  day_1.gz ─┘        └──csv→ fields ──plan──┘   │       (separate thread; batches come back)
//!                     └───────── Reader ─────────┘
//! ```
//!
//! *Opening* checks the first bytes of a file, not its name: gzip (all members) and zstd (all
//! frames) are decompressed as a stream on a separate thread; anything else is read as text.
//! Nothing seeks, so that pipes and `-` for standard input work like files. Only Parquet needs
//! files.
//!
//! A [`Reader`] reads several files in order as one stream of rows, in a [`Dialect`]. Rows of
//! Criteo's formats are lines, which are parsed in place in one fixed buffer, in one pass, without
//! allocation. Any other table is described by its [`Columns`], a plain structure that can be part
//! of a configuration, and is split by the state machine of the `csv` crate; the descriptions of
//! Avazu and KDD12 are built in ([`Format`]).
//!
//! A [`Record`] is a row: label, integers, tokens, each `None` where the field is empty; for a
//! described table dense numbers instead of integers, and bags where fields hold several values.
//! [`Synth`] generates rows, and [`RowWriter`] writes them in any format; [`PartRows`] are the rows
//! of one part of a [`Split`]. All sources of rows implement [`RecordSource`].
//!
//! A [`Batch`] holds encoded rows: integers become ln(x + 1), tokens become
//! [`FeatureId`](cafe_core::FeatureId)s, a missing token is an ordinary feature of its field.
//! [`Prefetch`] fills batches ahead on a separate thread and reuses their buffers. Each batch has
//! the [`StreamPosition`] of its end, from which another reader can resume.
//!
//! A [`Cache`] stores parsed rows in a file, so that later runs and epochs skip decompression and
//! parsing. It returns the same records, or is found to be stale or damaged and is rebuilt.
//!
//! Guarantees of the reader: rows come in file order; none is dropped or repaired silently; every
//! malformed byte is an error with file, line and column ([`ReadError`]); a truncated file is an
//! error and never an end; memory does not depend on the input. On request malformed rows are left
//! out, counted by reason, up to a limit ([`BadRows`]).
//!
//! # Examples
//!
//! A table with a header, described by its columns (`examples/read_csv.rs` is a complete program):
//!
//! ```
//! use criteo_io::{
//!     Categorical, Columns, Dialect, Kind, Label, Numeric, Reader, Record, RecordSource,
//!     hash_text,
//! };
//!
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("shop.csv");
//! std::fs::write(&path, "bought,price,item\n1,0.5,lamp\n0,,desk\n")?;
//!
//! let columns = Columns {
//!     numeric: vec![Numeric::new("price")],
//!     categorical: vec![Categorical::new("item", Kind::String)],
//!     ..Columns::csv(Label::binary("bought"))
//! };
//! let mut reader = Reader::open(vec![path], Dialect::delimited(columns)?)?;
//! let mut record = Record::default();
//! assert!(reader.read_record(&mut record)?);
//! assert!(record.clicked);
//! assert_eq!(record.dense, [1.5_f64.ln() as f32]);
//! assert_eq!(record.tokens, [Some(hash_text(b"lamp"))]);
//! assert!(reader.read_record(&mut record)?);
//! assert_eq!(record.dense, [0.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A compressed file of Criteo's logs, read into a batch:
//!
//! ```
//! use std::io::Write;
//! use criteo_io::{Batch, Format, Reader, Record, RecordSource, count_rows};
//!
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("day_0.gz");
//! let file = std::fs::File::create(&path)?;
//! let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
//! // A click, I1 = 1, C1 = 0x68fd1e64; all else is missing.
//! writeln!(gzip, "1\t1{}68fd1e64{}", "\t".repeat(13), "\t".repeat(25))?;
//! gzip.finish()?;
//!
//! assert_eq!(count_rows(&[path.clone()], None)?, 1);
//! let mut reader = Reader::open(vec![path], Format::CriteoKaggle)?;
//! let (mut record, mut batch) = (Record::default(), Batch::default());
//! while reader.read_record(&mut record)? {
//!     batch.push(&record);
//! }
//! assert_eq!(record.tokens[0], Some(0x68fd_1e64));
//! assert_eq!(batch.labels, [1.0]);
//! assert_eq!(batch.dense[0], 2_f32.ln());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod bytes;
mod cache;
mod error;
mod format;
mod parse;
mod reader;
mod record;
mod synth;
mod text;

pub use batch::prefetch::{PassEnd, Prefetch, PrefetchConfig};
pub use batch::{Batch, StreamPosition};
pub use bytes::open::is_read_once;
pub use bytes::stamp::FileStamp;
pub use cache::build::CacheError;
pub use cache::plan::CachePlan;
pub use cache::{Cache, CachedRows};
pub use error::bad_row::{BadRowCounts, BadRowLimit, BadRowReason};
pub use error::cache_fault::CacheFault;
pub use error::row::{Excerpt, RowError, RowFault};
pub use error::{Compression, ReadError};
pub use format::columns::check::{ColumnIndices, ColumnsError};
pub use format::columns::column::Column;
pub use format::columns::label::Label;
pub use format::columns::value::{Kind, Transform, hash_text};
pub use format::columns::{Categorical, Columns, Day, Numeric};
pub use format::dialect::{Dialect, DialectError};
pub use format::encode::{encode_integer, encode_token};
pub use format::schema::{Format, Schema, UnknownFormat};
pub use parse::{parse_line, parse_unlabelled_line};
pub use reader::{Reader, count_rows};
pub use record::bad_rows::{BadRowFilter, BadRows, FilteredRow, SkipLimits};
pub use record::split::{Part, PartRows, Split, count_days, train_rows, train_rows_of_days};
pub use record::{Record, RecordSource};
pub use synth::write::{RowWriter, write_record};
pub use synth::{Synth, SynthConfig};
