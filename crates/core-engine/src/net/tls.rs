//! TLS towards servers: the roots of the system, read once.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

use super::NetError;

/// The one configuration of all sources, with the system's roots. A system without roots can still reach servers
/// without TLS; the others then fail by their certificates.
///
/// # Errors
/// `Unreachable`, if the library offers no protocol version.
pub(super) fn client_config() -> Result<Arc<ClientConfig>, NetError> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, NetError>> = OnceLock::new();
    CONFIG.get_or_init(build).clone()
}

fn build() -> Result<Arc<ClientConfig>, NetError> {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    let (_, unusable) = roots.add_parsable_certificates(loaded.certs);
    if unusable > 0 || !loaded.errors.is_empty() {
        tracing::warn!(unusable, errors = loaded.errors.len(), "some root certificates cannot be used");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| NetError::Unreachable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
