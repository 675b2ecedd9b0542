//! Why a token is refused: for logs and decisions, never for the client, who learns nothing beyond 401.

use std::fmt;

/// The two JSON parts of a token and its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first part.
    Header,
    /// The second part.
    Claims,
    /// The third part.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Claims => "claims",
            Self::Signature => "signature",
        })
    }
}

/// Why a token is refused. Holds nothing that came from the client, so it may go to any log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`MAX_TOKEN`](crate::MAX_TOKEN).
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// Not three parts with points between them.
    #[error("the token has not three parts")]
    NotThreeParts,
    /// Other characters, padding, or bits that are left over and not zero.
    #[error("the {0} is not strict base64url")]
    Encoding(Part),
    /// Not JSON, or not an object.
    #[error("the {0} is not a JSON object")]
    Json(Part),
    /// Nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
    #[error("the {0} is nested deeper than 8 levels")]
    TooDeep(Part),
    /// A member twice, at any level: two readers could take different ones.
    #[error("the {0} has a member twice")]
    DuplicateMember(Part),
    /// A member that the standard defines is of another type.
    #[error("`{1}` in the {0} is of a wrong type")]
    WrongMember(Part, &'static str),
    /// `alg` is missing.
    #[error("the header has no `alg`")]
    NoAlgorithm,
    /// `alg` is `none` or not a signature algorithm of ours.
    #[error("`alg` is `none` or unknown")]
    UnknownAlgorithm,
    /// `crit`, `b64` or `zip`: they change what the token means, and we know no such extension.
    #[error("the header has `{0}`, which is not supported")]
    UnknownExtension(&'static str),
    /// No key has this `kid`. Who has the keys from a URL may fetch them once more.
    #[error("no key has this `kid`")]
    UnknownKey,
    /// There are keys, but none that may verify this `alg`.
    #[error("no key may verify this `alg`")]
    AlgorithmNotAllowed,
    /// No key that was tried has made this signature.
    #[error("the signature is wrong")]
    BadSignature,
    /// `typ` is not the wanted one, or missing.
    #[error("`typ` is not the expected one")]
    WrongType,
    /// `exp` is missing where it has to be there.
    #[error("`exp` is missing")]
    NoExpiry,
    /// `exp` has passed, and the leeway.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is to come, even with the leeway.
    #[error("the token is not valid yet (`nbf`)")]
    NotYetValid,
    /// `iat` is to come, even with the leeway.
    #[error("the token was issued in the future (`iat`)")]
    IssuedInFuture,
    /// `iss` is not ours, or missing.
    #[error("`iss` is not the expected one")]
    WrongIssuer,
    /// `aud` has none of ours, or is missing.
    #[error("`aud` has none of the expected ones")]
    WrongAudience,
}

impl Refusal {
    /// Whether the token was good before its end: a client may be told to get a new one.
    #[must_use]
    pub const fn reason_is_expired(self) -> bool {
        matches!(self, Self::Expired)
    }

    /// Whether the token cannot be read at all, as opposed to a readable one that is not accepted.
    #[must_use]
    pub const fn is_malformed(self) -> bool {
        matches!(
            self,
            Self::TooLong
                | Self::NotThreeParts
                | Self::Encoding(_)
                | Self::Json(_)
                | Self::TooDeep(_)
                | Self::DuplicateMember(_)
                | Self::WrongMember(..)
                | Self::NoAlgorithm
        )
    }
}
