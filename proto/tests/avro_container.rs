//! Container files that Flume and its Avro have written: the vectors `container_*` of `vectors/avro/`.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::{Bytes, BytesMut};
use proto::avro::container::{BLOCK_BYTES, Codec, ContainerReader, Header, Objects};
use proto::avro::decode_event;
use proto::event::EventLimits;

macro_rules! vector {
    ($name:literal) => {
        unhex(include_str!(concat!("../vectors/avro/container_", $name, ".hex")))
    };
}

fn unhex(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The header, and the objects of each block.
fn read(file: &[u8]) -> (Header, Vec<Vec<Bytes>>) {
    let mut reader = ContainerReader::new(BLOCK_BYTES);
    let (mut buf, mut blocks) = (BytesMut::from(file), Vec::new());
    while let Some(block) = reader.next_block(&mut buf).unwrap() {
        let mut objects = Objects::new(reader.header().unwrap(), block).unwrap();
        let mut all = Vec::new();
        while let Some(range) = objects.next_object().unwrap() {
            all.push(objects.block().data.slice(range));
        }
        blocks.push(all);
    }
    reader.finish(&buf).unwrap();
    (reader.header().unwrap().clone(), blocks)
}

#[test]
fn javas_blocks_are_read_with_every_codec() {
    for (file, codec) in [
        (vector!("null"), Codec::Null),
        (vector!("deflate"), Codec::Deflate),
        (vector!("snappy"), Codec::Snappy),
        (vector!("bzip2"), Codec::Bzip2),
        (vector!("zstandard"), Codec::Zstandard),
    ] {
        let (header, blocks) = read(&file);
        assert_eq!(header.codec, codec);
        let long = [&[0xd8, 0x04][..], &[b'x'; 300]].concat();
        assert_eq!(blocks, [vec![&b"\x04ab"[..], b"\x02c"], vec![&long]]);
        assert_eq!(
            header.fingerprint(),
            [0xc4, 0x74, 0xaa, 0x5c, 0xd7, 0xf1, 0x3a, 0x69]
        );
    }
}

#[test]
fn flumes_tracker_file_is_read() {
    let (header, blocks) = read(&vector!("tracker"));
    assert_eq!(header.metadata("file"), Some(&b"/d/a.log"[..]));
    assert_eq!(blocks, [[&[6][..]], [&[0xd8, 0x04]]]);
}

#[test]
fn flumes_events_are_read() {
    let (header, blocks) = read(&vector!("avro_event"));
    assert_eq!(
        &*header.schema,
        r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}"#
    );
    let text = |object: &Bytes| {
        let batch = decode_event(object, EventLimits::default()).unwrap();
        let event = batch.get(0).unwrap().to_event();
        let headers: Vec<String> = event.headers().map(|(k, v)| format!("{k}={v} ")).collect();
        format!("{}{}", headers.concat(), String::from_utf8_lossy(&event.body))
    };
    let texts: Vec<Vec<String>> = blocks
        .iter()
        .map(|block| block.iter().map(text).collect())
        .collect();
    assert_eq!(
        texts,
        [vec!["header2=value2 header1=value1 one", "two"], vec!["three"]]
    );
}
