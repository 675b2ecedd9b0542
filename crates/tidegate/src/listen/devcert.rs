//! The development certificate of `tls: auto`: made once, kept in a directory, renewed before it expires.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;

use crate::time::unix_ms;

use super::date::civil_date;
use super::tls::{Identity, TlsError};

/// How long a certificate is valid: what browsers accept at most.
const VALID_DAYS: u64 = 397;

/// A kept certificate is replaced at this age.
const RENEW_AFTER: Duration = Duration::from_secs(300 * 86_400);

/// Where certificates are kept unless told otherwise: `$XDG_STATE_HOME/tidegate`, `~/.local/state/tidegate`, or `None`
/// when neither can be known; then the certificate lives in memory.
#[must_use]
pub fn default_directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("tidegate"))
}

/// The kept certificate for `address`, or a new one. A directory that cannot be written to is only a warning: the
/// certificate is then a new one at each start.
pub(super) fn identity(directory: Option<&Path>, address: IpAddr) -> Result<Identity, TlsError> {
    let directory = directory.map(Path::to_owned).or_else(default_directory);
    let Some(directory) = directory else {
        return Ok(Made::new(address)?.identity);
    };
    let (cert, key) = files(&directory, address);
    if is_fresh(&cert)
        && let Ok(kept) = Identity::from_files(&cert, &key)
    {
        return Ok(kept);
    }
    let made = Made::new(address)?;
    match keep(&directory, &cert, &key, &made) {
        Ok(()) => tracing::info!(certificate = %cert.display(), "made a development certificate"),
        Err(error) => {
            tracing::warn!(directory = %directory.display(), %error, "cannot keep the development certificate");
        }
    }
    Ok(made.identity)
}

/// The names of the files. Loopback and wildcard addresses share one certificate, others need their own name in it.
fn files(directory: &Path, address: IpAddr) -> (PathBuf, PathBuf) {
    let stem = match named(address) {
        None => "development".to_owned(),
        // A colon is no part of file names everywhere.
        Some(address) => format!("development-{}", address.to_string().replace(':', "_")),
    };
    (directory.join(format!("{stem}.crt")), directory.join(format!("{stem}.key")))
}

/// The address that must stand in the certificate beside those of loopback.
fn named(address: IpAddr) -> Option<IpAddr> {
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

fn is_fresh(cert: &Path) -> bool {
    let modified = std::fs::metadata(cert).and_then(|metadata| metadata.modified());
    let modified = modified.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    modified.is_some_and(|modified| Duration::from_millis(unix_ms()).saturating_sub(modified) < RENEW_AFTER)
}

/// A new certificate with its text form.
struct Made {
    identity: Identity,
    cert_pem: String,
    key_pem: String,
}

impl Made {
    fn new(address: IpAddr) -> Result<Self, TlsError> {
        let mut names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
        names.extend(named(address).map(|address| address.to_string()));
        let mut params = rcgen::CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "tidegate development");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let date = |days| {
            let (year, month, day) = civil_date(days);
            let small = |number| u8::try_from(number).unwrap_or(1);
            rcgen::date_time_ymd(i32::try_from(year).unwrap_or(2100), small(month), small(day))
        };
        let today = unix_ms() / 86_400_000;
        // From yesterday on, for clients whose clock is behind.
        params.not_before = date(today.saturating_sub(1));
        params.not_after = date(today.saturating_add(VALID_DAYS - 1));
        let key = rcgen::KeyPair::generate()?;
        let cert = params.self_signed(&key)?;
        let identity =
            Identity { chain: vec![cert.der().clone()], key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) };
        Ok(Self { identity, cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

fn keep(directory: &Path, cert: &Path, key: &Path, made: &Made) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    // The key first: a certificate on disk means that its key is there too.
    write_private(key, made.key_pem.as_bytes())?;
    std::fs::write(cert, &made.cert_pem)
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _absent = std::fs::remove_file(path);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let first = identity(Some(directory.path()), address).unwrap();
        let again = identity(Some(directory.path()), address).unwrap();
        assert_eq!(first.chain, again.chain);
        let elsewhere = identity(Some(directory.path()), IpAddr::from([192, 0, 2, 1])).unwrap();
        assert_ne!(first.chain, elsewhere.chain);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(directory.path().join("development.key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_broken_or_old_certificate_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let first = identity(Some(directory.path()), address).unwrap();
        let (cert, _) = files(directory.path(), address);
        std::fs::write(&cert, "torn").unwrap();
        let second = identity(Some(directory.path()), address).unwrap();
        assert_ne!(first.chain, second.chain);
        let old = std::time::SystemTime::now() - RENEW_AFTER - Duration::from_secs(60);
        std::fs::File::options().append(true).open(&cert).unwrap().set_modified(old).unwrap();
        assert_ne!(second.chain, identity(Some(directory.path()), address).unwrap().chain);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_no_obstacle() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let inside_a_file = file.path().join("state");
        assert!(identity(Some(&inside_a_file), IpAddr::V4(Ipv4Addr::LOCALHOST)).is_ok());
    }
}
