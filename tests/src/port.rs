//! Loopback ports that nobody else has: neither this process, nor another one that runs tests at the same time.
//!
//! Asking the kernel for port 0 and closing again is not enough: between that and the node's bind the kernel may give
//! the port to an outgoing connection of another test. So ports come from below the range that the kernel draws from
//! on its own (32768 and up on Linux), and a locked file per port keeps other test processes away until this one ends.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::process;
use std::sync::Mutex;

const PORTS: Range<u16> = 21_000..32_000;

/// Ports handed out by this process, with their locks.
static TAKEN: Mutex<BTreeMap<u16, File>> = Mutex::new(BTreeMap::new());

/// A TCP port of 127.0.0.1 that is free now, and is given to nobody else while this process runs.
///
/// # Panics
/// When all ports are taken.
pub fn free() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let size = u32::from(PORTS.end - PORTS.start);
    // Processes start at different places, so that they seldom meet.
    let first = process::id().wrapping_mul(97) % size;
    for step in 0..size {
        let offset = u16::try_from((first + step) % size).expect("the range of ports fits into 16 bits");
        let port = PORTS.start + offset;
        if taken.contains_key(&port) {
            continue;
        }
        if let Some(lock) = lock(port)
            && is_free(port)
        {
            taken.insert(port, lock);
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}

/// The lock of a port, unless another process has it. It goes when the process does, however that ends.
fn lock(port: u16) -> Option<File> {
    let folder = std::env::temp_dir().join("millrace-test-ports");
    fs::create_dir_all(&folder).ok()?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(port.to_string()))
        .ok()?;
    file.try_lock().ok()?;
    Some(file)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_port_is_handed_out_twice() {
        let ports: BTreeSet<u16> = (0..50).map(|_| free()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let port = free();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!is_free(port));
    }

    #[test]
    fn a_port_of_ours_is_locked_for_others() {
        // A lock belongs to an open file, so a second one of this process stands for another process.
        assert!(lock(free()).is_none());
    }
}
