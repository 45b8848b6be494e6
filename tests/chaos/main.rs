//! What happens to a file channel when everything around it fails: the process, the power, the disk, one call of it.
//!
//! | file       | what is shown                                                                                        |
//! |------------|------------------------------------------------------------------------------------------------------|
//! | `power.rs` | the power of an ext4 and an XFS is cut under writers: what was acknowledged is there once, in order  |
//! | `calls.rs` | killed at every call to the disk, and every call fails once: nothing lost, doubled or acknowledged   |
//! | `disks.rs` | a full disk drains and is used again; a disk that is gone costs its channel only                     |
//! | `golden.rs`| a folder of format 1, committed, is opened and drained                                               |
//! | `kills.rs` | real nodes, killed at random a hundred and fifty times, with a sink that verifies                    |
//!
//! `channel.rs` has what they share: a file channel in this process, and what is known of its events. Sizes and seeds are
//! those of `tests::seeds`; the campaign with the large ones is told in README.md. What needs root, loop devices or
//! strace says loudly that it is skipped.

mod calls;
mod channel;
mod disks;
mod golden;
mod kills;
mod power;
