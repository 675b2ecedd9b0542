//! How many connections each client has, at a listener or as WebSockets, for the cap on them. Touched when one opens and
//! when it closes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Parts of the table, each with a lock of its own, so that workers that accept at once seldom meet.
const SHARDS: usize = 32;

/// Clients with connections. One without has no entry, so there are never more than connections.
#[derive(Debug, Default)]
pub struct Clients {
    shards: [Mutex<HashMap<Client, u32>>; SHARDS],
}

/// An IPv4 address, or the first half of one of IPv6: whoever has one of those has 2^64 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client(u128);

impl Client {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            // These have an empty first half and a second one, which nothing of IPv6 has here.
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) => Self(ip.to_bits() >> 64 << 64),
        }
    }

    fn shard(self) -> usize {
        // Neighbours in a network differ in the last bits of what counts.
        let folded = (self.0 >> 64) ^ self.0;
        let spread = (folded ^ (folded >> 5) ^ (folded >> 10)) % SHARDS as u128;
        usize::try_from(spread).unwrap_or(0)
    }
}

impl Clients {
    /// Whether `ip` has less than `most`.
    #[must_use]
    pub fn has_room(&self, ip: IpAddr, most: u32) -> bool {
        let client = Client::of(ip);
        let Some(shard) = self.shard(client) else { return false };
        shard.lock().get(&client).is_none_or(|open| *open < most)
    }

    /// Counts one more connection of `ip`, unless it has `most`.
    pub fn seat(self: &Arc<Self>, ip: IpAddr, most: u32) -> Option<Seat> {
        let client = Client::of(ip);
        let mut shard = self.shard(client)?.lock();
        let open = shard.entry(client).or_insert(0);
        if *open >= most {
            // It is there already: `most` is at least one.
            return None;
        }
        *open = open.saturating_add(1);
        Some(Seat { clients: Arc::clone(self), client })
    }

    fn shard(&self, client: Client) -> Option<&Mutex<HashMap<Client, u32>>> {
        self.shards.get(client.shard())
    }
}

/// One connection of a client, until this is dropped.
#[derive(Debug)]
pub struct Seat {
    clients: Arc<Clients>,
    client: Client,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(shard) = self.clients.shard(self.client) else { return };
        let mut shard = shard.lock();
        if let Some(open) = shard.get_mut(&self.client) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                shard.remove(&self.client);
                // What a crowd has left behind is given back when it has gone.
                if shard.is_empty() {
                    shard.shrink_to_fit();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn known(clients: &Clients) -> usize {
        clients.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    #[test]
    fn each_client_has_its_own_count_and_leaves_nothing_behind() {
        let clients = Arc::new(Clients::default());
        let first = clients.seat(ip("1.2.3.4"), 2);
        let second = clients.seat(ip("::ffff:1.2.3.4"), 2);
        assert!(first.is_some() && second.is_some());
        assert!(clients.seat(ip("1.2.3.4"), 2).is_none(), "a third");
        assert!(clients.seat(ip("1.2.3.5"), 2).is_some(), "another address");
        drop(first);
        assert!(clients.seat(ip("1.2.3.4"), 2).is_some(), "one has gone");
        drop(second);
        assert_eq!(known(&clients), 0);
    }

    #[test]
    fn addresses_of_ipv6_count_by_their_first_half() {
        let clients = Arc::new(Clients::default());
        let _first = clients.seat(ip("2001:db8:1:2::1"), 1);
        assert!(clients.seat(ip("2001:db8:1:2:ffff::9"), 1).is_none());
        assert!(clients.seat(ip("2001:db8:1:3::1"), 1).is_some());
        let _nothing = clients.seat(ip("::1"), 1);
        assert!(clients.seat(ip("0.0.0.1"), 1).is_some(), "no address of IPv4 is one of IPv6");
    }

    #[test]
    fn neighbours_are_spread_over_the_parts() {
        for network in [0x0a00_0000_u32, 0xc0a8_0100] {
            let mut used = std::collections::BTreeSet::new();
            for host in 0..256 {
                used.insert(Client::of(IpAddr::V4((network + host).into())).shard());
            }
            assert!(used.len() >= SHARDS / 2, "{}", used.len());
        }
    }
}
