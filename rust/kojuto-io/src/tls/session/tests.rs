//! Sessions with a server of rustls at the other end of a pair of sockets, both in one thread, so
//! that each record comes when the test says so.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

use super::*;

/// A certificate for localhost and its key, both on P-256, by openssl-req(1).
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBgzCCASigAwIBAgIUbahwa8vSibv2dINF5hGwUT+Qps8wCgYIKoZIzj0EAwIw\n\
    DDEKMAgGA1UEAwwBdDAgFw0yNjExMjkxMTA4NDFaGA8yMTI2MTEwNTExMDg0MVow\n\
    DDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOVT+wb89vqe\n\
    EMGo4A80yoQcfZ27IZHRiVm5xnzGto6Cm57oXLGh4vU5XpnZ1wuXYtRw4doBoKEC\n\
    n2QfJBXdo7KjZjBkMB0GA1UdDgQWBBRad+IoQfoxN2uhb3ivTV9IsiOlOjAfBgNV\n\
    HSMEGDAWgBRad+IoQfoxN2uhb3ivTV9IsiOlOjAUBgNVHREEDTALgglsb2NhbGhv\n\
    c3QwDAYDVR0TAQH/BAIwADAKBggqhkjOPQQDAgNJADBGAiEA2qytqukrF5KMVkGs\n\
    qDgESEq0cvSg2vHoMRwxWfg57aECIQCZUY2JaMyDql0DgLWbDlLecMOVkb5b1OMv\n\
    hArdYfHwRQ==\n\
    -----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgDQEEhD3lHfhel1FI\n\
    Z/lmRP22HylBxYHdValuf4BsrRuhRANCAATlU/sG/Pb6nhDBqOAPNMqEHH2duyGR\n\
    0YlZucZ8xraOgpue6FyxoeL1OV6Z2dcLl2LUcOHaAaChAp9kHyQV3aOy\n\
    -----END PRIVATE KEY-----\n";

struct Server {
    socket: UnixStream,
    tls: ServerConnection,
    got: Vec<u8>,
    ended: bool,
}

impl Server {
    /// Takes what has come; answers what must be answered.
    fn work(&mut self) {
        loop {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                taken => taken.map(|_| ()).unwrap(),
            }
            self.ended = self.tls.process_new_packets().unwrap().peer_has_closed();
            let mut piece = vec![0; READ_BYTES];
            while let Ok(count @ 1..) = self.tls.reader().read(&mut piece) {
                self.got.extend_from_slice(&piece[..count]);
            }
        }
        self.give();
    }

    fn give(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket).unwrap();
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        let sealed = self.seal(bytes);
        self.socket.write_all(&sealed).unwrap();
    }

    /// Encrypts `bytes` and whatever else is to be said, and sends nothing of it.
    fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(bytes).unwrap();
        let mut sealed = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut sealed).unwrap();
        }
        sealed
    }
}

/// Both ends before their handshake, in which the client asks for `name`.
fn ends(version: &'static SupportedProtocolVersion, name: &'static str) -> (Session, Server) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let theirs = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (ours, socket) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    let name = ServerName::try_from(name).unwrap();
    let session = Session::new(ours.into(), Arc::new(config), name).unwrap();
    let tls = ServerConnection::new(Arc::new(theirs)).unwrap();
    (session, Server { socket, tls, got: Vec::new(), ended: false })
}

fn shake(session: &mut Session, server: &mut Server) -> io::Result<()> {
    while !session.ready {
        session.shake()?;
        session.flush()?;
        server.work();
        if !session.ready {
            session.receive(&mut [])?;
        }
    }
    session.flush()
}

/// Both ends after their handshake, with nothing on the way.
fn connected(version: &'static SupportedProtocolVersion) -> (Session, Server) {
    let (mut session, mut server) = ends(version, "localhost");
    shake(&mut session, &mut server).unwrap();
    server.work();
    assert!(nothing(session.recv(&mut [0; 9])), "tickets");
    (session, server)
}

fn nothing<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Sends all of `bytes`, however often that needs the server to read.
fn send_all(session: &mut Session, server: &mut Server, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match session.send(&[], bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => server.work(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn an_end_in_the_same_read_as_the_last_bytes_is_not_waited_for() {
    let (mut session, mut server) = connected(&TLS13);
    let mut buffer = [0; 16];
    server.say(b"more");
    assert_eq!(session.recv(&mut buffer).unwrap(), 4);
    assert!(session.drained(), "the socket is empty");
    server.tls.writer().write_all(b"last").unwrap();
    server.tls.send_close_notify();
    server.give();
    assert_eq!(session.recv(&mut buffer).unwrap(), 4);
    assert!(!session.drained(), "the end has come too");
    assert_eq!(session.recv(&mut buffer).unwrap(), 0);
}

#[test]
fn what_was_decrypted_and_not_taken_is_there_without_the_socket() {
    let (mut session, mut server) = connected(&TLS13);
    server.say(b"0123456789");
    let mut buffer = [0; 4];
    for (part, drained) in [("0123", false), ("4567", false), ("89", true)] {
        let count = session.recv(&mut buffer).unwrap();
        assert_eq!((&buffer[..count], session.drained()), (part.as_bytes(), drained));
    }
    assert!(nothing(session.recv(&mut buffer)));
}

#[test]
fn behind_a_read_to_the_brim_there_may_be_more() {
    let (mut session, mut server) = connected(&TLS13);
    let all = pattern(READ_BYTES + 100);
    all.chunks(READ_BYTES / 2).for_each(|part| server.say(part));
    let mut buffer = vec![0; 2 * READ_BYTES];
    let mut got = session.recv(&mut buffer).unwrap();
    assert!(got < all.len() && !session.drained(), "{got}");
    while got < all.len() {
        got += session.recv(&mut buffer[got..]).unwrap();
    }
    assert!(buffer[..got] == all && session.drained());
}

#[test]
fn half_a_record_is_no_end_and_the_other_half_makes_it_whole() {
    for version in [&TLS12, &TLS13] {
        let (mut session, mut server) = connected(version);
        let sealed = server.seal(b"whole");
        let mut buffer = [0; 16];
        for cut in 1..sealed.len() {
            let sealed = if cut == 1 { sealed.clone() } else { server.seal(b"whole") };
            let (one, other) = sealed.split_at(cut);
            server.socket.write_all(one).unwrap();
            assert!(nothing(session.recv(&mut buffer)), "{cut}");
            server.socket.write_all(other).unwrap();
            assert_eq!(session.recv(&mut buffer).unwrap(), 5, "{cut}");
            assert_eq!(session.partial.capacity(), 0, "an idle session holds no memory");
        }
    }
}

#[test]
fn a_full_socket_holds_one_write_and_takes_no_second() {
    let (mut session, mut server) = connected(&TLS13);
    let (body, mut sent) = (pattern(4 << 20), 0);
    while !session.is_sending() {
        sent += session.send(&[], &body[sent..]).unwrap();
    }
    assert!(session.out.len() <= SEALED_BYTES);
    assert!(nothing(session.send(&[], &body[sent..])), "nothing overtakes what is queued");
    send_all(&mut session, &mut server, &body[sent..]);
    while nothing(session.flush()) {
        server.work();
    }
    server.work();
    assert!(server.got == body);
    assert_eq!(session.out.capacity(), 0, "an idle session holds no memory");
}

#[test]
fn what_is_sent_stays_behind_a_change_of_keys() {
    let (mut session, mut server) = connected(&TLS13);
    match session.connection.process_tls_records(&mut []).state {
        Ok(ConnectionState::WriteTraffic(traffic)) => traffic.refresh_traffic_keys().unwrap(),
        other => panic!("{other:?}"),
    }
    assert_eq!(session.send(b"by the new", b" keys").unwrap(), 15);
    session.flush().unwrap();
    server.work();
    assert_eq!(server.got, b"by the new keys");
    server.say(b"by theirs");
    let mut buffer = [0; 16];
    assert_eq!(session.recv(&mut buffer).unwrap(), 9);
}

#[test]
fn a_header_shares_its_record_and_no_write_is_larger_than_four_records() {
    let (mut session, mut server) = connected(&TLS12);
    let body = pattern(2 * WRITE_BYTES);
    let (record, most) = (RECORD_BYTES, WRITE_BYTES);
    let lengths = [(0, 0), (0, 1), (14, 0), (14, 9), (14, record), (14, most)];
    for (head, length) in lengths.into_iter().chain([(0, most + 1), (14, most + 1), (14, 2 * most)])
    {
        server.got.clear();
        let count = session.send(&body[..head], &body[head..length.max(head)]).unwrap();
        assert_eq!(count, length.max(head).min(WRITE_BYTES), "{head} {length}");
        while nothing(session.flush()) {
            server.work();
        }
        server.work();
        assert!(server.got == body[..count], "{head} {length}");
    }
}

#[test]
fn a_good_bye_is_said_and_a_stream_that_just_ends_is_at_its_end() {
    let (mut session, mut server) = connected(&TLS13);
    server.work();
    assert!(!server.ended);
    session.send_close_notify();
    server.work();
    assert!(server.ended);
    drop(server);
    assert_eq!(session.recv(&mut [0; 9]).unwrap(), 0);
}

/// The server of this crate puts the messages behind its certificate into the same record.
#[test]
fn a_certificate_that_is_refused_before_the_end_of_its_record_is_told_to_the_server() {
    for version in [&TLS12, &TLS13] {
        let (mut session, mut server) = ends(version, "elsewhere");
        let error = shake(&mut session, &mut server).unwrap_err().to_string();
        assert!(error.contains("certificate is not for elsewhere"), "{error}");
        server.tls.read_tls(&mut server.socket).unwrap();
        let told = server.tls.process_new_packets().unwrap_err();
        assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::BadCertificate));
    }
}

/// As `openssl req -x509` makes them.
#[test]
fn an_authority_of_its_own_is_told_in_words() {
    let refused = |why: webpki::Error| {
        let other = rustls::OtherError(Arc::new(why));
        refusal(&rustls::Error::InvalidCertificate(CertificateError::Other(other)))
    };
    let own = refused(webpki::Error::CaUsedAsEndEntity);
    assert!(own.contains("an authority's own") && !own.contains("Other"), "{own}");
    assert_eq!(
        refused(webpki::Error::UnsupportedCertVersion),
        "the server's certificate is refused: UnsupportedCertVersion"
    );
}

#[test]
fn a_certificate_for_another_name_is_refused_with_the_names_it_is_for() {
    let error = |presented: &[&str]| {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("db.example").unwrap(),
            presented: presented.iter().map(|&name| name.to_owned()).collect(),
        })
    };
    assert_eq!(
        refusal(&error(&["DnsName(\"a.example\")", "IpAddress(192.0.2.1)"])),
        "the server's certificate is not for db.example but for a.example, 192.0.2.1"
    );
    assert_eq!(
        refusal(&error(&[])),
        "the server's certificate is not for db.example but for no name"
    );
}
