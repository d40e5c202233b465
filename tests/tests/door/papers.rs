//! Certificates of every kind that somebody may show: right ones that no command of ours makes, and each way to be wrong.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SanType, SignatureAlgorithm,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sonde_tests::run_to_end;
use time::{Duration, OffsetDateTime};

/// What a client shows in a handshake.
pub struct Shown {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Shown {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Shown {
    /// From PEM files, as `sonde cert` writes them.
    pub fn read(certificate: &Path, key: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate).expect("it is there");
        let chain = chain.collect::<Result<_, _>>().expect("it is PEM");
        Self { chain, key: PrivateKeyDer::from_pem_file(key).expect("it is a key") }
    }
}

/// A key of each algorithm that tenants have.
#[derive(Clone, Copy, Debug)]
pub enum Algorithm {
    Rsa,
    Ecdsa,
    Ed25519,
}

pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::Rsa, Algorithm::Ecdsa, Algorithm::Ed25519];

impl Algorithm {
    fn signing(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Rsa => &PKCS_RSA_SHA256,
            Self::Ecdsa => &PKCS_ECDSA_P256_SHA256,
            Self::Ed25519 => &PKCS_ED25519,
        }
    }

    /// Such a key. RSA's is OpenSSL's: ring makes none.
    pub fn key(self) -> KeyPair {
        let Self::Rsa = self else { return KeyPair::generate_for(self.signing()).expect("it is made") };
        let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
        let made = run_to_end(Command::new("openssl").args(arguments)).stdout;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&made).expect("it is PKCS #8");
        KeyPair::from_pkcs8_der_and_sign_algo(&key, self.signing()).expect("it is a key")
    }

    /// As `ssh-keygen -t` calls it.
    pub fn ssh(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ecdsa => "ecdsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// The line of an `ssh-*.pub` file for this key (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4).
pub fn ssh_line(algorithm: Algorithm, key: &KeyPair, folder: &Path) -> String {
    let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("keys are short").to_be_bytes(), bytes].concat();
    let raw = rcgen::PublicKeyData::der_bytes(key);
    let of = |kind: &str, parts: &[&[u8]]| {
        let wire: Vec<u8> = [&[kind.as_bytes()], parts].concat().into_iter().flat_map(string).collect();
        format!("{kind} {}", STANDARD.encode(wire))
    };
    match algorithm {
        Algorithm::Ecdsa => of("ecdsa-sha2-nistp256", &[b"nistp256", raw]),
        Algorithm::Ed25519 => of("ssh-ed25519", &[raw]),
        Algorithm::Rsa => {
            let path = folder.join("rsa.public.pem");
            std::fs::write(&path, pem("PUBLIC KEY", &rcgen::PublicKeyData::subject_public_key_info(key)))
                .expect("the folder is writable");
            let line = run_to_end(Command::new("ssh-keygen").args(["-i", "-m", "PKCS8", "-f"]).arg(path));
            String::from_utf8(line.stdout).expect("it is text").trim().to_owned()
        }
    }
}

/// A certificate to be made. Of an account's name, for clients, and valid today unless told.
pub struct Draft {
    pub params: CertificateParams,
}

impl Draft {
    pub fn of(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let draft = Self { params };
        draft.valid(-1, 1)
    }

    /// From and until so many days from now.
    pub fn valid(mut self, from: i64, until: i64) -> Self {
        self.params.not_before = OffsetDateTime::now_utc() + Duration::days(from);
        self.params.not_after = OffsetDateTime::now_utc() + Duration::days(until);
        self
    }

    pub fn uri(mut self, uri: &str) -> Self {
        self.params.subject_alt_names.push(SanType::URI(uri.try_into().expect("it is ASCII")));
        self
    }

    /// With so many bytes of an extension that nobody knows.
    pub fn padded(mut self, bytes: usize) -> Self {
        let padding = [&[0x04, 0x83][..], &u32::try_from(bytes).expect("it fits").to_be_bytes()[1..], &vec![7; bytes]];
        self.params
            .custom_extensions
            .push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], padding.concat()));
        self
    }

    pub fn for_servers(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// Signed by its own key.
    pub fn by_itself(self, key: &KeyPair) -> Shown {
        let certificate = self.params.self_signed(key).expect("it is made");
        Shown { chain: vec![certificate.der().clone()], key: private(key) }
    }

    /// Signed by an authority, for a key of its own.
    pub fn by(self, authority: &Authority) -> Shown {
        let key = Algorithm::Ecdsa.key();
        let certificate = self.params.signed_by(&key, &authority.issuer).expect("it is made");
        Shown { chain: vec![certificate.der().clone()], key: private(&key) }
    }
}

/// RFC 7468, with one long line, which all that read it take.
fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).expect("it is PKCS #8")
}

/// An operator's own authority, and what it has revoked.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut draft = Draft::of(name).valid(-10, 10);
        draft.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        draft.params.extended_key_usages.clear();
        draft.params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let key = Algorithm::Ecdsa.key();
        let pem = pem("CERTIFICATE", draft.params.self_signed(&key).expect("it is made").der());
        Self { issuer: Issuer::new(draft.params, key), pem }
    }

    /// A list of revoked certificates, current for a day.
    pub fn revoked(&self, all: &[&Shown]) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = all.iter().map(|shown| rcgen::RevokedCertParams {
            serial_number: serial(&shown.chain[0]).into(),
            revocation_time: now - Duration::hours(1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = rcgen::CertificateRevocationListParams {
            this_update: now - Duration::hours(1),
            next_update: now + Duration::days(1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        pem("X509 CRL", list.signed_by(&self.issuer).expect("it is made").der())
    }
}

/// A certificate's serial number: after its version, in its first SEQUENCE (RFC 5280 §4.1).
fn serial(certificate: &[u8]) -> Vec<u8> {
    let long = |at: usize| if certificate[at] & 0x80 == 0 { 1 } else { 1 + usize::from(certificate[at] & 0x7f) };
    let outer = 1 + long(1);
    let version = outer + 1 + long(outer + 1);
    let number = version + 5;
    assert_eq!((certificate[version], certificate[number]), (0xa0, 2), "a version, then a number");
    let length = usize::from(certificate[number + 1]);
    certificate[number + 2..number + 2 + length].to_vec()
}
