//! Addresses: as people write them, as this host dials them, and the resolution of names.

use std::{net::IpAddr, net::SocketAddr, time::Duration};

use libp2p::{Multiaddr, multiaddr::Protocol};

use super::ids::Libp2pId;

/// Most addresses of one dial; more are ignored.
pub(super) const ADDRESSES_MAX: usize = 16;
/// Most addresses taken from one name.
const IPS_PER_NAME_MAX: usize = 8;
/// Longest resolution of one name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest text quoted in an error, in characters.
const QUOTE_MAX: usize = 160;

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address: {reason}")]
pub struct AddressError {
    /// The text, cut to 160 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Reads an address to dial: a multiaddr (`/ip4/…/tcp/…`, `/dns/…/tcp/…`, `/ip4/…/udp/…/quic-v1`,
/// each with or without `/p2p/…`) or `host:port` (TCP).
///
/// # Errors
/// [`AddressError`], one line; also for `0.0.0.0` and port 0, which cannot be dialled.
pub fn parse_address(text: &str) -> Result<Multiaddr, AddressError> {
    let address = read(text).map_err(|reason| quote(text, reason))?;
    dialable(&address).map_err(|reason| quote(text, reason))?;
    Ok(address)
}

/// Reads an address to listen on: like [`parse_address`], but with an IP address, which may be
/// `0.0.0.0` or `::`, without `/p2p/…`, and port 0 lets the system choose.
///
/// # Errors
/// [`AddressError`], one line.
pub fn parse_listen_address(text: &str) -> Result<Multiaddr, AddressError> {
    let address = read(text).map_err(|reason| quote(text, reason))?;
    match Shape::of(&address).map_err(|reason| quote(text, reason))? {
        Shape { host: Name::Dns(..), .. } => Err(quote(text, "listen on an IP address, not on a name")),
        Shape { peer: Some(_), .. } => Err(quote(text, "the address to listen on holds no /p2p/")),
        _ => Ok(address),
    }
}

fn quote(text: &str, reason: &'static str) -> AddressError {
    AddressError { text: text.chars().take(QUOTE_MAX).collect(), reason }
}

fn read(text: &str) -> Result<Multiaddr, &'static str> {
    if text.starts_with('/') {
        return text.parse().map_err(|_| "not a valid multiaddr");
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port())));
    }
    let (host, port) =
        text.rsplit_once(':').ok_or("expected host:port or a multiaddr such as /ip4/192.0.2.1/tcp/4001")?;
    let port = port.parse().map_err(|_| "the port is no number from 0 to 65535")?;
    let is_name = (1..=253).contains(&host.len())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if !is_name {
        return Err("the host is neither a name nor an IP address");
    }
    Ok(Multiaddr::empty().with(Protocol::Dns(host.into())).with(Protocol::Tcp(port)))
}

/// Where an address leads, read from its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) host: Name,
    pub(super) quic: bool,
    pub(super) port: u16,
    pub(super) peer: Option<Libp2pId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Ip(IpAddr),
    Dns(String, Family),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Any,
    V4,
    V6,
}

impl Shape {
    /// The shape of an address that one of our transports could carry.
    pub(super) fn of(address: &Multiaddr) -> Result<Self, &'static str> {
        let mut parts = address.iter();
        let host = match parts.next() {
            Some(Protocol::Ip4(ip)) => Name::Ip(ip.into()),
            Some(Protocol::Ip6(ip)) => Name::Ip(ip.into()),
            Some(Protocol::Dns(name)) => Name::Dns(name.into_owned(), Family::Any),
            Some(Protocol::Dns4(name)) => Name::Dns(name.into_owned(), Family::V4),
            Some(Protocol::Dns6(name)) => Name::Dns(name.into_owned(), Family::V6),
            _ => return Err("it should start with /ip4/, /ip6/ or /dns/"),
        };
        let (port, quic) = match parts.next() {
            Some(Protocol::Tcp(port)) => (port, false),
            Some(Protocol::Udp(port)) if parts.next() == Some(Protocol::QuicV1) => (port, true),
            _ => return Err("after the host comes /tcp/<port> or /udp/<port>/quic-v1"),
        };
        let peer = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some(Protocol::P2p(peer)), None) => Some(peer),
            _ => return Err("only /p2p/<peer id> may follow the port"),
        };
        Ok(Self { host, quic, port, peer })
    }

    fn at(&self, ip: IpAddr) -> Multiaddr {
        let address = Multiaddr::from(ip);
        let address = match self.quic {
            true => address.with(Protocol::Udp(self.port)).with(Protocol::QuicV1),
            false => address.with(Protocol::Tcp(self.port)),
        };
        match self.peer {
            Some(peer) => address.with(Protocol::P2p(peer)),
            None => address,
        }
    }
}

/// Checks that an address can be dialled at all.
pub(super) fn dialable(address: &Multiaddr) -> Result<Shape, &'static str> {
    let shape = Shape::of(address)?;
    if shape.port == 0 {
        return Err("port 0 cannot be dialled");
    }
    match &shape.host {
        Name::Ip(ip) if ip.is_unspecified() => Err("0.0.0.0 and :: cannot be dialled"),
        Name::Ip(ip) if ip.is_multicast() => Err("a multicast address cannot be dialled"),
        _ => Ok(shape),
    }
}

/// The address without `/p2p/…` at its end.
pub(super) fn bare(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}

/// Whether the address leads to the machine itself.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    matches!(Shape::of(address), Ok(Shape { host: Name::Ip(ip), .. }) if ip.is_loopback())
}

/// Replaces names by the IP addresses that the system's resolver knows now. What cannot be dialled
/// or resolved is left out; the last reason for that is told.
pub(super) async fn resolve(addresses: Vec<Multiaddr>) -> (Vec<Multiaddr>, Option<String>) {
    let (mut resolved, mut reason) = (Vec::new(), None);
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let shape = match dialable(&address) {
            Ok(shape) => shape,
            Err(error) => {
                reason = Some(format!("{address}: {error}"));
                continue;
            }
        };
        let Name::Dns(name, family) = &shape.host else {
            resolved.push(address);
            continue;
        };
        match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name.as_str(), shape.port))).await {
            Ok(Ok(found)) => {
                let ips = found.map(|found| found.ip()).filter(|ip| match family {
                    Family::Any => true,
                    Family::V4 => ip.is_ipv4(),
                    Family::V6 => ip.is_ipv6(),
                });
                let before = resolved.len();
                resolved.extend(
                    ips.take(IPS_PER_NAME_MAX).map(|ip| shape.at(ip)).filter(|address| dialable(address).is_ok()),
                );
                if resolved.len() == before {
                    reason = Some(format!("{name} has no usable address"));
                }
            }
            Ok(Err(error)) => reason = Some(format!("{name} does not resolve: {error}")),
            Err(_) => reason = Some(format!("{name} does not resolve in time")),
        }
    }
    (resolved, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWEZXjE41uU4EL2gpkAQeDXYok6wghN7wwNVPF5bwkaNfS";

    #[test]
    fn addresses_are_read_in_every_usual_form() {
        for (text, address) in [
            ("192.0.2.1:4001", "/ip4/192.0.2.1/tcp/4001".to_owned()),
            ("[2001:db8::1]:4001", "/ip6/2001:db8::1/tcp/4001".to_owned()),
            ("relay-1.example:4001", "/dns/relay-1.example/tcp/4001".to_owned()),
            ("/ip4/192.0.2.1/udp/4001/quic-v1", "/ip4/192.0.2.1/udp/4001/quic-v1".to_owned()),
            (&format!("/dns4/a/tcp/1/p2p/{PEER}"), format!("/dns4/a/tcp/1/p2p/{PEER}")),
        ] {
            assert_eq!(parse_address(text).expect(text).to_string(), address);
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_in_one_line_c6() {
        for text in [
            "",
            "host",
            "host:",
            "host:70000",
            "a b:1",
            ":1",
            "192.0.2.1:0",
            "0.0.0.0:4001",
            "[::]:4001",
            "224.0.0.1:1",
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/192.0.2.1",
            "/ip4/192.0.2.1/udp/4001",
            "/ip4/192.0.2.1/tcp/4001/ws",
            "/ip4/192.0.2/tcp/4001",
            "/unix/tmp",
            "/p2p-circuit",
        ] {
            let error = parse_address(text).expect_err(text).to_string();
            assert!(!error.contains('\n') && error.len() < 400, "{error}");
        }
        assert!(parse_address(&"x".repeat(10_000)).expect_err("long").to_string().len() < 400);
    }

    #[test]
    fn listening_takes_any_ip_and_port_but_no_name() {
        assert!(parse_listen_address("0.0.0.0:0").is_ok());
        assert!(parse_listen_address("/ip6/::/udp/0/quic-v1").is_ok());
        assert!(parse_listen_address("localhost:0").is_err());
        assert!(parse_listen_address(&format!("/ip4/0.0.0.0/tcp/1/p2p/{PEER}")).is_err());
    }

    #[tokio::test]
    async fn names_resolve_and_keep_the_rest_of_the_address() {
        let address = format!("/dns4/localhost/udp/7/quic-v1/p2p/{PEER}").parse().expect("address");
        let (resolved, reason) = resolve(vec![address]).await;
        assert_eq!(reason, None);
        assert_eq!(resolved[0].to_string(), format!("/ip4/127.0.0.1/udp/7/quic-v1/p2p/{PEER}"));
        assert_eq!(bare(&resolved[0]).to_string(), "/ip4/127.0.0.1/udp/7/quic-v1");
    }

    #[tokio::test]
    async fn a_name_without_address_says_so() {
        let (resolved, reason) = resolve(vec!["/dns/nothing.invalid/tcp/7".parse().expect("address")]).await;
        assert!(resolved.is_empty());
        assert!(reason.expect("a reason").starts_with("nothing.invalid "));
    }
}
