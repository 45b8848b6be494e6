//! Event serializers: events to the bytes of a file.

use proto::event::Batch;

/// Turns batches into bytes.
pub trait Serializer: Send + 'static {
    /// What a new file starts with.
    fn header(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Appends the batch. Called once per transaction, so formats with blocks end one here.
    fn write(&mut self, batch: &Batch, out: &mut Vec<u8>);

    /// What a closed file ends with.
    fn footer(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Whether a file that exists may be appended to.
    fn supports_reopen(&self) -> bool {
        true
    }
}
