//! What Python calls times, addresses and their ranges, and the sides of a tunnel.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use kojuto_core::net::cidr::Cidr;
use kojuto_io::Error;
use kojuto_io::relay::{Address, Party};
use pyo3::prelude::*;

use crate::errors::{refused, to_py};

pub(super) fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| refused(format!("{value} is not a number of seconds")))
}

pub(super) fn ranges(texts: &[String]) -> PyResult<Vec<Cidr>> {
    let found: Result<_, kojuto_core::Error> = texts.iter().map(|range| range.parse()).collect();
    found.map_err(Error::from).map_err(to_py)
}

/// The side of a tunnel that speaks WebSocket.
pub(super) fn party(name: &str) -> PyResult<Party> {
    match name {
        "client" => Ok(Party::Client),
        "upstream" => Ok(Party::Upstream),
        other => Err(refused(format!("websocket={other}"))),
    }
}

/// An address, that of one link with the link's number (`fe80::1%2`).
pub(super) fn address((ip, port): (String, u16)) -> PyResult<SocketAddr> {
    let wrong = || refused(format!("{ip} is not an IP address"));
    if let Some((plain, link)) = ip.split_once('%') {
        let plain: Ipv6Addr = plain.parse().map_err(|_| wrong())?;
        let link: u32 = link.parse().map_err(|_| wrong())?;
        return Ok(SocketAddrV6::new(plain, port, 0, link).into());
    }
    let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
    Ok(SocketAddr::new(ip, port))
}

/// An address, or a UNIX socket by `unix:PATH` and any port.
pub(super) fn upstream((host, port): (String, u16)) -> PyResult<Address> {
    if let Some(path) = host.strip_prefix("unix:") {
        return Ok(Address::Unix(Path::new(path).into()));
    }
    address((host, port)).map(Address::from)
}
