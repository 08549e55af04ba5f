//! PROXY protocol, versions 1 and 2: who the client is, said by the proxy in front.
//!
//! Source: "The PROXY protocol, versions 1 & 2" (haproxy, doc/proxy-protocol.txt), sections 2.1
//! and 2.2; read strictly. The parser is given all bytes so far and answers whether it needs more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::{Error, HeaderFault, Malformed};
use crate::scan::number::digits;

/// The longest version 1 line with its CR LF (section 2.1).
pub const V1_MAX: usize = 107;
/// The longest version 2 header: 16 bytes and what a 16-bit length can say (section 2.2).
pub const V2_MAX: usize = 16 + 0xffff;

const V1_START: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
const UNIX_PATH: usize = 108;
/// TLV: CRC32c of the whole header, its own four bytes taken as zero (section 2.2.3).
const CRC32C: u8 = 0x03;
/// TLV: at most 128 bytes (section 2.2.5).
const UNIQUE_ID: u8 = 0x05;
const MAX_UNIQUE_ID: usize = 128;

/// Whom the header speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// Nothing is said: the socket's own addresses count.
    Unknown,
    /// Internet addresses.
    Inet {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
        /// UDP rather than TCP.
        datagram: bool,
    },
    /// UNIX socket paths, without the padding.
    Unix {
        /// The client.
        source: Vec<u8>,
        /// Where it connected to.
        destination: Vec<u8>,
        /// Datagrams rather than a stream.
        datagram: bool,
    },
}

/// What a whole header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// 1 or 2.
    pub version: u8,
    /// The proxy speaks for itself (a health check): the addresses are not to be used.
    pub local: bool,
    /// Whom it speaks for.
    pub addresses: Addresses,
    /// Type and value of each TLV, in order; none in version 1 and when the addresses are unknown.
    pub tlvs: Vec<(u8, Vec<u8>)>,
    /// Whether a CRC32c was there (and, since the header was accepted, right).
    pub checked: bool,
}

/// How far the bytes lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// All of it could be the beginning of a header.
    NeedMore,
    /// The bytes begin with neither signature: there is no header.
    NotProxy,
    /// A header of `used` bytes; what follows is payload.
    Done {
        /// What it says.
        header: Header,
        /// How long it is.
        used: usize,
    },
}

fn malformed<T>(fault: HeaderFault) -> Result<T, Error> {
    Err(Error::Malformed(Malformed::Header(fault)))
}

/// Reads the header at the front of a stream.
///
/// `bytes` is everything that has come so far, `limit` the longest header that is accepted.
///
/// # Errors
/// [`Error::Malformed`] when it begins like a header and cannot become a good one.
pub fn parse(bytes: &[u8], limit: usize) -> Result<Step, Error> {
    if bytes.starts_with(V2_SIGNATURE) {
        return parse_v2(bytes, limit);
    }
    if bytes.starts_with(V1_START) {
        return parse_v1(bytes, limit);
    }
    Ok(if may_begin(bytes) { Step::NeedMore } else { Step::NotProxy })
}

/// Whether these first bytes of a stream can be nothing but a header, though it may not be whole.
pub fn is_begun(bytes: &[u8]) -> bool {
    bytes.starts_with(V2_SIGNATURE) || bytes.starts_with(V1_START)
}

/// Whether these first bytes of a stream can become a header.
pub fn may_begin(bytes: &[u8]) -> bool {
    is_begun(bytes) || V2_SIGNATURE.starts_with(bytes) || V1_START.starts_with(bytes)
}

/// The longest of the beginnings by which [`is_begun`] knows one.
pub const BEGIN_BYTES: usize = V2_SIGNATURE.len();

fn parse_v1(bytes: &[u8], limit: usize) -> Result<Step, Error> {
    let limit = limit.min(V1_MAX);
    let window = &bytes[..bytes.len().min(limit)];
    let Some(end) = window.iter().position(|&b| b == b'\r' || b == b'\n') else {
        if bytes.len() >= limit {
            return malformed(HeaderFault::NoEnd(limit));
        }
        return Ok(Step::NeedMore);
    };
    if window[end] == b'\n' || end + 2 > limit {
        return malformed(HeaderFault::LineEnd);
    }
    match bytes.get(end + 1) {
        None => return Ok(Step::NeedMore),
        Some(b'\n') => {}
        Some(_) => return malformed(HeaderFault::BareCr),
    }
    let line = &bytes[V1_START.len()..end];
    let addresses = if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        Addresses::Unknown
    } else {
        v1_addresses(line)?
    };
    let header = Header { version: 1, local: false, addresses, tlvs: Vec::new(), checked: false };
    Ok(Step::Done { header, used: end + 2 })
}

fn v1_addresses(line: &[u8]) -> Result<Addresses, Error> {
    let Ok(line) = std::str::from_utf8(line) else {
        return malformed(HeaderFault::NotAscii);
    };
    let fields: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = fields[..] else {
        return malformed(HeaderFault::Fields(fields.len()));
    };
    let read = |text: &str| -> Result<IpAddr, Error> {
        let address = match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
            "TCP6" => text.parse::<Ipv6Addr>().map(|v6| v6.to_canonical()).ok(),
            _ => return malformed(HeaderFault::Protocol(family.to_owned())),
        };
        let (text, family) = (text.to_owned(), family.to_owned());
        address.map_or_else(|| malformed(HeaderFault::Address { text, family }), Ok)
    };
    let port = |text: &str| -> Result<u16, Error> {
        let plain = text == "0" || !text.starts_with('0');
        let value = digits(text.as_bytes()).filter(|_| plain);
        value.map_or_else(|| malformed(HeaderFault::Port(text.to_owned())), Ok)
    };
    Ok(Addresses::Inet {
        source: SocketAddr::new(read(source)?, port(source_port)?),
        destination: SocketAddr::new(read(destination)?, port(destination_port)?),
        datagram: false,
    })
}

fn parse_v2(bytes: &[u8], limit: usize) -> Result<Step, Error> {
    let local = match bytes.get(12) {
        None => return Ok(Step::NeedMore),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(&byte) => return malformed(HeaderFault::Command(byte)),
    };
    let (family, transport) = match bytes.get(13) {
        None => return Ok(Step::NeedMore),
        Some(byte) if byte >> 4 <= 3 && byte & 15 <= 2 => (byte >> 4, byte & 15),
        Some(&byte) => return malformed(HeaderFault::Family(byte)),
    };
    let &[high, low] = match bytes.get(14..16) {
        None => return Ok(Step::NeedMore),
        Some(length) => length.first_chunk::<2>().expect("two bytes"),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let used = V2_FIXED + length;
    if used > limit {
        return malformed(HeaderFault::TooLong { bytes: used, limit });
    }
    let block = if local || family == 0 || transport == 0 { 0 } else { block_length(family) };
    if length < block {
        return malformed(HeaderFault::Block { bytes: length, needed: block });
    }
    let Some(whole) = bytes.get(..used) else { return Ok(Step::NeedMore) };
    let mut header = Header {
        version: 2,
        local,
        addresses: Addresses::Unknown,
        tlvs: Vec::new(),
        checked: false,
    };
    if block > 0 {
        let (addresses, tlvs) = whole[V2_FIXED..].split_at(block);
        header.addresses = v2_addresses(family, transport == 2, addresses);
        header.tlvs = v2_tlvs(tlvs)?;
        header.checked = check_crc32c(whole, V2_FIXED + block)?;
    }
    Ok(Step::Done { header, used })
}

fn block_length(family: u8) -> usize {
    match family {
        1 => 12,
        2 => 36,
        _ => 2 * UNIX_PATH,
    }
}

fn v2_addresses(family: u8, datagram: bool, block: &[u8]) -> Addresses {
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let v4 =
        |at: usize| -> IpAddr { Ipv4Addr::from(*block[at..].first_chunk().expect("4")).into() };
    let v6 = |at: usize| Ipv6Addr::from(*block[at..].first_chunk().expect("16")).to_canonical();
    let path = |at: usize| {
        let padded = &block[at..at + UNIX_PATH];
        let end = padded.iter().position(|&b| b == 0).unwrap_or(UNIX_PATH);
        padded[..end].to_vec()
    };
    match family {
        1 => Addresses::Inet {
            source: SocketAddr::new(v4(0), port(8)),
            destination: SocketAddr::new(v4(4), port(10)),
            datagram,
        },
        2 => Addresses::Inet {
            source: SocketAddr::new(v6(0), port(32)),
            destination: SocketAddr::new(v6(16), port(34)),
            datagram,
        },
        _ => Addresses::Unix { source: path(0), destination: path(UNIX_PATH), datagram },
    }
}

fn v2_tlvs(mut area: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, Error> {
    let mut tlvs = Vec::new();
    while !area.is_empty() {
        let [kind, high, low, rest @ ..] = area else {
            return malformed(HeaderFault::CutTlv);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, next)) = rest.split_at_checked(length) else {
            return malformed(HeaderFault::LongTlv(*kind));
        };
        if *kind == UNIQUE_ID && length > MAX_UNIQUE_ID {
            return malformed(HeaderFault::UniqueId { bytes: length, limit: MAX_UNIQUE_ID });
        }
        tlvs.push((*kind, value.to_vec()));
        area = next;
    }
    Ok(tlvs)
}

/// Verifies the CRC32c TLV, if there is one.
fn check_crc32c(whole: &[u8], mut at: usize) -> Result<bool, Error> {
    while at + 3 <= whole.len() {
        let length = usize::from(u16::from_be_bytes([whole[at + 1], whole[at + 2]]));
        let value = at + 3..at + 3 + length;
        if whole[at] == CRC32C {
            let Ok(stated) = <[u8; 4]>::try_from(&whole[value.clone()]) else {
                return malformed(HeaderFault::CrcLength(length));
            };
            let crc = crc32c(0, &whole[..value.start]);
            let crc = crc32c(crc32c(crc, &[0; 4]), &whole[value.end..]);
            if crc != u32::from_be_bytes(stated) {
                return malformed(HeaderFault::Crc);
            }
            return Ok(true);
        }
        at = value.end;
    }
    Ok(false)
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            // Castagnoli's polynomial, reflected (RFC 4960, appendix B).
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Continues the CRC32c `crc` (0 at the start) over `bytes`.
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!crc, |crc, &byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// The header that tells `addresses` to the next hop, as version 1 text. What version 1 cannot
/// say (UNIX sockets, datagrams) becomes `UNKNOWN`.
pub fn write_v1(addresses: &Addresses) -> Vec<u8> {
    match same_family(addresses) {
        Some((SocketAddr::V4(s), SocketAddr::V4(d))) => {
            format!("PROXY TCP4 {} {} {} {}\r\n", s.ip(), d.ip(), s.port(), d.port())
        }
        Some((s, d)) => {
            format!("PROXY TCP6 {} {} {} {}\r\n", v6(s.ip()), v6(d.ip()), s.port(), d.port())
        }
        None => "PROXY UNKNOWN\r\n".to_owned(),
    }
    .into_bytes()
}

/// The same as version 2; unknown addresses become the command LOCAL.
pub fn write_v2(addresses: &Addresses) -> Vec<u8> {
    let mut block = Vec::new();
    let (command, family) = match (same_family(addresses), addresses) {
        (Some((SocketAddr::V4(s), SocketAddr::V4(d))), _) => {
            block.extend_from_slice(&s.ip().octets());
            block.extend_from_slice(&d.ip().octets());
            block.extend_from_slice(&s.port().to_be_bytes());
            block.extend_from_slice(&d.port().to_be_bytes());
            (0x21, 0x11)
        }
        (Some((s, d)), _) => {
            block.extend_from_slice(&v6(s.ip()).octets());
            block.extend_from_slice(&v6(d.ip()).octets());
            block.extend_from_slice(&s.port().to_be_bytes());
            block.extend_from_slice(&d.port().to_be_bytes());
            (0x21, 0x21)
        }
        (None, Addresses::Unix { source, destination, datagram: false }) => {
            for path in [source, destination] {
                let start = block.len();
                block.extend_from_slice(&path[..path.len().min(UNIX_PATH)]);
                block.resize(start + UNIX_PATH, 0);
            }
            (0x21, 0x31)
        }
        (None, _) => (0x20, 0x00),
    };
    let mut header = V2_SIGNATURE.to_vec();
    header.extend_from_slice(&[command, family]);
    header.extend_from_slice(&(block.len() as u16).to_be_bytes());
    header.extend_from_slice(&block);
    header
}

fn same_family(addresses: &Addresses) -> Option<(SocketAddr, SocketAddr)> {
    match addresses {
        Addresses::Inet { source, destination, datagram: false } => Some((*source, *destination)),
        _ => None,
    }
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inet(source: &str, destination: &str) -> Addresses {
        let source = source.parse().unwrap();
        Addresses::Inet { source, destination: destination.parse().unwrap(), datagram: false }
    }

    #[test]
    fn crc32c_of_the_check_string() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn the_limit_is_named_before_the_header_has_come() {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0x21, 0x11, 0xf0, 0xf0]);
        let error = parse(&bytes, 4096).unwrap_err().to_string();
        assert!(error.contains("61696") && error.contains("4096"), "{error}");
        assert_eq!(parse(&bytes, V2_MAX), Ok(Step::NeedMore));
    }

    #[test]
    fn a_wrong_checksum_is_refused_and_a_right_one_is_noted() {
        let mut bytes = write_v2(&inet("192.0.2.1:1", "192.0.2.2:2"));
        bytes[15] += 7;
        bytes.extend_from_slice(&[CRC32C, 0, 4, 0, 0, 0, 0]);
        let crc = crc32c(0, &bytes);
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&crc.to_be_bytes());
        let Ok(Step::Done { header, used }) = parse(&bytes, V2_MAX) else { panic!() };
        assert!(header.checked);
        assert_eq!(used, bytes.len());
        bytes[20] ^= 1;
        assert!(parse(&bytes, V2_MAX).is_err());
    }

    #[test]
    fn a_line_of_version_1_has_107_bytes_at_most() {
        let line = |bytes: usize| {
            let filler = "u".repeat(bytes - "PROXY UNKNOWN \r\n".len());
            format!("PROXY UNKNOWN {filler}\r\n").into_bytes()
        };
        let Ok(Step::Done { used, .. }) = parse(&line(V1_MAX), V2_MAX) else { panic!() };
        assert_eq!(used, 107);
        assert!(parse(&line(V1_MAX + 1), V2_MAX).is_err());
        assert_eq!(parse(&line(V1_MAX)[..106], V2_MAX), Ok(Step::NeedMore));
        assert!(parse(&line(200)[..107], V2_MAX).is_err(), "there is no use in waiting for more");
    }

    #[test]
    fn a_unique_id_has_128_bytes_at_most() {
        let with = |length: usize| {
            let mut bytes = write_v2(&inet("192.0.2.1:1", "192.0.2.2:2"));
            bytes[14..16].copy_from_slice(&(12 + 3 + length as u16).to_be_bytes());
            bytes.extend_from_slice(&[UNIQUE_ID, 0, length as u8]);
            bytes.resize(bytes.len() + length, b'u');
            parse(&bytes, V2_MAX)
        };
        let Ok(Step::Done { header, .. }) = with(MAX_UNIQUE_ID) else { panic!() };
        assert_eq!(header.tlvs, [(UNIQUE_ID, vec![b'u'; 128])]);
        let error = with(MAX_UNIQUE_ID + 1).unwrap_err().to_string();
        assert!(error.contains("unique id of 129 bytes"), "{error}");
    }

    /// HAProxy on a socket for both families names an IPv4 client so.
    #[test]
    fn a_mapped_address_is_the_ipv4_address_that_it_is() {
        let v1 = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 4000 443\r\n".to_vec();
        let mut v2 = V2_SIGNATURE.to_vec();
        v2.extend_from_slice(&[0x21, 0x21, 0, 36]);
        for last in [1, 2] {
            v2.extend_from_slice(&Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets());
        }
        v2.extend_from_slice(&[4000u16.to_be_bytes(), 443u16.to_be_bytes()].concat());
        for bytes in [v1, v2] {
            let Ok(Step::Done { header, .. }) = parse(&bytes, V2_MAX) else { panic!("{bytes:?}") };
            assert_eq!(header.addresses, inet("192.0.2.1:4000", "192.0.2.2:443"));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_at_every_cut(
            source: SocketAddr, destination: SocketAddr, payload: Vec<u8>
        ) {
            let addresses = Addresses::Inet { source, destination, datagram: false };
            for (version, header) in [(1, write_v1(&addresses)), (2, write_v2(&addresses))] {
                let bytes = [header.clone(), payload.clone()].concat();
                for cut in 0..header.len() {
                    prop_assert_eq!(parse(&bytes[..cut], V2_MAX), Ok(Step::NeedMore));
                }
                let Ok(Step::Done { header: read, used }) = parse(&bytes, V2_MAX) else {
                    panic!("{bytes:?}")
                };
                prop_assert_eq!(used, header.len());
                prop_assert_eq!(read.version, version);
                let Addresses::Inet { source: s, destination: d, .. } = read.addresses else {
                    panic!()
                };
                prop_assert_eq!((s.port(), d.port()), (source.port(), destination.port()));
                prop_assert_eq!(s.ip(), source.ip().to_canonical());
                prop_assert_eq!(d.ip(), destination.ip().to_canonical());
            }
        }
    }
}
