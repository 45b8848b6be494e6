//! A foreign protocol and a call of it, divided by the first byte FF (which JSON never has).
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use proto::avro::{Message, Protocol};
use proto::event::EventLimits;

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|byte| *byte == 0xff).unwrap_or(data.len());
    let Ok(protocol) = Protocol::parse(&data[..at]) else {
        return;
    };
    let call = Bytes::copy_from_slice(data.get(at + 1..).unwrap_or_default());
    for message in [Message::Append, Message::AppendBatch] {
        if let Ok(batch) = protocol.read_parameters(message, &call, 0, EventLimits::default()) {
            assert!(batch.len() <= call.len().max(1));
        }
        for index in -1..4 {
            let _ = protocol.status(message, index);
        }
    }
});
