//! A container file that comes in pieces (the first byte is their length), read with small limits. Nothing panics,
//! nothing grows beyond the limits, and what was read is read again after it was written with every codec.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use proto::avro::container::{Codec, ContainerError, ContainerReader, ContainerWriter, Header, Objects};

const BLOCK_BYTES: usize = 64 << 10;
/// Objects of no bytes come in thousands; these are enough.
const OBJECTS_MAX: usize = 2_000;

fn read(file: &[u8], piece: usize) -> Result<(Option<Header>, Vec<Vec<u8>>), ContainerError> {
    let (mut reader, mut buf, mut all) = (ContainerReader::new(BLOCK_BYTES), BytesMut::new(), Vec::new());
    for piece in file.chunks(piece) {
        buf.extend_from_slice(piece);
        assert!(reader.wanted(&buf) <= buf.len().max(BLOCK_BYTES + 64) + 1);
        while let Some(block) = reader.next_block(&mut buf)? {
            assert!(block.data.len() <= BLOCK_BYTES && block.end <= file.len() as u64);
            let header = reader.header().expect("a block comes after the header");
            let mut objects = Objects::new(header, block)?;
            while let (true, Some(range)) = (all.len() < OBJECTS_MAX, objects.next_object()?) {
                all.push(objects.block().data[range].to_vec());
            }
        }
    }
    reader.finish(&buf)?;
    Ok((reader.header().cloned(), all))
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, file)) = data.split_first() else {
        return;
    };
    let Ok((Some(header), objects)) = read(file, usize::from(*piece) * 8 + 1) else {
        return;
    };
    let form = header.canonical_schema();
    assert!(form.len() <= 64 * file.len());
    let _ = header.fingerprint();
    for codec in Codec::ALL {
        let mut writer = ContainerWriter::new(&header.schema, codec, header.sync, 1 << 10);
        let mut out = Vec::new();
        writer.header(&[], &mut out);
        for object in &objects {
            writer.push(|block| block.extend_from_slice(object));
            if writer.is_due() {
                writer.end_block(&mut out);
            }
        }
        writer.end_block(&mut out);
        match read(&out, 1 << 20) {
            Ok((_, again)) => assert_eq!(again, objects),
            // An object that is too large for a block once it is compressed.
            Err(ContainerError::TooLarge { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
});
