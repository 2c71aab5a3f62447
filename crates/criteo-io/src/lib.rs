//! From the path of a click log to batches that a model can take: Criteo's logs, Avazu's, KDD12's,
//! and any other delimited file.
//!
//! ```text
//!  day_0.gz ─open→ bytes ─lines→ line ──parse→ Record ─encode→ Batch ─Prefetch→ training loop
//!  day_1.gz ─┘        └──csv→ fields ──plan──┘   │         (own thread; batches come back)
//!                     └───────── Reader ─────────┘
//! ```
//!
//! *Opening* looks at the first bytes of a file, not at its name: gzip (all members) and zstd (all
//! frames) are decompressed as a stream, on a thread of its own; anything else is taken as text.
//! Nothing seeks, so pipes and `-` for standard input work as files do.
//!
//! A [`Reader`] takes several files in order as one stream of rows. A [`Dialect`] tells it how.
//! Rows of Criteo's formats are lines: it slices them out of one fixed buffer and parses them where
//! they lie, in one pass, with no allocation. Any other table is described by its [`Columns`], a
//! plain structure that can stand in a configuration, and is split by the state machine of the
//! `csv` crate; Avazu and KDD12 are descriptions that are built in ([`Format`]).
//!
//! A [`Record`] is the row: label, integers, tokens, each `None` where the field is empty; of a
//! described table dense numbers in place of integers, and bags where fields hold several values.
//! [`Synth`] makes rows up, and [`RowWriter`] writes them in any format; [`PartRows`] are those of
//! one part of a [`Split`]. All of them are a [`RecordSource`].
//!
//! A [`Batch`] holds encoded rows: integers become ln(x + 1), tokens become
//! [`FeatureId`](cafe_core::FeatureId)s, a missing token is an ordinary feature of its field.
//! [`Prefetch`] fills batches ahead on its own thread, and the buffers go round. Each batch knows
//! the [`StreamPosition`] where it ends, from which another reader goes on.
//!
//! A [`Cache`] keeps parsed rows in a file, so that later runs and epochs skip decompression and
//! parsing; it gives back the same records, or is noticed to be stale or damaged and built anew.
//!
//! What the reader promises: rows come in file order; none is dropped or repaired silently; every
//! malformed byte is an error with file, line and column ([`ReadError`]); a truncated file is an
//! error and never an end; memory does not depend on the input. Malformed rows are left out where
//! that is asked for, counted by reason and up to a limit ([`BadRows`]).
//!
//! # Example
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
