//! Listening, as Java does it: host names resolve to IPv4 first, an address in use is tried again by supervision.

use crate::component::error::RunError;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket, UdpSocket, lookup_host};

/// Connections that may wait to be accepted, as in Flume.
const BACKLOG: u32 = 1_024;

/// Listens for TCP connections on the first address of `host` that can be had; port 0 takes a free one.
///
/// # Errors
/// A retry: the name may resolve, or the address may be free, later.
pub async fn tcp(host: &str, port: u16) -> Result<TcpListener, RunError> {
    first(host, port, "listen on", listen_on).await
}

/// Binds a UDP socket likewise.
///
/// # Errors
/// As [`tcp`].
pub async fn udp(host: &str, port: u16) -> Result<UdpSocket, RunError> {
    first(host, port, "bind", |address| {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    })
    .await
}

/// As [`tcp`]; without a host on all interfaces, of IPv6 and IPv4 where there are both.
///
/// # Errors
/// As [`tcp`].
pub async fn tcp_anywhere(host: Option<&str>, port: u16) -> Result<TcpListener, RunError> {
    match host {
        Some(host) => tcp(host, port).await,
        // Linux serves both at the unspecified address of IPv6.
        None => match tcp("::", port).await {
            Ok(listener) => Ok(listener),
            Err(_) => tcp("0.0.0.0", port).await,
        },
    }
}

/// As [`udp`]; without a host as [`tcp_anywhere`].
///
/// # Errors
/// As [`tcp`].
pub async fn udp_anywhere(host: Option<&str>, port: u16) -> Result<UdpSocket, RunError> {
    match host {
        Some(host) => udp(host, port).await,
        None => match udp("::", port).await {
            Ok(socket) => Ok(socket),
            Err(_) => udp("0.0.0.0", port).await,
        },
    }
}

async fn first<T>(
    host: &str,
    port: u16,
    verb: &str,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<T, RunError> {
    let failed = |what: &str, error: io::Error| {
        RunError::retry(format!("cannot {what} {host}:{port}")).caused_by(error)
    };
    let mut last = None;
    let found = lookup_host((host, port))
        .await
        .map_err(|e| failed("resolve", e))?;
    // Java prefers IPv4, and peers that say `localhost` expect it.
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    for address in addresses {
        match bind(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = Some(error),
        }
    }
    Err(failed(
        verb,
        last.unwrap_or_else(|| io::Error::other("no address")),
    ))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
