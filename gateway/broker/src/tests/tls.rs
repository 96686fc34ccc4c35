//! TLS with a rustls client, on certificates made here.

use std::path::{Path, PathBuf};

use base64::Engine;
use gateway_config::{CertificateIdentity, ClientAuth, ListenerTls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::*;
use crate::Tls;

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and a folder with what it has signed.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: CertificateDer<'static>,
    folder: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let authority = Self { params, key, certificate, folder };
        write_pem(&authority.folder.join("ca.pem"), "CERTIFICATE", &authority.certificate);
        authority
    }

    fn sign(&self, params: &CertificateParams) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap().der().clone(), key)
    }

    /// Writes a new certificate for localhost and its key.
    fn serve(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.sign(&CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
        write_pem(&self.folder.join("server.pem"), "CERTIFICATE", &certificate);
        write_pem(&self.folder.join("server.key"), "PRIVATE KEY", key.serialized_der());
        certificate
    }

    fn settings(&self, client_auth: ClientAuth, identity: CertificateIdentity) -> ListenerTls {
        ListenerTls {
            cert_file: self.folder.join("server.pem"),
            key_file: self.folder.join("server.key"),
            client_ca_file: (client_auth != ClientAuth::None).then(|| self.folder.join("ca.pem")),
            client_auth,
            identity,
        }
    }

    fn load(&self, client_auth: ClientAuth, identity: CertificateIdentity) -> Arc<Tls> {
        Arc::new(Tls::load("secure", self.settings(client_auth, identity)).unwrap())
    }

    /// A client that trusts this authority, with a certificate of its own or without.
    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&CertificateParams>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some(params) => {
                let (certificate, key) = self.sign(params);
                let key = PrivateKeyDer::Pkcs8(key.serialized_der().to_vec().into());
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn write_pem(path: &Path, label: &str, der: &[u8]) {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    std::fs::write(path, format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")))
        .unwrap();
}

fn listen(bench: &Bench, tls: &Arc<Tls>) -> SocketAddr {
    bench.listen(ListenerSettings { tls: Some(tls.clone()), ..settings(LOOPBACK) })
}

fn dial(address: SocketAddr, config: &ClientConfig) -> Client<TlsStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
    Client::over(StreamOwned::new(connection, tcp(address)))
}

fn shown(client: &Client<TlsStream>) -> CertificateDer<'static> {
    client.0.get_ref().conn.peer_certificates().unwrap()[0].clone()
}

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn messages_of_any_size_cross_tls_1_2_and_1_3() {
    let (bench, authority) = (Bench::new(), Authority::new("sizes"));
    authority.serve();
    let address = listen(&bench, &authority.load(ClientAuth::None, CertificateIdentity::None));
    for version in BOTH {
        let config = authority.client(&[version], None);
        let mut secure = dial(address, &config).open("secure");
        assert_eq!(secure.0.get_ref().conn.protocol_version(), Some(version.version));
        secure.subscribe("t/#");
        let mut plain = bench.connect("plain");
        let sizes = [0, 1, 100, 8 * 1024, 3_000_000, 7, 70_000];
        sizes.iter().for_each(|size| plain.say(&format!("pub t/{size} {size}")));
        sizes.iter().for_each(|size| secure.hear_message(&format!("t/{size}"), *size));
        secure.say("pub t/own 5");
        secure.hear_message("t/own", 5);
    }
    bench.stop();
}

#[test]
fn a_client_that_reads_late_gets_everything_over_tls() {
    let (bench, authority) = (Bench::new(), Authority::new("late"));
    authority.serve();
    let address = listen(&bench, &authority.load(ClientAuth::None, CertificateIdentity::None));
    let mut secure = dial(address, &authority.client(&BOTH, None)).open("late");
    secure.subscribe("t");
    let mut plain = bench.connect("plain");
    // More than the buffers of both sockets take.
    (0..12).for_each(|_| plain.say("pub t 1000000"));
    plain.subscribe("done");
    plain.say("pub done 1");
    plain.hear_message("done", 1);
    (0..12).for_each(|_| secure.hear_message("t", 1_000_000));
    bench.stop();
}

/// What TLS holds back itself counts as waiting too.
#[test]
fn a_socket_that_takes_nothing_is_given_up_over_tls_too() {
    let limits = ClientLimits { write_stall: Some(Duration::from_millis(500)), ..ClientLimits::default() };
    let (bench, authority) = (Bench::with(limits), Authority::new("stuck"));
    authority.serve();
    let address = listen(&bench, &authority.load(ClientAuth::None, CertificateIdentity::None));
    let mut stuck = dial(address, &authority.client(&BOTH, None)).open("stuck");
    stuck.subscribe("flood");
    let mut publisher = bench.connect("publisher");
    (0..12).for_each(|_| publisher.say("pub flood 1000000"));
    bench.await_metric("tidegate_connections_stalled_total", 1);
    publisher.subscribe("flood");
    publisher.say("pub flood 7");
    while !publisher.hear().ends_with("msg flood 7") {}
    bench.stop();
}

#[test]
fn a_verified_certificate_gives_its_client_a_name() {
    let (bench, authority) = (Bench::new(), Authority::new("names"));
    authority.serve();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "press-17");
    params.subject_alt_names = vec![
        SanType::IpAddress([127, 0, 0, 1].into()),
        SanType::Rfc822Name("press@example.org".try_into().unwrap()),
        SanType::DnsName("press.example.org".try_into().unwrap()),
    ];
    let config = authority.client(&BOTH, Some(&params));
    for (identity, name) in [
        (CertificateIdentity::None, "-"),
        (CertificateIdentity::CommonName, "press-17"),
        (CertificateIdentity::San, "press@example.org"),
    ] {
        let address = listen(&bench, &authority.load(ClientAuth::Required, identity));
        let mut client = dial(address, &config);
        client.say("who");
        assert_eq!(client.hear().rsplit(' ').next(), Some(name), "{identity:?}");
        // Resumed from a ticket, without showing the certificate again.
        let mut again = dial(address, &config);
        again.say("who");
        assert_eq!(again.hear().rsplit(' ').next(), Some(name), "{identity:?} resumed");
        assert_eq!(again.0.get_ref().conn.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    }
    bench.stop();
}

#[test]
fn who_has_no_certificate_of_the_authority_is_refused_where_one_is_required() {
    let (bench, authority, other) = (Bench::new(), Authority::new("ours"), Authority::new("theirs"));
    authority.serve();
    let without = authority.client(&BOTH, None);
    let mut foreign = other.client(&BOTH, Some(&CertificateParams::default()));
    foreign.dangerous().set_certificate_verifier(without_verification(&authority));
    let required = listen(&bench, &authority.load(ClientAuth::Required, CertificateIdentity::CommonName));
    for config in [&without, &foreign] {
        let mut client = dial(required, config);
        let _ = client.0.get_mut().write_all(b"who\n");
        let mut answer = String::new();
        assert!(client.0.read_line(&mut answer).is_err(), "{answer}");
    }
    bench.await_metric("tidegate_handshakes_failed_total{listener=\"lines\",step=\"tls\"}", 2);
    let optional = listen(&bench, &authority.load(ClientAuth::Optional, CertificateIdentity::CommonName));
    let mut client = dial(optional, &without);
    client.say("who");
    assert!(client.hear().ends_with(" -"), "nobody's name");
    bench.stop();
}

/// The verifier of a client that trusts our authority, for a client whose own is another's.
fn without_verification(authority: &Authority) -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap()
}

#[test]
fn new_files_are_for_new_connections_and_wrong_ones_for_none() {
    let (bench, authority) = (Bench::new(), Authority::new("reload"));
    let first = authority.serve();
    let tls = authority.load(ClientAuth::None, CertificateIdentity::None);
    let address = listen(&bench, &tls);
    let config = authority.client(&BOTH, None);
    let mut live = dial(address, &config).open("live");
    assert_eq!(shown(&live), first);

    let second = authority.serve();
    tls.reload(true);
    let config = authority.client(&BOTH, None);
    assert_eq!(shown(&dial(address, &config).open("second")), second);

    // The new certificate does not fit the key that is there still.
    let (stranger, _) = authority.sign(&CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
    write_pem(&authority.folder.join("server.pem"), "CERTIFICATE", &stranger);
    tls.reload(true);
    assert_eq!(shown(&dial(address, &authority.client(&BOTH, None)).open("third")), second);

    live.subscribe("t");
    live.say("pub t 3");
    live.hear_message("t", 3);
    bench.stop();
}

#[test]
fn files_are_read_again_only_if_they_have_changed() {
    let (bench, authority) = (Bench::new(), Authority::new("watch"));
    authority.serve();
    let tls = authority.load(ClientAuth::None, CertificateIdentity::None);
    let before = tls.config();
    tls.reload(false);
    assert!(Arc::ptr_eq(&before, &tls.config()));
    authority.serve();
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    let file = std::fs::File::options().append(true).open(authority.folder.join("server.pem")).unwrap();
    file.set_modified(later).unwrap();
    tls.reload(false);
    assert!(!Arc::ptr_eq(&before, &tls.config()));
    bench.stop();
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_key() {
    let authority = Authority::new("errors");
    authority.serve();
    let error_of = |change: &dyn Fn(&mut ListenerTls)| {
        let mut settings = authority.settings(ClientAuth::Required, CertificateIdentity::None);
        change(&mut settings);
        Tls::load("secure", settings).err().unwrap().to_string()
    };
    let path = |name: &str| authority.folder.join(name);
    std::fs::write(path("empty"), "nothing\n").unwrap();
    std::fs::write(
        path("locked"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let absent = error_of(&|settings| settings.cert_file = path("absent"));
    assert!(
        absent.starts_with("listener.secure.tls.cert_file: ") && absent.contains("absent: No such file"),
        "{absent}"
    );
    let empty = error_of(&|settings| settings.cert_file = path("empty"));
    assert!(empty.ends_with("empty: holds no certificate in PEM"), "{empty}");
    let locked = error_of(&|settings| settings.key_file = path("locked"));
    assert!(
        locked.starts_with("listener.secure.tls.key_file: ") && locked.contains("is encrypted"),
        "{locked}"
    );
    let (_, other) = authority.sign(&CertificateParams::default());
    write_pem(&path("other.key"), "PRIVATE KEY", other.serialized_der());
    let other = error_of(&|settings| settings.key_file = path("other.key"));
    assert!(other.contains("other.key: is not the key of "), "{other}");
    let roots = error_of(&|settings| settings.client_ca_file = Some(path("server.key")));
    assert!(roots.starts_with("listener.secure.tls.client_ca_file: "), "{roots}");
}

#[test]
fn the_days_that_a_certificate_has_left_are_known() {
    let authority = Authority::new("expiry");
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2025, 1, 11);
    let (certificate, _) = authority.sign(&params);
    let new_year_2025_millis = 1_735_689_600_000;
    let days_left = |millis| crate::certificate::days_left(&certificate, millis);
    assert_eq!(days_left(new_year_2025_millis), Some(10));
    assert_eq!(days_left(new_year_2025_millis + 11 * 86_400_000), Some(-1));
    assert_eq!(crate::certificate::days_left(b"nothing", 0), None);
}
