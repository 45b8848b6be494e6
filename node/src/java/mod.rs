//! What Java means by a pattern, a charset and a date: the words of Flume's properties that only Java defines.
//!
//! Pure text work, shared by components; the order of Java's hash maps is in [`proto::java`], where formats need it.

pub mod charset;
pub mod date;
pub mod regex;
