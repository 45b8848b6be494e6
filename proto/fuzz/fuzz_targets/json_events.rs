//! Events as JSON: hostile text neither panics nor grows, and strict text means the same to serde_json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::event::EventLimits;
use proto::json::read_events;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(batch) = read_events(data.to_vec(), EventLimits::default()) else {
        return;
    };
    // A byte that is no UTF-8 becomes three.
    assert!(batch.used_bytes() <= 3 * data.len());
    let Ok(Value::Array(events)) = serde_json::from_slice(data) else {
        return;
    };
    assert_eq!(batch.len(), events.len());
    for (event, strict) in batch.iter().zip(&events) {
        // Of two equal members the last counts for both.
        match strict.get("body") {
            Some(Value::String(text)) => assert_eq!(event.body(), text.as_bytes()),
            None | Some(Value::Null) => assert!(event.body().is_empty()),
            _ => {}
        }
        if let Some(Value::Object(headers)) = strict.get("headers") {
            for (key, value) in headers.iter().filter_map(|(k, v)| Some((k, v.as_str()?))) {
                assert_eq!(event.header(key), Some(value));
            }
        }
    }
});
