//! How large the tests are.

/// `full`, or the part of it that `SOAK_SCALE` asks for, but at least `least`.
pub(crate) fn scaled(full: usize, least: usize) -> usize {
    let share = std::env::var("SOAK_SCALE").map_or(1.0, |text| text.parse().expect("SOAK_SCALE is a number"));
    ((full as f64 * share) as usize).max(least)
}

/// A port of this machine that nothing listens on.
pub(crate) fn free_address() -> std::net::SocketAddr {
    tidegate_testkit::peer::closed_port()
}
