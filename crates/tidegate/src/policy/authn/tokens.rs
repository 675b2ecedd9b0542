//! Tokens that were verified, so that a signature is checked once and not for each request.
//!
//! Kept by SHA-256, so that no token lies in memory. A refused token is never kept.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::Digest;
use crate::identity::Identity;

/// Most tokens of one provider. One takes about 1 KiB, 8 KiB at most.
const MAX_TOKENS: usize = 10_000;

/// Longest that a verdict is good for, in seconds: keys may be withdrawn.
const MAX_AGE: u64 = 600;

/// What is known of a token.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) identity: Arc<Identity>,
    /// Of the certificate that the token is bound to (RFC 8705).
    pub(super) thumbprint: Option<[u8; 32]>,
    until: u64,
    /// Of the key set that has verified it.
    keys: u64,
}

/// See the module.
pub(super) struct Verified(Cache<Digest, Known>);

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("tokens", &self.0.len()).finish()
    }
}

impl Verified {
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_TOKENS))
    }

    /// What is known of a token at `now` (seconds since 1970), if `keys` is still the number of the key set.
    pub(super) fn get(&self, token: &Digest, keys: u64, now: u64) -> Option<Known> {
        let known = self.0.get(token)?;
        if known.keys == keys && now < known.until {
            return Some(known);
        }
        self.0.remove(token);
        None
    }

    /// Keeps a token that the key set with the number `keys` has verified at `now`, until it expires.
    pub(super) fn keep(
        &self,
        token: Digest,
        identity: &Arc<Identity>,
        thumbprint: Option<[u8; 32]>,
        expires: Option<u64>,
        keys: u64,
        now: u64,
    ) {
        let until = expires.unwrap_or(u64::MAX).min(now.saturating_add(MAX_AGE));
        if until > now {
            self.0.insert(token, Known { identity: Arc::clone(identity), thumbprint, until, keys });
        }
    }
}
