//! Users and their refresh tokens.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::token::fingerprint;
use crate::fault::Fault;
use crate::fields::Fields;
use crate::ids::{Sequence, UserId};
use crate::store::{Batch, Documents, StoreError};

/// Collection of the store.
const USERS: &str = "users";
const USERS_MAX: usize = 10_000;
/// Sessions of a user; the oldest ends when there is one more.
const SESSIONS_MAX: usize = 5;
/// How long a refresh token lasts.
const REFRESH_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Length of an email address, RFC 5321, section 4.5.3.1.3.
const EMAIL_MAX_LEN: usize = 254;

/// Somebody who can log in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: UserId,
    #[serde(flatten)]
    pub(crate) profile: Profile,
    pub(crate) roles: Vec<String>,
    /// In PHC form.
    pub(crate) password_hash: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Counts changes of the profile, from 1.
    pub(crate) version: u64,
    sessions: VecDeque<RefreshToken>,
}

/// What users say of themselves.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Profile {
    /// Lower case; no two users have the same.
    pub(crate) email: String,
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct RefreshToken {
    fingerprint: String,
    /// Seconds since 1970.
    expires_at: i64,
}

impl Profile {
    /// Lower-cases the email and notes what is wrong.
    pub(crate) fn check(&mut self, fields: &mut Fields) {
        self.email = self.email.to_lowercase();
        let has_space = self.email.chars().any(|char| char.is_whitespace() || char.is_control());
        let is_email = self.email.len() <= EMAIL_MAX_LEN
            && !has_space
            && self.email.split_once('@').is_some_and(|(local, domain)| {
                !local.is_empty() && domain.split('.').count() > 1 && domain.split('.').all(|part| !part.is_empty())
            })
            && self.email.matches('@').count() == 1;
        fields.check(is_email, "email", "must be an email address");
        fields.text("name", &self.name, 1, 100);
    }
}

impl User {
    pub(crate) fn new(id: UserId, profile: Profile, password_hash: String, now: Timestamp) -> Self {
        let roles = vec!["viewer".to_owned()];
        let sessions = VecDeque::new();
        Self { id, profile, roles, password_hash, created_at: now, updated_at: now, version: 1, sessions }
    }
}

/// All users.
#[derive(Debug)]
pub(crate) struct Users {
    users: BTreeMap<UserId, User>,
    by_email: HashMap<String, UserId>,
    /// By the fingerprint of a refresh token.
    by_session: HashMap<String, UserId>,
    ids: Sequence,
    /// The email, in lower case, that makes its user an admin.
    admin: Option<String>,
}

impl Users {
    /// # Errors
    /// Documents that are not ours.
    pub(crate) fn restore(
        documents: &mut Documents,
        sequences: &[Sequence],
        admin: Option<&str>,
    ) -> Result<Self, StoreError> {
        let mut users = Self {
            users: BTreeMap::new(),
            by_email: HashMap::new(),
            by_session: HashMap::new(),
            ids: Sequence::resume(sequences, USERS),
            admin: admin.map(str::to_lowercase),
        };
        for user in documents.take::<User>(USERS)? {
            users.by_email.insert(user.profile.email.clone(), user.id);
            for session in &user.sessions {
                users.by_session.insert(session.fingerprint.clone(), user.id);
            }
            users.users.insert(user.id, user);
        }
        Ok(users)
    }

    /// Checks that a user with this email could be added. Hashing a password is expensive, so this comes before it.
    ///
    /// # Errors
    /// `Exists`, `Full`.
    pub(crate) fn admit(&self, email: &str) -> Result<(), Fault> {
        if self.by_email.contains_key(email) {
            return Err(Fault::exists("user with email", email));
        }
        match self.users.len() < USERS_MAX {
            true => Ok(()),
            false => Err(Fault::Full { what: "users", most: USERS_MAX }),
        }
    }

    /// Adds a user; the profile was checked.
    ///
    /// # Errors
    /// As [`Self::admit`], which may have changed its mind since.
    pub(crate) fn add(
        &mut self,
        profile: Profile,
        password_hash: String,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<User, Fault> {
        self.admit(&profile.email)?;
        let mut user = User::new(UserId(self.ids.take(batch)), profile, password_hash, now);
        if self.admin.as_ref() == Some(&user.profile.email) {
            user.roles.push("admin".to_owned());
        }
        self.by_email.insert(user.profile.email.clone(), user.id);
        Ok(self.put(user, batch))
    }

    /// # Errors
    /// `NotFound`.
    pub(crate) fn find(&self, id: &str) -> Result<&User, Fault> {
        let user = id.parse().ok().and_then(|id| self.users.get(&id));
        user.ok_or_else(|| Fault::not_found("user", id))
    }

    pub(crate) fn by_email(&self, email: &str) -> Option<&User> {
        self.by_email.get(&email.to_lowercase()).and_then(|id| self.users.get(id))
    }

    /// Changes what is `Some`.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`; `Exists` for the email.
    pub(crate) fn update(
        &mut self,
        id: &str,
        name: Option<String>,
        email: Option<String>,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<User, Fault> {
        let mut user = self.find(id)?.clone();
        let old = user.profile.email.clone();
        user.profile.name = name.unwrap_or(user.profile.name);
        user.profile.email = email.unwrap_or(user.profile.email);
        let mut fields = Fields::default();
        user.profile.check(&mut fields);
        fields.done()?;
        if user.profile.email != old {
            if self.by_email.contains_key(&user.profile.email) {
                return Err(Fault::exists("user with email", user.profile.email));
            }
            self.by_email.remove(&old);
            self.by_email.insert(user.profile.email.clone(), user.id);
        }
        user.updated_at = now;
        user.version += 1;
        Ok(self.put(user, batch))
    }

    /// Remembers a new refresh token of a user.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn begin_session(
        &mut self,
        id: UserId,
        token: &str,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let user = self.users.get(&id).ok_or_else(|| Fault::not_found("user", id))?;
        let mut user = user.clone();
        let fingerprint = fingerprint(token);
        let expires_at = now.as_second().saturating_add_unsigned(REFRESH_LIFETIME.as_secs());
        user.sessions.push_back(RefreshToken { fingerprint: fingerprint.clone(), expires_at });
        if user.sessions.len() > SESSIONS_MAX
            && let Some(oldest) = user.sessions.pop_front()
        {
            self.by_session.remove(&oldest.fingerprint);
        }
        self.by_session.insert(fingerprint, id);
        self.put(user, batch);
        Ok(())
    }

    /// Ends the session of a refresh token. Its user, if it had not expired.
    pub(crate) fn end_session(&mut self, token: &str, now: Timestamp, batch: &mut Batch) -> Option<User> {
        let fingerprint = fingerprint(token);
        let id = self.by_session.remove(&fingerprint)?;
        let mut user = self.users.get(&id)?.clone();
        let at = user.sessions.iter().position(|session| session.fingerprint == fingerprint)?;
        let session = user.sessions.remove(at)?;
        let user = self.put(user, batch);
        (now.as_second() < session.expires_at).then_some(user)
    }

    fn put(&mut self, user: User, batch: &mut Batch) -> User {
        batch.put(USERS, user.id, &user);
        self.users.insert(user.id, user.clone());
        user
    }
}
