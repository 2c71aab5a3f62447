//! Generated rows as text, in the dialect of any format.

use super::SynthConfig;
use crate::format::schema::Format;
use crate::record::Record;

/// Writes generated rows in the dialect of a format, so that every preset can be tried without its
/// data set.
///
/// All formats get the rows of one generator, which is Kaggle-shaped, and write a part of them:
/// * Criteo's formats: everything, by [`write_record`].
/// * `avazu`: header, row number, label, the hour by the number of the row and the rows of a day
///   (from 2014-10-21), and C1 to C21 in order as the 21 fields after the hour, with hex digits or
///   as integers.
/// * `kdd12`: clicks (1 or 2 where the label is positive, else 0), impressions (the clicks and up
///   to three more), and C1 to C10 in order as the ten ids, as integers.
///
/// A missing value is an empty text. Marginals, drift and effects are those of the Kaggle fields
/// that are written; only the dialect is that of Avazu or KDD12. The labels also depend on values
/// that are not written (integers, further fields), so that no model reaches the AUC of the true
/// logits.
#[derive(Clone, Debug)]
pub struct RowWriter {
    format: Format,
    rows_per_day: u64,
    row: u64,
}

/// Fields of Avazu after the hour: those of integers, by index; the others have hex digits.
const AVAZU_INTEGERS: [bool; 21] = [
    true, true, false, false, false, false, false, false, false, false, false, true, true, true,
    true, true, true, true, true, true, true,
];
/// The ids of a KDD12 row, which follow the impressions.
const KDD12_IDS: usize = 10;

impl RowWriter {
    /// A writer for the rows from number `first_row` on of the log that `config` describes.
    #[must_use]
    pub fn new(format: Format, config: SynthConfig, first_row: u64) -> Self {
        Self { format, rows_per_day: config.rows_per_day, row: first_row }
    }

    /// Appends the header, if the format has one.
    pub fn write_header(&self, out: &mut Vec<u8>) {
        if self.format == Format::Avazu {
            out.extend_from_slice(
                b"id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,\
                  app_category,device_id,device_ip,device_model,device_type,device_conn_type,C14,\
                  C15,C16,C17,C18,C19,C20,C21\n",
            );
        }
    }

    /// Appends `record`, the next row.
    pub fn write(&mut self, record: &Record, out: &mut Vec<u8>) {
        match self.format {
            Format::CriteoKaggle | Format::CriteoTerabyte | Format::CriteoTerabyteThird => {
                write_record(record, out);
            }
            Format::Avazu => self.write_avazu(record, out),
            Format::Kdd12 => self.write_kdd12(record, out),
        }
        self.row += 1;
    }

    fn write_avazu(&self, record: &Record, out: &mut Vec<u8>) {
        push_integer(self.row as i64, out);
        out.extend_from_slice(if record.clicked { b",1," } else { b",0," });
        let (day, row_of_day) = (self.row / self.rows_per_day, self.row % self.rows_per_day);
        let hour = (u128::from(row_of_day) * 24 / u128::from(self.rows_per_day)) as i64;
        push_integer(date(day as i64) * 100 + hour, out);
        for (token, is_integer) in record.tokens.iter().zip(AVAZU_INTEGERS) {
            out.push(b',');
            match *token {
                Some(token) if is_integer => push_integer(i64::from(token), out),
                Some(token) => push_hex(token, out),
                None => {}
            }
        }
        out.push(b'\n');
    }

    fn write_kdd12(&self, record: &Record, out: &mut Vec<u8>) {
        let n_clicks = if record.clicked { 1 + i64::from(self.row.is_multiple_of(7)) } else { 0 };
        push_integer(n_clicks, out);
        out.push(b'\t');
        push_integer(n_clicks.max(1) + (self.row % 4) as i64, out);
        for token in &record.tokens[..KDD12_IDS] {
            out.push(b'\t');
            if let Some(token) = *token {
                push_integer(i64::from(token), out);
            }
        }
        out.push(b'\n');
    }
}

/// Appends `record` to `out` as one line of the Kaggle dialect: label, integers and tokens of eight
/// hex digits between tabs, nothing where a value is missing. The true logit is not written.
pub fn write_record(record: &Record, out: &mut Vec<u8>) {
    out.push(if record.clicked { b'1' } else { b'0' });
    for integer in &record.integers {
        out.push(b'\t');
        if let Some(value) = *integer {
            push_integer(value, out);
        }
    }
    for token in &record.tokens {
        out.push(b'\t');
        if let Some(token) = *token {
            push_hex(token, out);
        }
    }
    out.push(b'\n');
}

fn push_integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    // The largest magnitude, 2^63, has 19 digits.
    let mut digits = [0_u8; 19];
    let mut start = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn push_hex(token: u32, out: &mut Vec<u8>) {
    let digit = |n_shifted: u32| b"0123456789abcdef"[(token >> n_shifted & 0xf) as usize];
    out.extend_from_slice(&[28, 24, 20, 16, 12, 8, 4, 0].map(digit));
}

/// The date `YYMMDD` that is `day` days after 2014-10-21, by the usual calculation with years that
/// begin in March, so that leap days come last.
fn date(day: i64) -> i64 {
    const DAYS_TO_FIRST: i64 = 735_832; // From 0000-03-01.
    const DAYS_IN_ERA: i64 = 146_097; // 400 years.
    let days = DAYS_TO_FIRST + day;
    let (era, day) = (days / DAYS_IN_ERA, days % DAYS_IN_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year) % 100 * 10_000 + month * 100 + day_of_month
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Reader;
    use crate::record::RecordSource;
    use crate::synth::Synth;

    #[test]
    fn dates_follow_the_calendar() {
        let dates = [0, 9, 10, 11, 40, 41, 71, 72, 130, 131, 495, 496, 497].map(date);
        assert_eq!(
            dates,
            [
                141_021, 141_030, 141_031, 141_101, 141_130, 141_201, 141_231, 150_101, 150_228,
                150_301, 160_228, 160_229, 160_301
            ]
        );
    }

    /// Writes rows and reads them back with the preset.
    fn write_and_read(format: Format, rows: std::ops::Range<u64>) -> (Vec<Record>, Vec<Record>) {
        let config = SynthConfig { seed: 3, rows_per_day: 48 };
        let mut writer = RowWriter::new(format, config, rows.start);
        let (mut written, mut read, mut record, mut text) =
            (Vec::new(), Vec::new(), Record::default(), Vec::new());
        writer.write_header(&mut text);
        let mut synth = Synth::new(config, rows);
        while synth.read_record(&mut record).unwrap() {
            writer.write(&record, &mut text);
            written.push(record.clone());
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows");
        std::fs::write(&path, &text).unwrap();
        let mut reader = Reader::open(vec![path], format).unwrap();
        while reader.read_record(&mut record).unwrap() {
            read.push(record.clone());
        }
        (written, read)
    }

    #[test]
    fn avazu_rows_read_back_with_their_days() {
        let (written, read) = write_and_read(Format::Avazu, 96..300);
        assert_eq!((written.len(), read.len()), (204, 204));
        let mut hours = Vec::new();
        for (row, (written, read)) in written.iter().zip(&read).enumerate() {
            assert_eq!((read.clicked, &read.tokens[1..]), (written.clicked, &written.tokens[..21]));
            assert_eq!(read.day, Some(row as u32 / 48));
            hours.push(read.tokens[0].unwrap());
        }
        assert_eq!(hours[..3], [14_102_300, 14_102_300, 14_102_301]);
        assert_eq!(hours[47..49], [14_102_323, 14_102_400]);
    }

    #[test]
    fn kdd12_rows_read_back() {
        let (written, read) = write_and_read(Format::Kdd12, 0..200);
        assert_eq!((written.len(), read.len()), (200, 200));
        for (written, read) in written.iter().zip(&read) {
            assert_eq!((read.clicked, &read.tokens[1..]), (written.clicked, &written.tokens[..10]));
            assert!((1..=5).contains(&read.tokens[0].unwrap()));
            assert_eq!(read.day, None);
        }
    }

    #[test]
    fn criteo_rows_read_back() {
        let (written, read) = write_and_read(Format::CriteoKaggle, 0..100);
        for (written, read) in written.into_iter().zip(read) {
            assert_eq!(read, Record { day: None, true_logit: None, ..written });
        }
    }
}
