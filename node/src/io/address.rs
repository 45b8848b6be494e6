//! Names of addresses, and the machine's own name and address as `InetAddress.getLocalHost` has them.

use std::net::{IpAddr, ToSocketAddrs};

/// The name that reverse look-up gives for an address; none if there is none. May take as long as DNS takes.
pub async fn host_name(address: IpAddr) -> Option<String> {
    let found = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address)).await;
    let name = found.ok()?.ok()?;
    // Without a name the system returns the address as text.
    (name != address.to_string()).then_some(name)
}

/// This machine's name and the address that its name resolves to. Blocks as long as DNS takes.
pub fn local_host() -> Option<(String, IpAddr)> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    let mut addresses: Vec<IpAddr> = (name.as_str(), 0)
        .to_socket_addrs()
        .ok()?
        .map(|a| a.ip())
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    Some((name, *addresses.first()?))
}
