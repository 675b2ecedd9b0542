//! Why a key, or a whole set, cannot be used. Holds no part of any key.

/// Why a key, or a whole set of them, is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The secret is empty, whether weak secrets are allowed or not.
    #[error("the secret is empty")]
    EmptySecret,
    /// Shorter than the 32 bytes of RFC 7518 section 3.2.
    #[error("the secret has {0} bytes, at least 32 are needed")]
    ShortSecret(usize),
    /// Somebody gave a key in PEM as a secret: the public half of it is known to all.
    #[error("the secret is a key in PEM: give it as a key")]
    SecretIsPem,
    /// The key fits none of the algorithms that are allowed.
    #[error("no allowed algorithm fits {0}")]
    NoAlgorithm(&'static str),
    /// The key is for one algorithm, and that one is not allowed or not known.
    #[error("the key is for another algorithm (`alg`) than the allowed ones")]
    OtherAlgorithm,
    /// An RSA modulus of so many bits.
    #[error("the RSA key has {0} bits, 2048 to 8192 are allowed")]
    RsaSize(usize),
    /// An exponent that is even, 1, or above 33 bits; or an even modulus.
    #[error("the RSA key has a bad exponent or modulus")]
    RsaNumbers,
    /// Not a point of its curve, or of a wrong length.
    #[error("the point is not on the curve, or not written out in full")]
    BadPoint,
    /// A point of Ed25519 for which anybody can sign.
    #[error("the point has a small order: anybody can sign for such a key")]
    SmallOrder,
    /// A curve other than P-256, P-384, P-521 and Ed25519.
    #[error("the curve is unknown")]
    UnknownCurve,
    /// A kind of key that is neither RSA, EC, Ed25519 nor a secret.
    #[error("the kind of key is unknown")]
    UnknownKind,
    /// Not PEM.
    #[error("no PEM: {0}")]
    Pem(&'static str),
    /// A PEM block that is not a public key or certificate (or not a private key, where one is wanted).
    #[error("unexpected PEM block `{0}`")]
    UnknownBlock(String),
    /// A private key where a public one belongs.
    #[error("this is a private key: give the public one, and keep this one where tokens are signed")]
    PrivateKey,
    /// The structure inside the PEM block is broken.
    #[error("the key is not well-formed DER")]
    Der,
    /// The document is no JSON object, has a member twice, or no `keys`.
    #[error("not a JWK or JWK Set: {0}")]
    Json(&'static str),
    /// A member of a JWK is missing, of another type, or not base64url.
    #[error("`{0}` of the key is missing or malformed")]
    Member(&'static str),
    /// `use` or `key_ops` do not allow verifying.
    #[error("`{0}` does not allow verifying")]
    NotForVerifying(&'static str),
    /// A secret among keys that anybody can read.
    #[error("a secret (`oct`) in a published set of keys")]
    PublishedSecret,
    /// More keys than [`MAX_KEYS`](crate::MAX_KEYS).
    #[error("more than 100 keys")]
    TooManyKeys,
    /// No key of the document is usable; the first reason, if there was a key.
    #[error("no usable key{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NothingUsable(Option<Box<KeyError>>),
    /// The crypto library refuses the key.
    #[error("the key is not consistent")]
    Rejected,
    /// The crypto library did not sign.
    #[error("signing failed")]
    NotSigned,
}
