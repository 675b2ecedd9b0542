//! What the service manager is told: ready, reloading, stopping, and that the data plane is alive.
//!
//! Datagrams to the socket that `NOTIFY_SOCKET` names. Nothing of it blocks, and nothing depends on it: without a
//! service manager, or with one that does not listen, each call does nothing.
//!
//! Source: `sd_notify(3)`, `sd_watchdog_enabled(3)`.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::time;

/// Bytes of a status text; longer ones are cut.
const MAX_STATUS_BYTES: usize = 256;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// Within this time the manager wants a sign of life, or it ends the process.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The service manager that has started this process.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|within| for_us && *within > 0).map(Duration::from_micros);
        Self::new(&socket, watchdog)
    }

    /// Tells whoever listens on `socket`, a path or, after `@`, an abstract name.
    #[must_use]
    pub fn new(socket: &OsStr, watchdog: Option<Duration>) -> Self {
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(socket),
        };
        let unbound = UnixDatagram::unbound().and_then(|unbound| unbound.set_nonblocking(true).map(|()| unbound));
        Self { to: unbound.ok().zip(address.ok()), watchdog }
    }

    /// The process serves; also the end of a reload.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// A reload has begun.
    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", time::monotonic_us()));
    }

    /// The process drains.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    /// One line for people.
    pub fn status(&self, text: &str) {
        let mut line: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        line.truncate(line.floor_char_boundary(MAX_STATUS_BYTES));
        self.tell(&format!("STATUS={line}"));
    }

    /// Gives signs of life as often as the manager wants, while `is_alive`. Ends at once if it wants none.
    pub async fn watchdog(&self, is_alive: impl Fn() -> bool) {
        let (Some(within), Some(_)) = (self.watchdog, &self.to) else {
            return;
        };
        loop {
            if is_alive() {
                self.tell("WATCHDOG=1");
            }
            tokio::time::sleep(within / 2).await;
        }
    }

    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.to {
            // A manager that does not listen misses it; the process does not depend on it.
            let _missed = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let size = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_hears_every_state() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let abstract_name = format!("tidegate-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for (manager, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str().to_owned()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{abstract_name}").into()),
        ] {
            let notifier = Notifier::new(&socket, None);
            notifier.ready();
            assert_eq!(heard(&manager), "READY=1\nSTATUS=serving");
            let before = time::monotonic_us();
            notifier.reloading();
            let text = heard(&manager);
            let since: u64 = text.lines().nth(1).unwrap().strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
            assert!(text.starts_with("RELOADING=1\n") && (before..=time::monotonic_us()).contains(&since), "{text}");
            notifier.status("two\nlines");
            assert_eq!(heard(&manager), "STATUS=two lines");
            notifier.status(&"ä".repeat(MAX_STATUS_BYTES));
            assert_eq!(heard(&manager).len(), "STATUS=".len() + MAX_STATUS_BYTES);
            notifier.stopping();
            assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=draining");
        }
    }

    #[test]
    fn a_manager_that_is_not_there_or_does_not_listen_is_no_obstacle() {
        Notifier::default().ready();
        Notifier::new(OsStr::new("/nowhere/notify"), None).ready();
        Notifier::new(OsStr::new(&"x".repeat(500)), None).ready();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str(), None);
        // More than its queue holds: none of it blocks.
        for _ in 0..10_000 {
            notifier.ready();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_stop_when_the_data_plane_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let notifier = Notifier::new(path.as_os_str(), Some(Duration::from_secs(10)));
        let asked = Cell::new(0);
        // Alive for the first three of ten times.
        let is_alive = || {
            asked.set(asked.get() + 1);
            asked.get() <= 3
        };
        let _never = tokio::time::timeout(Duration::from_secs(49), notifier.watchdog(is_alive)).await;
        assert_eq!(asked.get(), 10);
        for _ in 0..3 {
            assert_eq!(heard(&manager), "WATCHDOG=1");
        }
        assert!(manager.recv(&mut [0; 16]).is_err());
        // Nobody wants them.
        Notifier::new(path.as_os_str(), None).watchdog(|| true).await;
    }
}
