//! What this machine's loopback TCP can do at all: one thread writes, one reads, nobody looks at the bytes.
//!
//! It is measured in the run of each case, because a figure from another hour or another machine says nothing. Even
//! within seconds it varies by a factor of several, with where the two threads happen to run, so several short slices
//! over fresh connections are taken, and the best is the ceiling. The receiver sends a byte back per chunk and the
//! sender is never far ahead of it: a stream without bounds fills megabytes of socket buffer, falls out of the cache and
//! is *slower* than a protocol that waits for answers, and so no ceiling.

use crate::usage;
use anyhow::{Context as _, Result, anyhow};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Size of writes and reads in each slice.
const CHUNK_SIZES: [usize; 6] = [64 << 10, 256 << 10, 512 << 10, 64 << 10, 256 << 10, 512 << 10];

/// Chunks the sender may be ahead of the receiver.
const AHEAD_MAX: usize = 2;

/// Name of the threads, by which their CPU is told apart.
const THREAD_NAME: &str = "raw";

/// Raw loopback TCP.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Raw {
    /// Bytes per second of the fastest slice.
    pub bytes_per_second: f64,
    /// Bytes per second of the slowest slice.
    pub bytes_per_second_min: f64,
    /// CPU seconds per byte, of both ends together, over all slices.
    pub cpu_per_byte: f64,
}

/// Measures for `time` in all.
///
/// # Errors
/// When loopback sockets cannot be made.
pub fn measure(time: Duration) -> Result<Raw> {
    let (mut best, mut worst, mut cpu, mut bytes) = (0f64, f64::INFINITY, 0.0, 0.0);
    for chunk_size in CHUNK_SIZES {
        let slice = slice(chunk_size, time / CHUNK_SIZES.len() as u32)?;
        let rate = slice.bytes as f64 / slice.elapsed.as_secs_f64();
        (best, worst) = (best.max(rate), worst.min(rate));
        cpu += slice.cpu.as_secs_f64();
        bytes += slice.bytes as f64;
    }
    Ok(Raw {
        bytes_per_second: best,
        bytes_per_second_min: worst,
        cpu_per_byte: cpu / bytes.max(1.0),
    })
}

struct Slice {
    bytes: u64,
    elapsed: Duration,
    cpu: Duration,
}

fn slice(chunk_size: usize, time: Duration) -> Result<Slice> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the raw measurement")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    sender.set_nodelay(true)?;
    let writer = thread("send", move || {
        let chunk = vec![7; chunk_size];
        let mut ahead = 0;
        // The receiver ends the slice by closing.
        while sender.write_all(&chunk).is_ok() {
            ahead += 1;
            if ahead > AHEAD_MAX && sender.read_exact(&mut [0]).is_err() {
                break;
            }
        }
        Ok(())
    })?;
    let reader = thread("receive", move || {
        let mut chunk = vec![0; chunk_size];
        let warm_up = Instant::now() + time / 10;
        while Instant::now() < warm_up {
            receive(&mut receiver, &mut chunk)?;
        }
        let (start, mut bytes, before) = (Instant::now(), 0, usage::cpu_of_own_threads(THREAD_NAME)?);
        while start.elapsed() < time {
            bytes += receive(&mut receiver, &mut chunk)? as u64;
        }
        let elapsed = start.elapsed();
        Ok(Slice {
            bytes,
            elapsed,
            cpu: usage::cpu_of_own_threads(THREAD_NAME)?.saturating_sub(before),
        })
    })?;
    let slice = reader.join().map_err(|_| anyhow!("the raw receiver panicked"))?;
    writer.join().map_err(|_| anyhow!("the raw sender panicked"))??;
    slice
}

fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<std::thread::JoinHandle<Result<T>>> {
    std::thread::Builder::new()
        .name(format!("{THREAD_NAME}-{name}"))
        .spawn(work)
        .context("thread")
}

/// Reads a chunk and tells the sender so.
fn receive(stream: &mut TcpStream, chunk: &mut [u8]) -> Result<usize> {
    stream.read_exact(chunk).context("raw read")?;
    stream.write_all(&[0]).context("raw credit")?;
    Ok(chunk.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_loopback_moves_bytes_and_ends() {
        let raw = measure(Duration::from_millis(120)).unwrap();
        assert!(raw.bytes_per_second >= raw.bytes_per_second_min && raw.bytes_per_second_min > 0.0);
    }
}
