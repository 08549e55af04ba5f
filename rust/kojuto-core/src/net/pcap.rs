//! A capture file of relayed bytes (libpcap file format, draft-ietf-opsawg-pcap, section 4) with
//! the IP and TCP headers that a capture on the way would have shown.

use std::net::{IpAddr, SocketAddr};

/// LINKTYPE_RAW: packets begin with the IP header.
const LINKTYPE_RAW: u32 = 101;
/// Payload of one packet; an IP packet holds at most 65,535 bytes.
const SEGMENT: usize = 32 << 10;

const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// The head of a file with at most `snaplen` bytes of a packet; times are in microseconds.
pub fn file_header(snaplen: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(24);
    head.extend_from_slice(&0xa1b2_c3d4u32.to_le_bytes());
    head.extend_from_slice(&2u16.to_le_bytes());
    head.extend_from_slice(&4u16.to_le_bytes());
    head.extend_from_slice(&[0; 8]);
    head.extend_from_slice(&snaplen.to_le_bytes());
    head.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
    head
}

/// One TCP connection of the capture.
#[derive(Debug)]
pub struct Flow {
    ends: [SocketAddr; 2],
    next: [u32; 2],
    /// So many bytes of a packet are kept.
    snaplen: usize,
}

impl Flow {
    /// A connection from `client` to `server`, and its handshake at `time_us` since 1970. Of each packet
    /// `snaplen` bytes are kept.
    pub fn open(
        client: SocketAddr,
        server: SocketAddr,
        snaplen: usize,
        time_us: u64,
        out: &mut Vec<u8>,
    ) -> Flow {
        let mut ends = [client, server];
        if client.is_ipv4() != server.is_ipv4() {
            ends = ends.map(|end| SocketAddr::new(mapped(end.ip()), end.port()));
        }
        let mut flow = Flow { ends, next: [1, 1], snaplen };
        flow.packet(0, SYN, &[], time_us, out);
        flow.next[0] = flow.next[0].wrapping_add(1);
        flow.packet(1, SYN | ACK, &[], time_us, out);
        flow.next[1] = flow.next[1].wrapping_add(1);
        flow.packet(0, ACK, &[], time_us, out);
        flow
    }

    /// Bytes that the client (`from` 0) or the server (1) has sent.
    pub fn data(&mut self, from: usize, bytes: &[u8], time_us: u64, out: &mut Vec<u8>) {
        for piece in bytes.chunks(SEGMENT) {
            self.packet(from, PSH | ACK, piece, time_us, out);
            self.next[from] = self.next[from].wrapping_add(piece.len() as u32);
        }
    }

    /// Bytes that were sent and are not in the capture.
    pub fn lost(&mut self, from: usize, count: u64) {
        self.next[from] = self.next[from].wrapping_add(count as u32);
    }

    /// The end of both directions.
    pub fn close(mut self, time_us: u64, out: &mut Vec<u8>) {
        for from in [0, 1] {
            self.packet(from, FIN | ACK, &[], time_us, out);
            self.next[from] = self.next[from].wrapping_add(1);
        }
        self.packet(0, ACK, &[], time_us, out);
    }

    fn packet(&self, from: usize, flags: u8, payload: &[u8], time_us: u64, out: &mut Vec<u8>) {
        let (source, destination) = (self.ends[from], self.ends[1 - from]);
        let mut tcp = Vec::with_capacity(20 + payload.len());
        tcp.extend_from_slice(&source.port().to_be_bytes());
        tcp.extend_from_slice(&destination.port().to_be_bytes());
        tcp.extend_from_slice(&self.next[from].to_be_bytes());
        let acknowledged = if flags & ACK != 0 { self.next[1 - from] } else { 0 };
        tcp.extend_from_slice(&acknowledged.to_be_bytes());
        tcp.extend_from_slice(&[5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(payload);
        let mut pseudo = Vec::with_capacity(40);
        let ip = match (source.ip(), destination.ip()) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                pseudo.extend_from_slice(&s.octets());
                pseudo.extend_from_slice(&d.octets());
                pseudo.extend_from_slice(&[0, 6]);
                pseudo.extend_from_slice(&(tcp.len() as u16).to_be_bytes());
                let total = (20 + tcp.len()) as u16;
                let mut ip = vec![0x45, 0];
                ip.extend_from_slice(&total.to_be_bytes());
                ip.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
                ip.extend_from_slice(&pseudo[..8]);
                let sum = checksum(&[&ip]);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                ip
            }
            (s, d) => {
                for end in [s, d] {
                    let IpAddr::V6(v6) = mapped(end) else { continue };
                    pseudo.extend_from_slice(&v6.octets());
                }
                let mut ip = vec![0x60, 0, 0, 0];
                ip.extend_from_slice(&(tcp.len() as u16).to_be_bytes());
                ip.extend_from_slice(&[6, 64]);
                ip.extend_from_slice(&pseudo);
                pseudo.extend_from_slice(&(tcp.len() as u32).to_be_bytes());
                pseudo.extend_from_slice(&[0, 0, 0, 6]);
                ip
            }
        };
        let sum = checksum(&[&pseudo, &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let length = ip.len() + tcp.len();
        let kept = length.min(self.snaplen);
        out.extend_from_slice(&((time_us / 1_000_000) as u32).to_le_bytes());
        out.extend_from_slice(&((time_us % 1_000_000) as u32).to_le_bytes());
        out.extend_from_slice(&(kept as u32).to_le_bytes());
        out.extend_from_slice(&(length as u32).to_le_bytes());
        let end = out.len() + kept;
        out.extend_from_slice(&ip);
        out.extend_from_slice(&tcp[..kept.saturating_sub(ip.len()).min(tcp.len())]);
        out.truncate(end);
    }
}

fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        v6 => v6,
    }
}

/// The Internet checksum (RFC 1071) of parts of which only the last may have an odd length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u64::from(low));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_rfc_1071() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn packets_are_as_long_as_they_say() {
        for server in ["192.0.2.1:3306", "[2001:db8::1]:3306"] {
            let mut out = Vec::new();
            let client = "192.0.2.9:4000".parse().unwrap();
            let mut flow = Flow::open(client, server.parse().unwrap(), 70_000, 5, &mut out);
            flow.data(0, &[7; 100_001], 6, &mut out);
            flow.close(7, &mut out);
            let (mut rest, mut count) = (&out[..], 0);
            while !rest.is_empty() {
                let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
                rest = &rest[16 + length..];
                count += 1;
            }
            assert_eq!(count, 3 + 4 + 3);
        }
    }

    #[test]
    fn of_a_packet_no_more_is_kept_than_asked_for_and_its_length_is_told() {
        for snaplen in [0, 1, 19, 20, 21, 40, 44, 45, 46, 1000] {
            let (mut out, mut skipped) = (Vec::new(), Vec::new());
            let ends = ["192.0.2.9:4000", "192.0.2.1:3306"].map(|end| end.parse().unwrap());
            let mut flow = Flow::open(ends[0], ends[1], snaplen, 5, &mut skipped);
            flow.data(0, b"hello", 6, &mut out);
            let [kept, length] =
                [8, 12].map(|at| u32::from_le_bytes(out[at..at + 4].try_into().unwrap()) as usize);
            assert_eq!((kept, length), (snaplen.min(45), 45));
            assert_eq!(out.len(), 16 + kept);
        }
    }

    #[test]
    fn sums_are_right_and_lost_bytes_leave_a_gap() {
        let mut out = Vec::new();
        let ends = ["192.0.2.9:4000", "192.0.2.1:3306"].map(|end| end.parse().unwrap());
        let mut flow = Flow::open(ends[0], ends[1], 70_000, 5, &mut out);
        flow.data(1, b"abc", 6, &mut out);
        flow.lost(1, 5000);
        flow.data(1, b"d", 6, &mut out);
        let (mut rest, mut places) = (&out[..], Vec::new());
        while let Some((head, packet)) = rest.split_first_chunk::<16>() {
            let (packet, next) =
                packet.split_at(u32::from_le_bytes(*head[8..].first_chunk().unwrap()) as usize);
            rest = next;
            let (ip, tcp) = packet.split_at(20);
            assert_eq!(checksum(&[ip]), 0);
            let length = (tcp.len() as u16).to_be_bytes();
            assert_eq!(checksum(&[&ip[12..], &[0, 6], &length, tcp]), 0);
            places.push(u32::from_be_bytes(*tcp[4..].first_chunk().unwrap()));
        }
        assert_eq!(places, [1, 1, 2, 2, 2 + 3 + 5000]);
    }
}
