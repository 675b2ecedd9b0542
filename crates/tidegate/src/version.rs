//! What this program is and what it was built from.

/// Version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Short commit hash, or `unknown` when it was not built in a checkout.
pub const REVISION: &str = env!("TIDEGATE_REVISION");
/// Version of the compiler.
pub const RUSTC: &str = env!("TIDEGATE_RUSTC");
