//! Users over gRPC.

use std::sync::Arc;

use protos::demo::user::v1 as pb;
use protos::demo::user::v1::user_service_server::UserService;
use tonic::{Request, Response, Status};

use super::input::{caller, duration, has_role, timestamp};
use crate::backends::Backends;
use crate::clock::now;
use crate::fault::Fault;
use crate::fields::Fields;
use crate::identity::{ACCESS_LIFETIME, Passwords, Profile, User};

pub(super) struct UserApi(pub(super) Arc<Backends>);

#[tonic::async_trait]
impl UserService for UserApi {
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::RegisterResponse>, Status> {
        let pb::RegisterRequest { email, password, name } = request.into_inner();
        let user = register(&self.0, email, password, name).await?;
        Ok(Response::new(pb::RegisterResponse { user: Some(message(&user)) }))
    }

    async fn login(&self, request: Request<pb::LoginRequest>) -> Result<Response<pb::LoginResponse>, Status> {
        let pb::LoginRequest { email, password } = request.into_inner();
        let user = login(&self.0, email, password).await?;
        Ok(Response::new(pb::LoginResponse {
            access_token: self.0.tokens.issue(&user, now())?,
            token_type: "Bearer".to_owned(),
            expires_in: duration(ACCESS_LIFETIME),
            user: Some(message(&user)),
        }))
    }

    async fn get_profile(
        &self,
        request: Request<pb::GetProfileRequest>,
    ) -> Result<Response<pb::GetProfileResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let caller = caller(&metadata)?;
        let wanted = if request.user_id.is_empty() { &caller } else { &request.user_id };
        if *wanted != caller && !has_role(&metadata, "admin") {
            return Err(Fault::forbidden("profile", wanted).into());
        }
        let user = self.0.users.read(|users| users.find(wanted).map(message))?;
        Ok(Response::new(pb::GetProfileResponse { user: Some(user) }))
    }

    async fn update_profile(
        &self,
        request: Request<pb::UpdateProfileRequest>,
    ) -> Result<Response<pb::UpdateProfileResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let id = caller(&metadata)?;
        let pb::UpdateProfileRequest { name, email } = request;
        let user = self.0.users.change(|users, batch| users.update(&id, name, email, now(), batch)).await?;
        Ok(Response::new(pb::UpdateProfileResponse { user: Some(message(&user)) }))
    }
}

/// Adds a user.
///
/// # Errors
/// `Invalid`, `Exists`, `Full`.
pub(super) async fn register(
    backends: &Backends,
    email: String,
    password: String,
    name: String,
) -> Result<User, Fault> {
    let mut profile = Profile { email, name };
    let mut fields = Fields::default();
    profile.check(&mut fields);
    Passwords::check(&mut fields, &password);
    fields.done()?;
    backends.users.read(|users| users.admit(&profile.email))?;
    let hash = backends.passwords.hash(password).await?;
    backends.users.change(|users, batch| users.add(profile, hash, now(), batch)).await
}

/// The user of an email and a password. Which of the two is wrong is not told, neither in words nor by time.
///
/// # Errors
/// `Invalid`, `Unauthenticated`, `Full`.
pub(super) async fn login(backends: &Backends, email: String, password: String) -> Result<User, Fault> {
    let mut fields = Fields::default();
    fields.check(!email.is_empty(), "email", "is required");
    fields.check(!password.is_empty(), "password", "is required");
    fields.done()?;
    let user = backends.users.read(|users| users.by_email(&email).cloned());
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let is_right = backends.passwords.verify(password, hash).await?;
    user.filter(|_| is_right).ok_or(Fault::Unauthenticated("the email or the password is wrong"))
}

fn message(user: &User) -> pb::User {
    pb::User {
        id: user.id.to_string(),
        email: user.profile.email.clone(),
        name: user.profile.name.clone(),
        roles: user.roles.clone(),
        created_at: timestamp(user.created_at),
        updated_at: timestamp(user.updated_at),
        version: user.version,
    }
}
