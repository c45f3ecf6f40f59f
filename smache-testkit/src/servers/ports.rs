//! Ports for servers.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Below the ports that the kernel hands out to clients: no client can take the port of a server that is down.
const PORTS: std::ops::Range<u16> = 10_240..20_000;

/// Ports of servers that are not dropped: a server that is down must find its own port free.
static RESERVED: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

pub(super) fn reserve_port() -> u16 {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    let reserved = reserved.get_or_insert_default();
    let mut seed = [0; 2];
    if let Err(error) = getrandom::fill(&mut seed) {
        panic!("no randomness for a port: {error}");
    }
    // From a random place, so that test processes side by side seldom meet.
    let count = PORTS.end - PORTS.start;
    let offset = u16::from_le_bytes(seed) % count;
    let mut candidates = (0..count).map(|step| PORTS.start + (offset + step) % count);
    let port = candidates.find(|port| !reserved.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let Some(port) = port else { panic!("no free port among {PORTS:?}") };
    reserved.insert(port);
    port
}

/// A port on 127.0.0.1 that no server of this module and no client takes, until the process ends: for a server that
/// listens on a second one, or for an address without a server.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    reserve_port()
}

pub(super) fn release_port(port: u16) {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    reserved.get_or_insert_default().remove(&port);
}
