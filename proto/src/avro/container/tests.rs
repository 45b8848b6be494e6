//! Containers written and read back, broken in every place, and read as Java writes them.

use super::super::datum::put_long;
use super::*;
use bytes::BytesMut;
use proptest::prelude::*;

const SYNC: [u8; 16] = *b"0123456789abcdef";
const RECORD: &str = r#"{"type":"record","name":"R","fields":[{"name":"f","type":"string"}]}"#;

fn string(text: &[u8]) -> impl FnOnce(&mut BytesMut) {
    move |out| {
        put_long(out, text.len() as i64);
        out.extend_from_slice(text);
    }
}

/// A file of records, so many in each block.
fn written(codec: Codec, blocks: &[&[&str]]) -> Vec<u8> {
    let mut writer = ContainerWriter::new(RECORD, codec, SYNC, 1 << 20);
    let mut out = Vec::new();
    writer.header(&[("file", b"x")], &mut out);
    for block in blocks {
        for text in *block {
            writer.push(string(text.as_bytes()));
        }
        writer.end_block(&mut out);
    }
    out
}

/// All objects of a file that comes in pieces.
fn read(file: &[u8], piece: usize, max: usize) -> Result<Vec<Vec<u8>>, ContainerError> {
    let (mut reader, mut buf, mut all) = (ContainerReader::new(max), BytesMut::new(), Vec::new());
    for piece in file.chunks(piece) {
        buf.extend_from_slice(piece);
        while let Some(block) = reader.next_block(&mut buf)? {
            let mut objects = Objects::new(reader.header().unwrap(), block)?;
            while let Some(range) = objects.next_object()? {
                all.push(objects.block().data[range].to_vec());
            }
        }
    }
    reader.finish(&buf)?;
    Ok(all)
}

#[test]
fn what_was_written_is_read_with_every_codec_and_in_pieces_of_any_size() {
    let long = "x".repeat(5_000);
    for codec in Codec::ALL {
        let file = written(codec, &[&["ab", "c"], &["", &long]]);
        for piece in [1, 7, 4_096, file.len()] {
            let all = read(&file, piece, BLOCK_BYTES).unwrap();
            assert_eq!(all.len(), 4, "{}", codec.name());
            assert_eq!(all[..3], [b"\x04ab".to_vec(), b"\x02c".to_vec(), b"\0".to_vec()]);
            assert_eq!(all[3][2..], *long.as_bytes());
        }
    }
}

#[test]
fn the_fingerprint_is_the_one_that_flume_writes() {
    let header = Header::decode(&written(Codec::Null, &[])).unwrap().unwrap();
    let hex: String = header.fingerprint().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "c474aa5cd7f13a69");
    assert_eq!(header.metadata("file"), Some(&b"x"[..]));
    assert_eq!(&*header.schema, RECORD);
}

#[test]
fn blocks_know_their_place_so_that_reading_can_go_on_at_one() {
    let file = written(Codec::Deflate, &[&["a"], &["b", "c"]]);
    let mut reader = ContainerReader::default();
    let mut buf = BytesMut::from(&file[..]);
    let first = reader.next_block(&mut buf).unwrap().unwrap();
    let header = reader.header().unwrap().clone();
    assert_eq!(first.start, header.len);
    let mut again = ContainerReader::at_block(header, first.end, BLOCK_BYTES);
    let mut rest = BytesMut::from(&file[first.end as usize..]);
    let second = again.next_block(&mut rest).unwrap().unwrap();
    assert_eq!((second.start, second.end), (first.end, file.len() as u64));
    assert_eq!(&second.data[..], b"\x02b\x02c");
    again.finish(&rest).unwrap();
}

#[test]
fn a_file_that_ends_early_says_where() {
    let file = written(Codec::Null, &[&["ab", "c"]]);
    for len in 0..file.len() {
        let result = read(&file[..len], 13, BLOCK_BYTES);
        // A file without blocks is a good one.
        let header = Header::decode(&file[..len]).unwrap().map(|header| header.len);
        match header {
            Some(end) if end as usize == len => assert_eq!(result, Ok(vec![])),
            _ => assert!(
                matches!(result, Err(ContainerError::Truncated { .. })),
                "{len}: {result:?}"
            ),
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let check = |file: &[u8], expected: &str| {
        let error = read(file, 1 << 20, 400).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let file = written(Codec::Null, &[&["ab"]]);
    let with = |at: usize, byte: u8| {
        let mut changed = file.clone();
        changed[at] = byte;
        changed
    };
    check(b"{\"not\": \"avro\"}", "not an Avro container file");
    check(&with(file.len() - 1, b'!'), "expected the sync marker");
    let start = Header::decode(&file).unwrap().unwrap().len as usize;
    check(&with(start, 4), "block of 2 objects has bytes for fewer");
    check(&with(start, 0), "block of 0 objects has bytes behind them");
    check(&with(start, 1), "count and length of at least 0");
    check(&written(Codec::Null, &[&[&"x".repeat(500)]]), "block: found");
    for codec in [Codec::Deflate, Codec::Snappy, Codec::Bzip2, Codec::Zstandard] {
        check(
            &written(codec, &[&[&"x".repeat(6_000)]]),
            "uncompressed block: found 401 bytes or more",
        );
        let mut broken = written(codec, &[&["ab"]]);
        let at = broken.len() - 17;
        broken[at] ^= 0x55;
        if codec != Codec::Deflate && codec != Codec::Zstandard {
            check(&broken, "block cannot be uncompressed");
        }
    }
    let other = |schema: &str, metadata: &[(&str, &[u8])]| {
        let mut out = Vec::new();
        ContainerWriter::new(schema, Codec::Null, SYNC, 1).header(metadata, &mut out);
        out
    };
    check(&other("{", &[]), "avro.schema: EOF");
    check(&other("\"nope\"", &[]), "avro.schema: undefined name: nope");
    check(&other("\"int\"", &[("avro.codec", b"xz")]), "found \"xz\"");
    check(
        &other(&format!("\"{}\"", " ".repeat(SCHEMA_BYTES_MAX)), &[]),
        "avro.schema: found",
    );
    let large = vec![0; HEADER_BYTES_MAX];
    check(&other("\"int\"", &[("x", &large)]), "header: found");
    let many: Vec<(&str, &[u8])> = vec![("k", b""); METADATA_ENTRIES_MAX];
    check(&other("\"int\"", &many), "entries of the header: found 1025");
}

#[test]
fn objects_of_no_bytes_are_counted_and_bounded() {
    let mut writer = ContainerWriter::new("\"null\"", Codec::Null, SYNC, 1);
    let mut out = Vec::new();
    writer.header(&[], &mut out);
    writer.push(|_| ());
    writer.push(|_| ());
    writer.end_block(&mut out);
    assert_eq!(read(&out, 9, 10).unwrap(), [b"", b""]);
    let mut head = BytesMut::new();
    put_long(&mut head, i64::MAX);
    out.truncate(out.len() - 18);
    out.extend_from_slice(&head);
    out.push(0);
    out.extend_from_slice(&SYNC);
    assert!(matches!(read(&out, 9, 10), Err(ContainerError::Count { .. })));
}

#[test]
fn a_block_is_due_when_it_is_long_enough_and_an_empty_one_is_not_written() {
    let mut writer = ContainerWriter::new(RECORD, Codec::Null, SYNC, 10);
    let mut out = Vec::new();
    writer.end_block(&mut out);
    assert!(out.is_empty());
    writer.push(string(b"12345"));
    assert!(!writer.is_due());
    writer.push(string(b"678"));
    assert!(writer.is_due());
    writer.abandon();
    writer.end_block(&mut out);
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn objects_survive(
        blocks in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6), 0..6),
        codec in 0..Codec::ALL.len(),
        piece in 1..2_000usize,
    ) {
        let codec = Codec::ALL[codec];
        let mut writer = ContainerWriter::new("\"bytes\"", codec, SYNC, 64);
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        writer.header(&[], &mut out);
        for block in &blocks {
            for bytes in block {
                writer.push(string(bytes));
                let mut one = BytesMut::new();
                string(bytes)(&mut one);
                expected.push(one.to_vec());
            }
            writer.end_block(&mut out);
        }
        prop_assert_eq!(read(&out, piece, BLOCK_BYTES).unwrap(), expected);
    }

    #[test]
    fn no_byte_makes_it_panic(at in 0..400usize, byte: u8, codec in 0..Codec::ALL.len()) {
        let mut file = written(Codec::ALL[codec], &[&["ab", "c"], &["def"]]);
        if let Some(place) = file.get_mut(at) {
            *place = byte;
        }
        let _ = read(&file, 50, 1_000);
    }
}
