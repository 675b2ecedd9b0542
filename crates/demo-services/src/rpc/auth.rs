//! Sessions over gRPC.

use std::sync::Arc;

use jiff::Timestamp;
use protos::demo::auth::v1 as pb;
use protos::demo::auth::v1::auth_service_server::AuthService;
use tonic::{Request, Response, Status};

use super::input::{duration, timestamp};
use super::users::{login, register};
use crate::backends::Backends;
use crate::clock::now;
use crate::fault::Fault;
use crate::identity::{ACCESS_LIFETIME, User, random_token};

pub(super) struct AuthApi(pub(super) Arc<Backends>);

#[tonic::async_trait]
impl AuthService for AuthApi {
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::Session>, Status> {
        let pb::RegisterRequest { email, password, name } = request.into_inner();
        let user = register(&self.0, email, password, name).await?;
        Ok(Response::new(self.begin(&user).await?))
    }

    async fn login(&self, request: Request<pb::LoginRequest>) -> Result<Response<pb::Session>, Status> {
        let pb::LoginRequest { email, password } = request.into_inner();
        let user = login(&self.0, email, password).await?;
        Ok(Response::new(self.begin(&user).await?))
    }

    async fn refresh(&self, request: Request<pb::RefreshRequest>) -> Result<Response<pb::Session>, Status> {
        let token = request.into_inner().refresh_token;
        if token.is_empty() {
            return Err(Fault::field("refresh_token", "is required").into());
        }
        let ended = self.0.users.change(|users, batch| Ok(users.end_session(&token, now(), batch))).await?;
        let user = ended.ok_or(Fault::Unauthenticated("the refresh token is not valid"))?;
        Ok(Response::new(self.begin(&user).await?))
    }

    async fn logout(&self, request: Request<pb::LogoutRequest>) -> Result<Response<pb::LogoutResponse>, Status> {
        let token = request.into_inner().refresh_token;
        if token.is_empty() {
            return Err(Fault::field("refresh_token", "is required").into());
        }
        self.0.users.change(|users, batch| Ok(users.end_session(&token, now(), batch))).await?;
        Ok(Response::new(pb::LogoutResponse {}))
    }

    async fn verify(&self, request: Request<pb::VerifyRequest>) -> Result<Response<pb::VerifyResponse>, Status> {
        let claims = self.0.tokens.verify(&request.into_inner().access_token, now())?;
        Ok(Response::new(pb::VerifyResponse {
            user_id: claims.sub,
            email: claims.email,
            roles: claims.roles,
            expires_at: Timestamp::from_second(claims.exp).ok().and_then(timestamp),
        }))
    }
}

impl AuthApi {
    async fn begin(&self, user: &User) -> Result<pb::Session, Fault> {
        let access_token = self.0.tokens.issue(user, now())?;
        let refresh_token = random_token()?;
        self.0.users.change(|users, batch| users.begin_session(user.id, &refresh_token, now(), batch)).await?;
        Ok(pb::Session {
            user_id: user.id.to_string(),
            access_token,
            token_type: "Bearer".to_owned(),
            expires_in: duration(ACCESS_LIFETIME),
            refresh_token,
        })
    }
}
