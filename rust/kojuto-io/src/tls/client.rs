//! The waiting half of TLS: whom to trust, the handshake, and plain reads and writes for what
//! comes before a connection is handed to the relay.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::bundle::Bundle;
use super::session::Session;
use super::wire::Wire;
use crate::sys::socket as sys;
use crate::{Cancel, Error, Refused, Result};

/// How often a wait looks whether it is to end early.
const SLICE: Duration = Duration::from_millis(50);
/// How long the system's certificates and a bundle's are believed to be what they were.
const KEEP: Duration = Duration::from_secs(600);

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Certificates in PEM that servers' must lead to; None: the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Nobody is checked.
    pub insecure: bool,
    /// Who we are, for servers that ask.
    pub identity: Option<Identity>,
}

/// A certificate with those above it, and its private key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificates, ours first.
    pub certificates: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// A TLS connection, after its handshake.
pub struct TlsStream {
    pub(crate) session: Session,
    what: String,
    timeout: Duration,
}

/// Believes any certificate, though not a signature that does not fit it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The authorities that the system trusts.
fn system_roots() -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(io::Error::other(format!("the system has no trusted certificates{why}")));
    }
    Ok(store)
}

fn bundle(pem: &[u8], provider: &Arc<CryptoProvider>) -> io::Result<Bundle> {
    let (mut store, mut certificates) = (RootCertStore::empty(), Vec::new());
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let bad = |why: String| {
            let text = format!("a certificate of the bundle cannot be used: {why}");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        store.add(certificate.clone()).map_err(|error| bad(error.to_string()))?;
        certificates.push(certificate);
    }
    if store.is_empty() {
        let text = "there is no certificate in the bundle";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let store = Arc::new(store);
    let by_authority =
        WebPkiServerVerifier::builder_with_provider(store, Arc::clone(provider)).build();
    Ok(Bundle { by_authority: by_authority.map_err(io::Error::other)?, certificates })
}

fn make_config(options: &TlsOptions) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else if let Some(pem) = &options.ca_pem {
        let bundle = Arc::new(bundle(pem, &provider)?);
        builder.dangerous().with_custom_certificate_verifier(bundle)
    } else {
        builder.with_root_certificates(system_roots()?)
    };
    let mut config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let bad = |what: &str| {
                let text = format!("{what} cannot be used");
                io::Error::new(io::ErrorKind::InvalidData, text)
            };
            let chain: std::result::Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(&identity.certificates).collect();
            let chain = chain.map_err(|_| bad("our certificate"))?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key)
                .map_err(|_| bad("the private key of our certificate"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| bad("our certificate with this private key"))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Configurations that were made, and when.
type Known = Vec<(TlsOptions, Instant, Arc<ClientConfig>)>;

/// The configuration for these options: reading the system's certificates takes longer than a
/// handshake, and a configuration that is used again resumes its sessions.
fn config(options: &TlsOptions) -> io::Result<Arc<ClientConfig>> {
    static KNOWN: Mutex<Known> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known_config(&mut known, options, Instant::now())
}

fn known_config(
    known: &mut Known,
    options: &TlsOptions,
    now: Instant,
) -> io::Result<Arc<ClientConfig>> {
    known.retain(|(_, since, _)| now.saturating_duration_since(*since) < KEEP);
    if let Some((.., config)) = known.iter().find(|(known, ..)| known == options) {
        return Ok(Arc::clone(config));
    }
    let config = Arc::new(make_config(options)?);
    known.push((options.clone(), now, Arc::clone(&config)));
    Ok(config)
}

impl TlsStream {
    /// Shakes hands on a copy of the connected socket `fd`, asking for `server_name` (a host name
    /// or an IP address). `timeout` holds for the handshake and then for each call.
    ///
    /// # Errors
    /// [`Error::Io`]: with what is wrong with the certificate, with ETIMEDOUT, or as the socket
    /// fails; [`Error::Refused`]: `server_name` is none; [`Error::Cancelled`].
    pub fn connect(
        fd: RawFd,
        server_name: &str,
        options: &TlsOptions,
        timeout: Duration,
        cancel: &dyn Cancel,
    ) -> Result<TlsStream> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| Error::Refused(Refused::ServerName(server_name.to_owned())))?;
        let what = format!("TLS with {server_name}");
        let make = || {
            let socket: OwnedFd = sys::duplicate(fd)?;
            sys::set_nonblocking(socket.as_raw_fd())?;
            sys::tune_stream(socket.as_raw_fd());
            Session::new(socket, config(options)?, name)
        };
        let session = make().map_err(Error::on(&what))?;
        let mut stream = TlsStream { session, what, timeout };
        stream.run(cancel, |session| {
            loop {
                session.shake()?;
                session.flush()?;
                if session.ready {
                    return Ok(());
                }
                if session.receive(&mut [])?.is_none() {
                    let text = "the server ended the connection during the handshake";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
            }
        })?;
        Ok(stream)
    }

    /// Takes what is there, at most `buffer.len()` bytes; 0 is the end.
    ///
    /// # Errors
    /// As for [`TlsStream::connect`].
    pub fn recv(&mut self, buffer: &mut [u8], cancel: &dyn Cancel) -> Result<usize> {
        self.run(cancel, |session| session.recv(buffer))
    }

    /// Sends all.
    ///
    /// # Errors
    /// As for [`TlsStream::connect`].
    pub fn sendall(&mut self, bytes: &[u8], cancel: &dyn Cancel) -> Result<()> {
        let mut sent = 0;
        self.run(cancel, |session| {
            while sent < bytes.len() {
                sent += session.send(&[], &bytes[sent..])?;
            }
            session.flush()
        })
    }

    /// Repeats `step` until it does not answer `WouldBlock`, or the time is over.
    fn run<T>(
        &mut self,
        cancel: &dyn Cancel,
        mut step: impl FnMut(&mut Session) -> io::Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now().checked_add(self.timeout);
        loop {
            match step(&mut self.session) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map_err(Error::on(&self.what)),
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let source = io::Error::from_raw_os_error(libc::ETIMEDOUT);
                return Err(Error::Io { what: self.what.clone(), source });
            }
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            let writing = self.session.is_sending();
            sys::wait_for(self.session.fd(), writing, slice);
            cancel.check()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_again_after_600_seconds() {
        let options = TlsOptions { insecure: true, ..TlsOptions::default() };
        let mut known = Known::new();
        let began = Instant::now();
        let mut at = |after: Duration| known_config(&mut known, &options, began + after).unwrap();
        let (first, second) = (Duration::from_secs(600), Duration::from_secs(1200));
        let config = at(Duration::ZERO);
        let instant = Duration::from_nanos(1);
        assert!(Arc::ptr_eq(&config, &at(first - instant)), "used again, not read again");
        let newer = at(first);
        assert!(!Arc::ptr_eq(&config, &newer));
        assert!(Arc::ptr_eq(&newer, &at(second - instant)));
        assert!(!Arc::ptr_eq(&newer, &at(second)));
        assert_eq!(known.len(), 1, "what is not believed any more is not kept");
    }

    /// A certificate of an EC key on P-256, by openssl-req(1).
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBbzCCARWgAwIBAgIUOJZbp7IUr/TWMJInA1HPcHViNscwCgYIKoZIzj0EAwIwDDEKMAgGA1UE\n\
        AwwBdDAgFw0yNjExMjkwODI4NTdaGA8yMTI2MTEwNTA4Mjg1N1owDDEKMAgGA1UEAwwBdDBZMBMG\n\
        ByqGSM49AgEGCCqGSM49AwEHA0IABEpsuw2kNDtrGeziJwQBb66820bNJ24Qm/b9xHWR+y9qOg29\n\
        ncwg6pHWRLGIe4pzJvv4JZxBcQLqAWoCUXVGfoajUzBRMB0GA1UdDgQWBBSL6syAtJbVXhe8QHOO\n\
        NX4v4lFi8zAfBgNVHSMEGDAWgBSL6syAtJbVXhe8QHOONX4v4lFi8zAPBgNVHRMBAf8EBTADAQH/\n\
        MAoGCCqGSM49BAMCA0gAMEUCIQCiAfPf2uiIjEeP5MjK29NtIEgN649CMmcXxA8FE9S1JwIgEsn8\n\
        i7FK0eC8u5b6HqsUPixSYDwOpSrTuImJZDgc6ew=\n\
        -----END CERTIFICATE-----\n";

    #[test]
    fn without_checks_a_server_must_still_have_the_key_of_its_certificate() {
        use rustls::internal::msgs::codec::{Codec, Reader};

        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        // ecdsa_secp256r1_sha256 and a signature of two numbers (RFC 8446, 4.2.3; RFC 5246, 4.7).
        let written = [4, 3, 0, 8, 0x30, 6, 2, 1, 1, 2, 1, 1];
        let signed = DigitallySignedStruct::read(&mut Reader::init(&written)).unwrap();
        let anybody = Anybody(Arc::new(ring::default_provider()));
        let bad = Err(rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature));
        let by_12 = anybody.verify_tls12_signature(b"said", &certificate, &signed);
        assert_eq!(by_12.map(|_| ()), bad);
        let by_13 = anybody.verify_tls13_signature(b"said", &certificate, &signed);
        assert_eq!(by_13.map(|_| ()), bad);
    }
}
