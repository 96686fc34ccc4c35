use std::net::SocketAddr;

/// The source address of a peer, from which its number follows again: nobody has to remember it.
pub fn of(index: u32, port: u16) -> SocketAddr {
    let [_, high, middle, low] = index.to_be_bytes();
    SocketAddr::from(([10, high, middle, low], port))
}

pub fn index(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(address) => u32::from(*address.ip()) & 0x00FF_FFFF,
        SocketAddr::V6(_) => unreachable!("peers have addresses of IPv4"),
    }
}
