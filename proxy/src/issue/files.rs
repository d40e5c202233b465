//! Certificates and keys as files: PEM, keys for this user alone, written whole or not at all.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{AuthorityKind, IssueError, Issued, IssuingAuthority};
use crate::tls::CertificateFiles;

/// RFC 7468 §2.
const LINE: usize = 64;
const FOLDER_MODE: u32 = 0o700;
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// A PEM block.
pub fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.extend([line, "\n"]);
        rest = after;
    }
    text + &format!("-----END {label}-----\n")
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key` into a folder, which is made where it is not there. What is there already is not written over.
    pub fn write(&self, folder: &Path, name: &str) -> Result<CertificateFiles, IssueError> {
        self.put(folder, name, false)
    }

    /// The same, in place of what was there.
    pub fn write_over(&self, folder: &Path, name: &str) -> Result<CertificateFiles, IssueError> {
        self.put(folder, name, true)
    }

    fn put(&self, folder: &Path, name: &str, over: bool) -> Result<CertificateFiles, IssueError> {
        make_folder(folder)?;
        let files = files(folder, name);
        if !over {
            for path in [&files.certificate, &files.key] {
                refuse_existing(path)?;
            }
        }
        let certificate = pem("CERTIFICATE", &self.certificate);
        // The certificate first: whoever watches takes the pair when it is one, and a key without its certificate is no use to keep.
        write_whole(&files.certificate, certificate.as_bytes(), CERTIFICATE_MODE)?;
        write_whole(&files.key, pem("PRIVATE KEY", self.key.secret_der()).as_bytes(), KEY_MODE)?;
        Ok(files)
    }
}

/// A secret of another kind, for this user alone, in place of what was there.
pub fn write_secret(path: &Path, contents: &[u8]) -> Result<(), IssueError> {
    write_whole(path, contents, KEY_MODE)
}

impl IssuingAuthority {
    /// The authority of this kind that a folder has; a new one, where it has none.
    pub fn open_or_create(folder: &Path, kind: AuthorityKind) -> Result<(Self, CertificateFiles), IssueError> {
        let name = format!("{}-ca", kind.name());
        let files = files(folder, &name);
        if files.certificate.exists() || files.key.exists() {
            return Ok((Self::open(&files)?, files));
        }
        let (authority, issued) = Self::create(kind)?;
        let files = issued.write(folder, &name)?;
        Ok((authority, files))
    }
}

fn files(folder: &Path, name: &str) -> CertificateFiles {
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    CertificateFiles { certificate: file("pem"), key: file("key") }
}

fn make_folder(folder: &Path) -> Result<(), IssueError> {
    let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    made.map_err(|source| IssueError::Write { path: folder.to_owned(), source })
}

fn refuse_existing(path: &Path) -> Result<(), IssueError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(IssueError::Exists { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}

/// By way of a file beside it, so that nobody reads a half; the mode is there before the contents are.
pub(super) fn write_whole(path: &Path, contents: &[u8], mode: u32) -> Result<(), IssueError> {
    let beside = PathBuf::from(format!("{}.{}.new", path.display(), std::process::id()));
    let write = || -> io::Result<()> {
        // One that was left behind by a process of this number.
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&beside);
        IssueError::Write { path: path.to_owned(), source }
    })
}
