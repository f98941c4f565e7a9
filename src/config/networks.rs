//! Networks, as the operator lists them: `10.0.0.0/8, 2001:db8::/32, 192.0.2.7`.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// The prefix of version 4 addresses that are written as version 6 ones (RFC 4291 section 2.5.5.2),
/// in bits.
const MAPPED_PREFIX_BITS: u8 = 96;

/// A list of networks; empty = none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkList(Vec<IpNet>);

impl NetworkList {
    /// Whether no network is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is in one of the networks; one of version 4 in either spelling.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for NetworkList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(parse_network).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| text.parse::<IpNet>());
    let network = network
        .map_err(|_| format!("{text:?} is no network, for example 10.0.0.0/8 or 2001:db8::/32"))?;
    if network.prefix_len() == 0 {
        return Err(format!("{text} trusts every address, and then each client may claim any"));
    }
    let mapped = match network {
        IpNet::V6(network) if network.prefix_len() >= MAPPED_PREFIX_BITS => {
            network.addr().to_ipv4_mapped()
        }
        _ => None,
    };
    let Some(address) = mapped else { return Ok(network.trunc()) };
    let narrowed = Ipv4Net::new(address, network.prefix_len() - MAPPED_PREFIX_BITS);
    match narrowed {
        Ok(narrowed) if narrowed.prefix_len() > 0 => Ok(IpNet::V4(narrowed.trunc())),
        _ => Err(format!(
            "{text} trusts every address of version 4, and then each client may claim any"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_they_are_written() {
        let networks: NetworkList =
            " 10.1.2.3/8,192.0.2.7 ,2001:db8::/32, ::ffff:172.16.0.0/108".parse().unwrap();
        for inside in ["10.255.0.1", "192.0.2.7", "2001:db8::9", "172.31.0.1", "::ffff:10.0.0.1"] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::9", "172.32.0.1", "::1"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!("".parse::<NetworkList>().unwrap().is_empty());
        for wrong in [
            "10.0.0.0/33",
            "proxy.example",
            "10.0.0.0/8;::1",
            "0.0.0.0/0",
            "::/0",
            "::ffff:0.0.0.0/96",
        ] {
            assert!(wrong.parse::<NetworkList>().is_err(), "{wrong}");
        }
    }
}
