//! Avro as far as events in files need it, by hand and without the crate `proto`: containers, and datums without one.
//!
//! ```text
//! container = "Obj" 01 | metadata, a map of bytes | sync 16 | blocks        block = objects | bytes | data | sync 16
//! event     = headers, a map of strings | body, bytes
//! map       = count | that many keys and values | .. | 0                    numbers are zig-zag varints
//! ```

/// Headers and body.
pub type Event = (Vec<(String, String)>, Vec<u8>);

/// Objects in the whole blocks of a container; none if not even its head is whole.
pub fn objects(file: &[u8]) -> Option<i64> {
    let mut rest = Datum(file.strip_prefix(b"Obj\x01")?);
    rest.map()?;
    rest.take(16)?;
    let mut objects = 0;
    while let Some(count) = rest.block() {
        objects += count;
    }
    Some(objects)
}

/// Events that stand one behind the other; None if bytes are left, or something else is there.
pub fn events(mut bytes: &[u8]) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let mut rest = Datum(bytes);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let headers = rest.map()?.into_iter();
        let headers: Option<Vec<_>> = headers.map(|(k, v)| Some((text(k)?, text(v)?))).collect();
        events.push((headers?, rest.bytes()?.to_vec()));
        bytes = rest.0;
    }
    Some(events)
}

struct Datum<'a>(&'a [u8]);

impl<'a> Datum<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn long(&mut self) -> Option<i64> {
        let mut bits = 0_u64;
        for place in 0..10 {
            let byte = self.take(1)?[0];
            bits |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    fn map(&mut self) -> Option<Vec<(&'a [u8], &'a [u8])>> {
        let mut pairs = Vec::new();
        loop {
            let count = self.long()?;
            if count == 0 {
                return Some(pairs);
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                pairs.push((self.bytes()?, self.bytes()?));
            }
        }
    }

    fn block(&mut self) -> Option<i64> {
        let count = self.long()?;
        self.bytes()?;
        self.take(16)?;
        Some(count)
    }
}

#[test]
fn containers_and_events_are_read() {
    let event = b"\x02\x02a\x02b\x00\x06two".as_slice();
    let sync = [7; 16];
    let block = [&[4, 26][..], event, b"\x00\x02x", &sync].concat();
    let head = [b"Obj\x01\x02\x02k\x02v\x00", &sync[..]].concat();
    assert_eq!(objects(&[&head[..], &block, &block[..9]].concat()), Some(2));
    assert_eq!(objects(&head[..9]), None);
    let a = vec![("a".to_owned(), "b".to_owned())];
    let events = events(&[event, b"\x00\x02x"].concat());
    assert_eq!(
        events,
        Some(vec![(a, b"two".to_vec()), (Vec::new(), b"x".to_vec())])
    );
    assert_eq!(super::container::events(&event[..5]), None);
}
