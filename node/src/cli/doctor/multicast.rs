//! Whether multicast works both ways on each interface, as mDNS needs it.
//!
//! A question for nodes goes out on each interface; that it comes back shows that the interface sends and
//! that the kernel delivers, an answer from another machine shows that the network passes both ways.

use std::{
    collections::BTreeSet,
    io,
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use if_addrs::{IfAddr, Ifv4Addr};
use socket2::{Domain, Protocol, Socket, Type};

use crate::views::checkup::{Finding, Level};

/// Where mDNS is spoken.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;

/// How long answers are listened for: nodes answer at once.
const LISTEN: Duration = Duration::from_millis(1_200);

/// How long one interface is listened to at a time.
const TURN: Duration = Duration::from_millis(20);

/// A question for `_p2p._udp.local`, as libp2p asks it: id 0, no flags, one question of type PTR, class IN.
const QUESTION: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_p2p\x04_udp\x05local\0\0\x0c\0\x01";

/// Interfaces that are looked at.
const INTERFACES_MAX: usize = 16;

pub(super) fn findings() -> Vec<Finding> {
    let interfaces = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            let next = "start the nodes with --bootstrap, which needs no multicast";
            return vec![Finding::new("multicast", Level::Skipped, format!("no interface can be read: {error}"), next)];
        }
    };
    let mut own = Vec::new();
    for interface in interfaces {
        if let IfAddr::V4(address) = interface.addr
            && !address.ip.is_loopback()
            && own.len() < INTERFACES_MAX
        {
            own.push((interface.name, address));
        }
    }
    if own.is_empty() {
        let next = "connect a network; on one machine alone start the nodes with --bootstrap";
        return vec![Finding::new("multicast", Level::Warn, "no interface has an IPv4 address", next)];
    }
    let asking: Vec<_> = own.into_iter().map(|(name, address)| (name, ask(address.ip), address)).collect();
    let heard = listen(asking.iter().filter_map(|(_, socket, _)| socket.as_ref().ok()));
    asking.iter().map(|(name, socket, address)| finding(name, socket.as_ref().err(), address, &heard)).collect()
}

fn finding(name: &str, error: Option<&io::Error>, address: &Ifv4Addr, heard: &BTreeSet<Ipv4Addr>) -> Finding {
    let bootstrap = "start the nodes with --bootstrap HOST:PORT, which needs no multicast";
    if let Some(error) = error {
        let seen = format!("{name} ({}): nothing can be sent to {GROUP}: {error}", address.ip);
        return Finding::new("multicast", Level::Warn, seen, bootstrap);
    }
    let subnet = |ip: Ipv4Addr| u32::from(ip) & u32::from(address.netmask);
    let others = heard.iter().filter(|ip| **ip != address.ip && subnet(**ip) == subnet(address.ip)).count();
    if others > 0 {
        let machines = if others == 1 { "another machine".to_owned() } else { format!("{others} other machines") };
        return Finding::ok("multicast", format!("{name} ({}): works both ways, {machines} heard", address.ip));
    }
    let seen = format!("{name} ({}): sends{}; no other machine was heard", address.ip, {
        if heard.contains(&address.ip) { " and hears itself" } else { ", but does not even hear itself" }
    });
    let level = if heard.contains(&address.ip) { Level::Skipped } else { Level::Warn };
    Finding::new("multicast", level, seen, format!("start a node on another machine and look again; else {bootstrap}"))
}

/// Asks on one interface.
fn ask(interface: Ipv4Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT).into())?;
    socket.join_multicast_v4(&GROUP, &interface)?;
    socket.set_multicast_if_v4(&interface)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_read_timeout(Some(TURN))?;
    socket.send_to(QUESTION, &SocketAddrV4::new(GROUP, PORT).into())?;
    Ok(socket)
}

/// Who is heard, on whichever socket.
fn listen<'a>(sockets: impl Iterator<Item = &'a Socket>) -> BTreeSet<Ipv4Addr> {
    let sockets: Vec<&Socket> = sockets.collect();
    let mut heard = BTreeSet::new();
    let end = Instant::now() + LISTEN;
    let mut buffer = [MaybeUninit::uninit(); 9_000];
    while Instant::now() < end && !sockets.is_empty() {
        for socket in &sockets {
            if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                heard.extend(from.as_socket().and_then(|from| match from.ip() {
                    IpAddr::V4(ip) => Some(ip),
                    IpAddr::V6(_) => None,
                }));
            }
        }
    }
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hearing_a_machine_of_the_same_network_shows_both_ways() {
        let address = |ip: [u8; 4]| Ifv4Addr {
            ip: ip.into(),
            netmask: [255, 255, 255, 0].into(),
            prefixlen: 24,
            broadcast: None,
        };
        let own = address([10, 0, 0, 1]);
        let heard = |ips: &[[u8; 4]]| ips.iter().map(|ip| Ipv4Addr::from(*ip)).collect::<BTreeSet<_>>();
        let level = |ips: &[[u8; 4]]| finding("eth0", None, &own, &heard(ips)).level;
        assert_eq!(level(&[[10, 0, 0, 1], [10, 0, 0, 2]]), Level::Ok);
        assert_eq!(level(&[[10, 0, 0, 1], [10, 0, 1, 2]]), Level::Skipped, "that is another network");
        assert_eq!(level(&[]), Level::Warn);
    }
}
