//! What this machine's loopback TCP can do at all: one thread writes, one reads, nobody looks at the bytes.
//!
//! It is measured in the run of each case, because a figure from another hour or another machine says nothing.

use anyhow::{Context as _, Result, anyhow};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Size of reads, and least size of writes: smaller ones would measure system calls.
const CHUNK_SIZE_MIN: usize = 256 << 10;

/// Bytes per second from one thread to another; writes are of `frame_size` if that is large.
///
/// # Errors
/// When loopback sockets cannot be made.
pub fn bytes_per_second(frame_size: usize, time: Duration) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the raw measurement")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    sender.set_nodelay(true)?;
    let writer = std::thread::spawn(move || {
        let chunk = vec![7; frame_size.max(CHUNK_SIZE_MIN)];
        // The receiver ends the measurement by closing.
        while sender.write_all(&chunk).is_ok() {}
    });
    let mut chunk = vec![0; frame_size.max(CHUNK_SIZE_MIN)];
    let warm_up = Instant::now() + time / 10;
    while Instant::now() < warm_up {
        receive(&mut receiver, &mut chunk)?;
    }
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < time {
        bytes += receive(&mut receiver, &mut chunk)?;
    }
    let elapsed = start.elapsed();
    drop(receiver);
    writer.join().map_err(|_| anyhow!("the raw sender panicked"))?;
    Ok(bytes as f64 / elapsed.as_secs_f64())
}

fn receive(stream: &mut TcpStream, chunk: &mut [u8]) -> Result<usize> {
    loop {
        match stream.read(chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other.context("raw read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_loopback_moves_bytes_and_ends() {
        assert!(bytes_per_second(1000, Duration::from_millis(50)).unwrap() > 0.0);
    }
}
