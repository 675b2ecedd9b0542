//! Passwords, hashed with Argon2id.
//!
//! Hashing is meant to be expensive: it runs on threads of its own, a few at once, and beyond a bound callers are sent
//! away instead of being queued.
//!
//! Source: RFC 9106; parameters as the OWASP cheat sheet on password storage recommends (19 MiB, two passes, one lane),
//! which are the defaults of the crate.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use crate::fault::Fault;
use crate::fields::Fields;

/// Hashes that are computed at once; each takes 19 MiB.
const AT_ONCE: usize = 2;
/// Callers that may wait or be served.
const CALLERS_MAX: usize = 64;
/// Length of a password. The upper bound keeps a hash from costing more than intended.
const LEN_MIN: usize = 8;
const LEN_MAX: usize = 128;
/// What a user who does not exist is compared with, so that the answer takes as long as for one who does.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                      xPlrYPCnJ04tH2Ih5oFhVPL3dYGDkCdS4hZmnLGsNGs";

/// Hashes and verifies.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    callers: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self { callers: Arc::new(Semaphore::new(CALLERS_MAX)), running: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Notes what is wrong with a new password.
    pub(crate) fn check(fields: &mut Fields, password: &str) {
        let is_good = (LEN_MIN..=LEN_MAX).contains(&password.len());
        fields.check(is_good, "password", &format!("must have {LEN_MIN} to {LEN_MAX} bytes"));
    }

    /// The hash in PHC form, with a salt of its own.
    ///
    /// # Errors
    /// `Full`, `Internal`.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Fault> {
        let hash = move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string());
        self.run(hash).await?.map_err(|_| Fault::Internal)
    }

    /// Whether `password` is the one that was hashed. Without a hash it takes as long and says no.
    ///
    /// # Errors
    /// `Full`, `Internal`.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Fault> {
        if password.len() > LEN_MAX {
            return Ok(false);
        }
        let verify = move || {
            let text = hash.as_deref().unwrap_or(NOBODY);
            let is_right = PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
            is_right && hash.is_some()
        };
        self.run(verify).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        let full = |_| Fault::Full { what: "logins at once", most: CALLERS_MAX };
        let _caller = self.callers.try_acquire().map_err(full)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Fault::ShuttingDown)?;
        let work = move || {
            // Held by the thread: a caller who goes away does not make room for another hash.
            let _running = running;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Fault::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_opens_its_hash() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse".to_owned()).await.unwrap());
        for (password, hash, expected) in [
            ("correct horse", Some(hash.clone()), true),
            ("correct horsf", Some(hash.clone()), false),
            ("correct horse", None, false),
            ("correct horse", Some("nonsense".to_owned()), false),
        ] {
            assert_eq!(passwords.verify(password.to_owned(), hash).await.unwrap(), expected, "{password}");
        }
    }

    #[test]
    fn the_hash_of_nobody_costs_what_others_cost() {
        let hash = PasswordHash::new(NOBODY).unwrap();
        let params = argon2::Params::try_from(&hash).unwrap();
        let default = argon2::Params::default();
        let shown = |params: &argon2::Params| (params.m_cost(), params.t_cost(), params.p_cost());
        assert_eq!(shown(&params), shown(&default));
    }
}
