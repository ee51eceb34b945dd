//! Networks of addresses.

use std::net::IpAddr;

/// All addresses that begin with the same bits: an address and how many of its bits count (CIDR,
/// RFC 4632). IPv4-mapped IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4 { bits: u32, mask: u32 },
    V6 { bits: u128, mask: u128 },
}

impl Network {
    /// Of `10.0.0.0/8`, `fd00::/8`, or one address alone. `None`: neither; or bits are set that do
    /// not count, which is a slip; or none count, which would be everybody.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Some(all), plain_number)?;
        if length == 0 || length > all {
            return None;
        }
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) => {
                let length = length.checked_sub(96).filter(|length| *length > 0)?;
                Self::v4(mapped.to_bits(), length)
            }
            (IpAddr::V4(v4), _) => Self::v4(v4.to_bits(), length),
            (IpAddr::V6(v6), _) => {
                let (bits, mask) = (v6.to_bits(), u128::MAX << (128 - length));
                (bits & !mask == 0).then_some(Self::V6 { bits, mask })
            }
        }
    }

    fn v4(bits: u32, length: u32) -> Option<Self> {
        let mask = u32::MAX << (32 - length);
        (bits & !mask == 0).then_some(Self::V4 { bits, mask })
    }

    /// Whether it is one of them. `address` is canonical: never IPv4-mapped.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (*self, address) {
            (Self::V4 { bits, mask }, IpAddr::V4(v4)) => v4.to_bits() & mask == bits,
            (Self::V6 { bits, mask }, IpAddr::V6(v6)) => v6.to_bits() & mask == bits,
            _ => false,
        }
    }
}

/// At most three digits and nothing else.
fn plain_number(digits: &str) -> Option<u32> {
    let plain = digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}
