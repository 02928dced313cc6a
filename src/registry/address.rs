//! Which network addresses may be contacted, and the resolver that enforces it.
//!
//! The check sits where names become the addresses that are connected to, so that a name which
//! answers differently the second time gains nothing.
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;

use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;
use tokio::sync::Semaphore;
use url::Host;
use url::Url;

use super::limits::LOOKUP_PATIENCE;

/// Which addresses a connection may lead to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressRule {
    /// Link-local addresses, among them the metadata services of cloud providers.
    pub link_local: bool,
    /// Loopback, private, unique-local, shared and otherwise special addresses.
    pub private: bool,
}

/// An address that the rule does not allow.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{host} is the {class} address {address}")]
pub struct ForbiddenAddress {
    /// The host as it was named.
    pub host: String,
    /// What it resolves to.
    pub address: IpAddr,
    /// The kind of address.
    pub class: &'static str,
}

/// Too many other names are being looked up: it says nothing about the one that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("other names are being looked up")]
pub(super) struct NoLookup;

impl AddressRule {
    /// Checks one address of `host`.
    ///
    /// # Errors
    /// When the address is of a class that the rule does not allow.
    pub fn check(self, host: &str, address: IpAddr) -> Result<(), ForbiddenAddress> {
        let class = match classify(address) {
            Class::Public => return Ok(()),
            Class::Private if self.private => return Ok(()),
            Class::LinkLocal if self.link_local => return Ok(()),
            Class::Private => "non-public",
            Class::LinkLocal => "link-local",
        };
        Err(ForbiddenAddress { host: host.to_owned(), address, class })
    }

    /// Checks an address written into a URL; such addresses never reach the resolver.
    ///
    /// # Errors
    /// As [`Self::check`]; a URL that names a host passes.
    pub fn check_literal(self, url: &Url) -> Result<(), ForbiddenAddress> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        self.check(url.host_str().unwrap_or_default(), address)
    }
}

/// Resolves through the system, and refuses a name when any of its addresses is not allowed.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver {
    pub(super) rule: AddressRule,
    /// Hosts of our own proxies, which may be private.
    pub(super) proxies: Arc<[String]>,
    /// Lookups that may still begin.
    pub(super) lookups: Arc<Semaphore>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { mut rule, proxies, lookups } = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            rule.private |= proxies.iter().any(|proxy| proxy == host);
            let turn = tokio::time::timeout(LOOKUP_PATIENCE, lookups.acquire_owned());
            let turn = turn.await.map_err(|_| NoLookup)??;
            let asked = host.to_owned();
            // The turn stays with the thread: it ends with the lookup, not with whoever waits.
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (asked.as_str(), 0).to_socket_addrs();
                drop(turn);
                found
            });
            let addresses: Vec<SocketAddr> = lookup.await??.collect();
            for address in &addresses {
                rule.check(host, address.ip())?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

enum Class {
    LinkLocal,
    Private,
    Public,
}

fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => classify_v4(v4),
            None => classify_v6(v6),
        },
    }
}

/// Anything that the IANA special-purpose registry does not call globally reachable.
fn classify_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, _] = address.octets();
    if address.is_link_local() || METADATA_V4.contains(&address) {
        return Class::LinkLocal;
    }
    let special = address.is_loopback()
        || address.is_private()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (b & 0xc0) == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b & 0xfe) == 18);
    if special { Class::Private } else { Class::Public }
}

fn classify_v6(address: Ipv6Addr) -> Class {
    if address.is_unicast_link_local()
        || address.octets().starts_with(&AWS_METADATA_PREFIX)
        || address == GOOGLE_METADATA_V6
        || local_v4(address).is_some_and(|v4| matches!(classify_v4(v4), Class::LinkLocal))
    {
        return Class::LinkLocal;
    }
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is given out for global unicast; within it, 2001:0::/23 (protocol
    // assignments, among them Teredo) and 2001:db8::/32 (documentation) are special.
    let global = (first & 0xe000) == 0x2000
        && !(first == 0x2001 && (second & 0xfe00) == 0)
        && !(first == 0x2001 && second == 0x0db8);
    if global { Class::Public } else { Class::Private }
}

/// Metadata and host services of cloud providers outside the link-local range: Azure's host (a
/// public address by its number), Alibaba's and Oracle's metadata.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Google's metadata over IPv6.
const GOOGLE_METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// `fd00:ec2::/32`, where EC2 serves instance metadata over IPv6.
const AWS_METADATA_PREFIX: [u8; 4] = [0xfd, 0x00, 0x0e, 0xc2];

/// The IPv4 address inside a mapped, compatible, NAT64 (64:ff9b::/96) or 6to4 (2002::/16) one.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match (s0, s1, s2, s3, s4, s5) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(join(s6, s7)),
        (0, 0, 0, 0, 0, 0) if s6 != 0 => Some(join(s6, s7)),
        (0x2002, ..) => Some(join(s1, s2)),
        _ => None,
    }
}

/// The IPv4 address inside one of a translator at home: 64:ff9b:1::/48 (RFC 8215) and
/// ::ffff:0:0:0/96 (RFC 2765). These are never public; a registry of one's own may lie there.
fn local_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let local = matches!((s0, s1, s2), (0x64, 0xff9b, 1))
        || matches!((s0, s1, s2, s3, s4, s5), (0, 0, 0, 0, 0xffff, 0));
    local.then(|| Ipv4Addr::from_bits((u32::from(s6) << 16) | u32::from(s7)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREIGN: AddressRule = AddressRule { link_local: false, private: false };
    const OWN: AddressRule = AddressRule { link_local: false, private: true };

    #[test]
    fn rejects_every_special_range() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "2001:db8::1",
            "fd00:ec2::254",
            "64:ff9b:1::808:808",
            "::ffff:0:8.8.8.8",
            "168.63.129.16",
            "64:ff9b::a83f:8110",
        ] {
            let address = text.parse().unwrap();
            assert!(FOREIGN.check("x", address).is_err(), "{text}");
        }
    }

    #[test]
    fn accepts_public_addresses() {
        for text in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1111"] {
            assert_eq!(FOREIGN.check("x", text.parse().unwrap()), Ok(()), "{text}");
        }
    }

    #[test]
    fn own_registry_may_be_private_but_not_link_local() {
        for text in ["10.1.2.3", "127.0.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"] {
            assert_eq!(OWN.check("x", text.parse().unwrap()), Ok(()), "{text}");
        }
        for text in [
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "64:ff9b:1::a9fe:a9fe",
            "::ffff:0:169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd20:ce::254",
        ] {
            let error = OWN.check("x", text.parse().unwrap()).unwrap_err();
            assert_eq!(error.class, "link-local", "{text}");
        }
    }

    #[test]
    fn rejects_addresses_in_disguise() {
        for url in ["http://0x7f.1/", "http://2130706433/", "http://[::ffff:7f00:1]/"] {
            let url = Url::parse(url).unwrap();
            assert!(FOREIGN.check_literal(&url).is_err(), "{url}");
        }
    }
}
