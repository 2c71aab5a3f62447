//! One line to one record, in two passes: a fast one that parses every ordinary row, and a plain
//! one that parses what the fast one refuses, and finds the fault.

#[cfg(test)]
mod twin;

use crate::error::row::{Excerpt, RowError, RowFault};
use crate::format::columns::value::Kind;
use crate::format::schema::Schema;
use crate::record::Record;

/// Parses one line (without its line feed; a final carriage return is dropped) into `record`.
///
/// After an error the content of `record` is unspecified.
///
/// The fast pass reads the bytes once, left to right, eight at a time as one `u64`: an integer up
/// to its tab, or all digits of a token. It never refuses a line: if anything is unusual it gives
/// up, and the plain pass decides. So the two differ in speed only, and messages come from one
/// place.
///
/// # Errors
/// If the line is not a row of the schema: a wrong number of columns is reported first, else the
/// leftmost malformed field.
pub fn parse_line(line: &[u8], schema: &Schema, record: &mut Record) -> Result<(), RowError> {
    parse(line, schema, true, record)
}

/// Parses one line without a label, which begins with the first integer, into `record`. The label
/// reads as 0. Everything else is as in [`parse_line`].
///
/// # Errors
/// If the line is not a row of the schema: a wrong number of columns is reported first, else the
/// leftmost malformed field.
pub fn parse_unlabelled_line(
    line: &[u8],
    schema: &Schema,
    record: &mut Record,
) -> Result<(), RowError> {
    parse(line, schema, false, record)
}

#[inline]
fn parse(
    line: &[u8],
    schema: &Schema,
    has_label: bool,
    record: &mut Record,
) -> Result<(), RowError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    record.integers.resize(schema.n_integers, None);
    record.tokens.resize(schema.n_fields, None);
    record.dense.clear();
    record.bag_ends.clear();
    (record.day, record.true_logit) = (None, None);
    match parse_fast(line, has_label, record) {
        Some(()) => Ok(()),
        None => parse_plain(line, has_label, record),
    }
}

/// The fast pass; `None` if the plain pass has to decide.
fn parse_fast(line: &[u8], has_label: bool, record: &mut Record) -> Option<()> {
    let mut rest = line;
    record.clicked = false;
    if has_label {
        let [label @ (b'0' | b'1'), b'\t', after @ ..] = line else { return None };
        (record.clicked, rest) = (*label == b'1', after);
    }
    for integer in &mut record.integers {
        let chunk = u64::from_le_bytes(*rest.first_chunk()?);
        let n_bytes;
        (*integer, n_bytes) = short_integer(chunk)?;
        rest = &rest[n_bytes + 1..];
    }
    let (last, tokens) = record.tokens.split_last_mut()?;
    for token in tokens {
        if let [b'\t', after @ ..] = rest {
            *token = None;
            rest = after;
            continue;
        }
        let [digits @ .., b'\t'] = rest.first_chunk::<9>()? else { return None };
        *token = Some(hex_digits(u64::from_le_bytes(*digits))?);
        rest = &rest[9..];
    }
    *last = match rest {
        [] => None,
        _ => Some(hex_digits(u64::from_le_bytes(rest.try_into().ok()?))?),
    };
    Some(())
}

/// The byte `n` in each of the eight bytes of a word.
const fn repeated(n: u8) -> u64 {
    u64::from_le_bytes([n; 8])
}

/// An integer with the tab after it, all within the eight bytes of `chunk`, and its length. `None`
/// if there is no tab, or the text before it is not an integer.
#[inline]
fn short_integer(chunk: u64) -> Option<(Option<i64>, usize)> {
    // The zero bytes of `tabs` are tabs, which the usual bit trick finds (Hacker's Delight, section
    // 6-1). The lowest set bit marks the first tab; borrows may set bits above it, which are
    // unused.
    let tabs = chunk ^ repeated(b'\t');
    let marks = tabs.wrapping_sub(repeated(1)) & !tabs & repeated(0x80);
    if marks == 0 {
        return None;
    }
    let n_bytes = marks.trailing_zeros() / 8;
    let negative = u32::from(chunk as u8 == b'-');
    let n_digits = n_bytes - negative;
    // Drop the sign, turn digits into their values, and move them to the top, so that the units
    // come last and zeros first. In two shifts, because a shift by 64 bits is not defined.
    let values = (chunk >> (8 * negative)) ^ repeated(b'0');
    let values = (values << (56 - 8 * n_digits)) << 8;
    // Adding 0x76 carries into the top bit of a byte exactly if its value is 10 or more; a value
    // from 0x80 on has the bit already.
    let too_big = (values | values.wrapping_add(repeated(0x80 - 10))) & repeated(0x80);
    let lone_sign = n_bytes == 1 && negative == 1;
    if too_big != 0 || lone_sign {
        return None;
    }
    // Neighbours are combined: eight digits, four pairs, two groups of four, one number.
    let pairs = (values.wrapping_mul(10).wrapping_add(values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let number = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff;
    let sign = 1 - 2 * i64::from(negative);
    Some(((n_bytes > 0).then_some(sign * number as i64), n_bytes as usize))
}

/// The number with eight hex digits of either case, the first digit in the lowest byte; `None` if a
/// byte is not a hex digit.
#[inline]
fn hex_digits(chunk: u64) -> Option<u32> {
    // Letters are 0x41.. and 0x61.., digits 0x30..: bit 6 distinguishes them.
    let letters = (chunk >> 6) & repeated(1);
    let nibbles = (chunk & repeated(0x0f)) + 9 * letters;
    // No sum exceeds 30, so no byte carries into the next. A digit is valid if its upper half is 3
    // and its value below 10; a letter if its upper half is 6 (once in lower case) and its value is
    // 10 to 15.
    let upper_halves = (chunk | (letters << 5)) & repeated(0xf0);
    let wrong_upper = upper_halves ^ (repeated(0x30) + 0x30 * letters);
    let too_big = nibbles & repeated(0x10);
    let wrong_kind = (((nibbles + repeated(6)) >> 4) & repeated(1)) ^ letters;
    if wrong_upper | too_big | wrong_kind != 0 {
        return None;
    }
    // Nibbles are combined to bytes, bytes to halves, halves to the number.
    let bytes = ((nibbles << 4) | (nibbles >> 8)) & 0x00ff_00ff_00ff_00ff;
    let halves = ((bytes << 8) | (bytes >> 16)) & 0x0000_ffff_0000_ffff;
    Some(((halves << 16) | (halves >> 32)) as u32)
}

/// The plain pass: column by column, with the exact fault if the line is refused.
#[cold]
fn parse_plain(line: &[u8], has_label: bool, record: &mut Record) -> Result<(), RowError> {
    let n_features = record.integers.len() + record.tokens.len();
    check_columns(line, n_features + usize::from(has_label), has_label)?;
    let mut columns = line.split(|&byte| byte == b'\t');
    let mut column = 1;
    // The columns were counted: there is one for every value.
    let mut next = || {
        let field = columns.next().unwrap_or_default();
        let start = column;
        column += field.len() + 1;
        (field, start)
    };
    record.clicked = false;
    if has_label {
        let (field, start) = next();
        record.clicked = plain_label(field).map_err(|fault| RowError { column: start, fault })?;
    }
    for (idx, integer) in record.integers.iter_mut().enumerate() {
        let (field, start) = next();
        *integer = plain_integer(field, idx).map_err(|fault| RowError { column: start, fault })?;
    }
    for (idx, token) in record.tokens.iter_mut().enumerate() {
        let (field, start) = next();
        *token = plain_token(field, idx).map_err(|fault| RowError { column: start, fault })?;
    }
    Ok(())
}

fn check_columns(line: &[u8], expected: usize, has_label: bool) -> Result<(), RowError> {
    if line.is_empty() {
        return Err(RowError { column: 1, fault: RowFault::EmptyLine });
    }
    let got = memchr::memchr_iter(b'\t', line).count() + 1;
    if got < expected {
        let fault = RowFault::TooFewColumns { expected, got, has_label };
        return Err(RowError { column: line.len() + 1, fault });
    }
    if let Some(tab_idx) = memchr::memchr_iter(b'\t', line).nth(expected - 1) {
        let fault = RowFault::TooManyColumns { expected, got, has_label };
        return Err(RowError { column: tab_idx + 2, fault });
    }
    Ok(())
}

fn plain_label(field: &[u8]) -> Result<bool, RowFault> {
    match field {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err(RowFault::Label { got: Excerpt::new(field) }),
    }
}

fn plain_integer(text: &[u8], field: usize) -> Result<Option<i64>, RowFault> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(RowFault::Integer { field, got: Excerpt::new(text) });
    }
    // Negative sums, because -2^63 has no positive counterpart.
    let fold = |sum: i64, digit: &u8| sum.checked_mul(10)?.checked_sub(i64::from(digit - b'0'));
    let negated = digits.iter().try_fold(0, fold);
    let value =
        if digits.len() < text.len() { negated } else { negated.and_then(i64::checked_neg) };
    let overflow = || RowFault::IntegerOverflow { field, got: Excerpt::new(text) };
    value.map(Some).ok_or_else(overflow)
}

fn plain_token(text: &[u8], field: usize) -> Result<Option<u32>, RowFault> {
    if text.is_empty() {
        return Ok(None);
    }
    let fault = || RowFault::Token { field, got: Excerpt::new(text) };
    Kind::Hex.token(text).map(Some).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::twin::{from_columns, twin};
    use super::*;
    use crate::format::schema::Format;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The `csv` crate splits, the standard library parses the fields.
    fn by_csv(line: &[u8], schema: &Schema) -> Option<Record> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(b'\t')
            .terminator(csv::Terminator::Any(b'\n'))
            .quoting(false)
            .has_headers(false)
            .flexible(true)
            .from_reader(line.strip_suffix(b"\r").unwrap_or(line));
        let columns = reader.records().next()?.ok()?;
        from_columns(&columns.iter().collect::<Vec<_>>(), schema)
    }

    fn ours(line: &[u8], schema: &Schema) -> Option<Record> {
        let mut record = Record { true_logit: Some(1.0), ..Record::default() };
        parse_line(line, schema, &mut record).ok().map(|()| record)
    }

    fn integer_text() -> impl Strategy<Value = String> {
        prop_oneof![
            2 => Just(String::new()),
            4 => (-3_i64..3000).prop_map(|n| n.to_string()),
            2 => any::<i64>().prop_map(|n| n.to_string()),
            1 => any::<i64>().prop_map(|n| (n >> 40).to_string()),
            1 => "-?[0-9]{1,22}",
        ]
    }

    fn token_text() -> impl Strategy<Value = String> {
        prop_oneof![
            2 => Just(String::new()),
            6 => any::<u32>().prop_map(|n| format!("{n:08x}")),
            1 => any::<u32>().prop_map(|n| format!("{n:08X}")),
        ]
    }

    fn row() -> impl Strategy<Value = Vec<u8>> {
        let integers = vec(integer_text(), 13);
        (any::<bool>(), integers, vec(token_text(), 26), any::<bool>()).prop_map(
            |(clicked, integers, tokens, carriage_return)| {
                let label = vec![u8::from(clicked).to_string()];
                let mut line = [label, integers, tokens].concat().join("\t").into_bytes();
                line.extend(carriage_return.then_some(b'\r'));
                line
            },
        )
    }

    /// A random change of a line.
    #[derive(Clone, Copy, Debug)]
    struct Mutation {
        position: usize,
        kind: u8,
        byte: u8,
    }

    fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
        let mutation = any::<(usize, u8, u8)>().prop_map(|(position, kind, byte)| Mutation {
            position,
            kind,
            byte,
        });
        vec(mutation, 0..4)
    }

    /// Flips a bit, inserts a byte, or removes one; prefers the bytes that have a meaning.
    fn mutate(line: &mut Vec<u8>, mutation: Mutation) {
        const MEANINGFUL: &[u8] = b"\t\r-+09afAFgG@`/: \0\xff";
        let Mutation { position, kind, byte } = mutation;
        let idx = position % (line.len() + 1);
        match kind % 4 {
            0 if idx < line.len() => line[idx] ^= 1 << (byte % 8),
            1 if idx < line.len() => drop(line.remove(idx)),
            2 => line.insert(idx, MEANINGFUL[usize::from(byte) % MEANINGFUL.len()]),
            _ if idx < line.len() => line[idx] = MEANINGFUL[usize::from(byte) % MEANINGFUL.len()],
            _ => line.push(byte),
        }
        line.retain(|&b| b != b'\n');
    }

    /// The record of a line without its label.
    fn unlabelled(line: &[u8], schema: &Schema) -> Option<Record> {
        let mut record = Record { clicked: true, ..Record::default() };
        parse_unlabelled_line(line, schema, &mut record).ok().map(|()| record)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn rows_and_mutations_agree_with_the_twins(
            row in row(),
            mutations in mutations(),
        ) {
            let schema = Format::CriteoKaggle.schema();
            let mut line = row;
            for mutation in mutations {
                mutate(&mut line, mutation);
                let got = ours(&line, &schema);
                prop_assert_eq!(&got, &twin(&line, &schema), "{}", line.escape_ascii());
                prop_assert_eq!(&got, &by_csv(&line, &schema), "{}", line.escape_ascii());
            }
            prop_assert_eq!(ours(&line, &schema), twin(&line, &schema));
            let labelled = [&b"0\t"[..], &line].concat();
            prop_assert_eq!(unlabelled(&line, &schema), twin(&labelled, &schema));
        }

        #[test]
        fn hex_digits_agree_with_the_standard_library(
            digits in any::<u32>(),
            upper in any::<bool>(),
            wrong in any::<Option<(usize, u8)>>(),
        ) {
            let text = if upper { format!("{digits:08X}") } else { format!("{digits:08x}") };
            let mut text = text.into_bytes();
            if let Some((idx, byte)) = wrong {
                text[idx % 8] = byte;
            }
            let hex = text.iter().all(u8::is_ascii_hexdigit);
            let expected = std::str::from_utf8(&text).ok().filter(|_| hex);
            let expected = expected.map(|text| u32::from_str_radix(text, 16).unwrap());
            let chunk: [u8; 8] = text.as_slice().try_into().unwrap();
            prop_assert_eq!(hex_digits(u64::from_le_bytes(chunk)), expected);
        }
    }

    #[test]
    fn every_byte_at_every_position_of_a_token() {
        for idx in 0..8 {
            for byte in 0..=255_u8 {
                let mut text = *b"01239aFf";
                text[idx] = byte;
                let expected = plain_token(&text, 0).ok().flatten();
                assert_eq!(hex_digits(u64::from_le_bytes(text)), expected, "{byte} at {idx}");
            }
        }
    }

    #[test]
    fn every_byte_at_every_position_of_an_integer() {
        for template in [b"\t1\t-1\t12", b"1234567\t", b"-123456\t", b"-\t12345\t", b"12345678"] {
            for (idx, byte) in (0..8).flat_map(|idx| (0..=255_u8).map(move |byte| (idx, byte))) {
                let mut text = *template;
                text[idx] = byte;
                let Some(n_bytes) = text.iter().position(|&b| b == b'\t') else {
                    assert_eq!(short_integer(u64::from_le_bytes(text)), None);
                    continue;
                };
                let expected = plain_integer(&text[..n_bytes], 0).ok().map(|it| (it, n_bytes));
                let got = short_integer(u64::from_le_bytes(text));
                assert_eq!(got, expected, "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn ordinary_rows_take_the_fast_pass() {
        let schema = Format::CriteoKaggle.schema();
        let mut record = Record::default();
        parse_line(b"", &schema, &mut record).unwrap_err();
        let integers = ["-1", "0", "", "1234567", "-999999"].into_iter().cycle().take(13);
        let tokens = ["deadbeef", "", "00C0FFEE"].into_iter().cycle().take(25);
        let columns: Vec<&str> = ["1"].into_iter().chain(integers).chain(tokens).collect();
        for last in ["", "0123abcd", "FEDCBA98"] {
            let line = columns.join("\t") + "\t" + last;
            assert!(parse_fast(line.as_bytes(), true, &mut record).is_some(), "{line}");
            assert_eq!(Some(&record), twin(line.as_bytes(), &schema).as_ref());
        }
    }

    #[test]
    fn integers_of_64_bits_have_exact_limits() {
        assert_eq!(plain_integer(b"9223372036854775807", 0), Ok(Some(i64::MAX)));
        assert_eq!(plain_integer(b"-9223372036854775808", 0), Ok(Some(i64::MIN)));
        for text in [&b"9223372036854775808"[..], b"-9223372036854775809"] {
            let overflow = RowFault::IntegerOverflow { field: 4, got: Excerpt::new(text) };
            assert_eq!(plain_integer(text, 4), Err(overflow));
        }
    }
}
