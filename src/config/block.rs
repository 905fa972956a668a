//! Blocks of addresses: `10.0.0.0/8`.

use std::net::IpAddr;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Block {
    network: IpAddr,
    /// How many of the first bits count. Unit: bits.
    bits: u8,
}

const NOT_ONE: &str = "is not an address, nor one with the length of its prefix: `10.0.0.0/8`";
/// The bits before the IPv4 address in one of IPv6 that has it mapped.
const MAPPED: u8 = 96;

// === impl Block ===

impl Block {
    /// One as it is written; an address alone is itself.
    ///
    /// # Errors
    ///
    /// Why it is none.
    pub(crate) fn new(text: &str) -> Result<Self, &'static str> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| NOT_ONE)?;
        let most: u8 = if network.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| NOT_ONE)?,
            None => most,
        };
        if bits > most {
            return Err(NOT_ONE);
        }
        let mapped = match network {
            IpAddr::V6(address) if bits >= MAPPED => address.to_ipv4_mapped(),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        Ok(match mapped {
            Some(address) => Self { network: address.into(), bits: bits - MAPPED },
            None => Self { network, bits },
        })
    }

    /// The same addresses, with nothing after the prefix: blocks of the same ones are equal so.
    #[cfg(feature = "xds")]
    pub(crate) fn masked(self) -> Self {
        let bits = u32::from(self.bits);
        let network = match self.network {
            IpAddr::V4(it) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
                IpAddr::V4((it.to_bits() & mask).into())
            }
            IpAddr::V6(it) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
                IpAddr::V6((it.to_bits() & mask).into())
            }
        };
        Self { network, bits: self.bits }
    }

    /// Whether the address is one of them; one of IPv4 is that, however a socket has it.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let same = match (self.network, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        same >= u32::from(self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_addresses_a_block_has() {
        for (block, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            // What follows the prefix counts for nothing.
            ("10.1.2.3/8", "10.255.0.1", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "192.0.2.7", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("10.0.0.0/31", "10.0.0.2", false),
            ("2001:db8::/32", "2001:db8:1::9", true),
            ("2001:db8::/32", "2001:db9::9", false),
            ("::/0", "2001:db8::1", true),
            ("::1/128", "::1", true),
            // A socket of both families has callers of IPv4 so.
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("::ffff:10.0.0.0/104", "11.9.9.9", false),
        ] {
            let found = Block::new(block).unwrap().contains(address.parse().unwrap());
            assert_eq!(found, expected, "{address} in {block}");
        }
    }

    #[cfg(feature = "xds")]
    #[test]
    fn blocks_of_the_same_addresses_are_equal_without_what_follows_the_prefix() {
        for (one, other, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8", true),
            ("10.1.2.3/8", "10.0.0.0/9", false),
            ("10.1.2.3", "10.1.2.3/32", true),
            ("10.1.2.3", "10.1.2.2", false),
            ("192.0.2.7/0", "0.0.0.0/0", true),
            ("2001:db8::9/32", "2001:db8::/32", true),
            ("2001:db8::9/128", "2001:db8::/128", false),
            ("::1/0", "::/0", true),
            ("::/0", "0.0.0.0/0", false),
            ("::ffff:10.9.0.0/104", "10.0.0.0/8", true),
        ] {
            let masked = |text: &str| Block::new(text).unwrap().masked();
            assert_eq!(masked(one) == masked(other), expected, "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_block() {
        for text in ["", "/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "a/8", "::1/-1"] {
            assert!(Block::new(text).is_err(), "{text}");
        }
    }
}
