//! `sonde cert revoke-tier`: the tiers' list of revoked certificates, which proxies and agents are told of with `crl`.

use std::path::PathBuf;

use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sonde_proxy::issue::{AuthorityKind, tier_list};

use crate::cert::{Authorities, failure};
use crate::failure::{Failure, print};

#[derive(Args)]
#[command(after_help = "\
Example: sonde cert revoke-tier old-node.pem --ca-dir /etc/sonde/tls
Name the list in [tier] crl of each proxy, and in [listen.tls] crl and [report] crl of each agent; a copy that is replaced counts within seconds, on
connections that are open too.")]
pub struct RevokeTier {
    /// The certificates, as `sonde cert tier` made them; without any, the list as it is, or an empty one to begin with
    #[arg(value_name = "F.pem")]
    certificate: Vec<PathBuf>,
    /// The data folder whose authority signs
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    authorities: Authorities,
}

impl RevokeTier {
    pub fn run(self) -> Result<(), Failure> {
        let (authority, files) = self.authorities.open(self.data_dir.as_deref(), AuthorityKind::Tier)?;
        let read = |path: &PathBuf| {
            let read = CertificateDer::from_pem_file(path);
            let read = read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
            if authority.has_issued(&read) {
                return Ok(read);
            }
            let (path, by) = (path.display(), files.certificate.display());
            Err(Failure::usage(format!(
                "{path} was not issued by {by}, so that it cannot be revoked by it; nothing was"
            )))
        };
        let certificates = self.certificate.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
        let list = tier_list(files.certificate.parent().unwrap_or(&files.certificate));
        authority.revoke(&certificates, &list).map_err(failure)?;
        print(format!("{}\n", list.display()).as_bytes())
    }
}
