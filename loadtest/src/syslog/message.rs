//! Messages that can be told from each other, and what a file of their bodies says about them.
//!
//! ```text
//!   <13>1 2026-11-20T12:34:56.123456Z loadtest app 7 - - 02 000000001234 constant text ...
//!   what a syslog source takes away           | producer | number        | filler
//! ```

use crate::identity::Producer;
use crate::ledger::{Ledger, SentBy, Verdict};
use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

const HEAD: &str = "<13>1 2026-11-20T12:34:56.123456Z loadtest ";
const APP: &str = "app 7 - - ";
const PRODUCER_DIGITS: usize = 2;
const NUMBER_DIGITS: usize = 12;
/// Where the filler of a body begins.
const FILLER_AT: usize = APP.len() + PRODUCER_DIGITS + 1 + NUMBER_DIGITS + 1;
/// Digits of a chunk that are the same in every message of it but for a carry.
const NUMBER_AT: usize = HEAD.len() + APP.len() + PRODUCER_DIGITS + 1;

/// The least bytes of a message.
pub const MESSAGE_SIZE_MIN: usize = HEAD.len() + FILLER_AT;
/// The most connections that the digits of a message can tell apart.
pub const CONNECTIONS_MAX: usize = 100;

/// Bytes of a body in a file, with its end of line.
pub fn line_size(message_size: usize) -> u64 {
    (message_size - HEAD.len() + 1) as u64
}

fn body(producer: u32, number: u64, message_size: usize) -> String {
    let mut body = format!("{APP}{producer:0PRODUCER_DIGITS$} {number:0NUMBER_DIGITS$} ");
    let filler = message_size - HEAD.len() - body.len();
    body.extend(
        "all work and no play makes jack a dull boy "
            .chars()
            .cycle()
            .take(filler),
    );
    body
}

/// Messages one behind the other, each with its LF, whose numbers can be moved on.
pub struct Chunk {
    bytes: Vec<u8>,
    message_size: usize,
}

impl Chunk {
    /// So many messages of `message_size` bytes.
    pub fn new(producer: u32, messages: usize, message_size: usize) -> Self {
        let message = format!("{HEAD}{}\n", body(producer, 0, message_size));
        Self {
            bytes: message.repeat(messages).into_bytes(),
            message_size: message_size + 1,
        }
    }

    /// The bytes with numbers from `first` on.
    pub fn numbered(&mut self, first: u64) -> &[u8] {
        for (number, message) in (first..).zip(self.bytes.chunks_exact_mut(self.message_size)) {
            let mut left = number;
            for digit in message[NUMBER_AT..NUMBER_AT + NUMBER_DIGITS].iter_mut().rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
        }
        &self.bytes
    }
}

/// What files of bodies, in the order in which they were written, say about what was sent.
///
/// # Errors
/// A file cannot be read, or there are more bytes than any sender could have sent.
pub fn verdict<'a>(
    files: impl IntoIterator<Item = &'a Path>,
    message_size: usize,
    sent: &[SentBy],
) -> Result<Verdict> {
    let run = sent.first().context("nobody has sent anything")?.producer.run;
    let expected = body(0, 0, message_size).into_bytes();
    let mut ledger = Ledger::default();
    let mut line = Vec::new();
    for path in files {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        loop {
            line.clear();
            let read = reader
                .read_until(b'\n', &mut line)
                .with_context(|| path.display().to_string())?;
            if read == 0 {
                break;
            }
            ensure!(read <= 1 << 20, "{}: a line of {read} bytes", path.display());
            match identified(&line, &expected) {
                Some((connection, number)) => ledger.record(Producer { run, connection }, number),
                None => ledger.record_corrupt(),
            }
        }
    }
    Ok(ledger.verdict(Some(sent)))
}

/// Producer and number of a line that is whole and otherwise as it was sent.
fn identified(line: &[u8], expected: &[u8]) -> Option<(u32, u64)> {
    let line = line.strip_suffix(b"\n")?;
    let whole = line.len() == expected.len()
        && line.starts_with(APP.as_bytes())
        && line[FILLER_AT - 1..] == expected[FILLER_AT - 1..];
    let (producer, number) = line
        .get(APP.len()..FILLER_AT - 1)?
        .split_at_checked(PRODUCER_DIGITS)?;
    let digits = |digits: &[u8]| {
        digits.iter().try_fold(0u64, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + u64::from(digit - b'0'))
        })
    };
    let (producer, number) = (digits(producer)?, digits(number.strip_prefix(b" ")?)?);
    whole.then_some((producer as u32, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 128;

    fn sent(next: u64) -> SentBy {
        SentBy {
            producer: Producer {
                run: 1,
                connection: 3,
            },
            next,
            unsure: Vec::new(),
        }
    }

    /// The verdict over these bodies of five messages.
    fn check(change: impl Fn(&mut Vec<String>)) -> Verdict {
        let mut lines: Vec<String> = (0..5).map(|number| body(3, number, SIZE) + "\n").collect();
        change(&mut lines);
        let path = std::env::temp_dir().join(format!(
            "loadtest-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&path, lines.concat()).unwrap();
        let verdict = verdict([&*path], SIZE, &[sent(5)]).unwrap();
        std::fs::remove_file(&path).unwrap();
        verdict
    }

    #[test]
    fn a_chunk_is_messages_of_one_size_whose_bodies_are_recognised() {
        let mut chunk = Chunk::new(3, 2, SIZE);
        let text = String::from_utf8(chunk.numbered(999_999).to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        for (number, line) in (999_999..).zip(lines) {
            assert_eq!(line.len(), SIZE);
            assert_eq!(line.strip_prefix(HEAD).unwrap(), body(3, number, SIZE));
        }
        assert_eq!(line_size(SIZE), body(3, 0, SIZE).len() as u64 + 1);
    }

    #[test]
    fn every_way_of_going_wrong_is_told() {
        assert!(check(|_| ()).is_clean());
        assert_eq!(check(|lines| drop(lines.remove(2))).missing, 1);
        assert_eq!(check(|lines| drop(lines.pop())).missing, 1);
        assert_eq!(check(|lines| lines.push(lines[1].clone())).duplicated, 1);
        assert_eq!(check(|lines| lines.swap(1, 2)).reordered, 1);
        assert_eq!(
            check(|lines| lines[4] = lines[4].replace("jack", "jill")).corrupt,
            1
        );
        assert_eq!(
            check(|lines| lines[4] = lines[4].replace("app", "apt")).corrupt,
            1
        );
        assert_eq!(check(|lines| lines.push("half".to_owned())).corrupt, 1);
    }
}
