//! What comes over a network and is no protocol of its own room: addresses, headers, packets.

pub mod balance;
pub mod cidr;
pub mod clean_path;
pub mod hexdump;
pub mod icmp;
pub mod pcap;
pub mod proxy_protocol;
pub mod uri_path;
