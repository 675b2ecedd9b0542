//! Keys in PEM (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::der;
use crate::key::Material;
use crate::key_error::KeyError;
use crate::key_set::MAX_KEYS;

/// Labels of blocks in which a private key may stand.
pub(crate) const PRIVATE: [&str; 5] =
    ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"];

/// One block: its label and what it encodes.
pub(crate) struct Block<'p> {
    pub(crate) label: &'p str,
    pub(crate) der: Vec<u8>,
}

/// The public keys of all blocks; text around the blocks is skipped, as the RFC has it.
pub(crate) fn public_keys(pem: &[u8]) -> Result<Vec<Material>, KeyError> {
    let key = |block: Block<'_>| match block.label {
        "PUBLIC KEY" => der::public_key(&block.der),
        "RSA PUBLIC KEY" => der::rsa_public_key(&block.der),
        "CERTIFICATE" => der::certificate_key(&block.der),
        label if PRIVATE.contains(&label) => Err(KeyError::PrivateKey),
        label => Err(KeyError::UnknownBlock(label.to_owned())),
    };
    blocks(pem)?.into_iter().map(key).collect()
}

/// All blocks, at least one.
pub(crate) fn blocks(pem: &[u8]) -> Result<Vec<Block<'_>>, KeyError> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    let mut rest = std::str::from_utf8(pem).map_err(|_| KeyError::Pem("not text"))?;
    let mut blocks = Vec::new();
    while let Some((_, behind)) = rest.split_once(BEGIN) {
        let (label, behind) = behind.split_once(DASHES).ok_or(KeyError::Pem("the first line of a block is broken"))?;
        if !label.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ') {
            return Err(KeyError::Pem("the first line of a block is broken"));
        }
        let end = format!("-----END {label}-----");
        let (body, behind) = behind.split_once(&end).ok_or(KeyError::Pem("a block has no end"))?;
        let body: String = body.split_ascii_whitespace().collect();
        // A private key is told by name, even if its body has headers or is encrypted.
        let der = match STANDARD.decode(body) {
            Ok(der) => der,
            Err(_) if PRIVATE.contains(&label) => Vec::new(),
            Err(_) => return Err(KeyError::Pem("a block is not base64")),
        };
        blocks.push(Block { label, der });
        if blocks.len() > MAX_KEYS {
            return Err(KeyError::TooManyKeys);
        }
        rest = behind;
    }
    if blocks.is_empty() { Err(KeyError::Pem("no block begins")) } else { Ok(blocks) }
}
