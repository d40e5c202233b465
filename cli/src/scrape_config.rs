//! The Prometheus configuration that comes with a certificate: it works where it lies, beside the files that it names.

use std::path::Path;

use sonde_inventory::AccountName;
use sonde_proxy::issue::AuthorityKind;
use sonde_proxy::tls::CertificateFiles;

pub fn http_sd(account: &AccountName, endpoint: &str, files: &CertificateFiles, has_ca: bool) -> String {
    let port =
        if endpoint.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) { "" } else { ":9163" };
    let tls = |indent: &str| tls_config(files, indent, has_ca);
    format!(
        "scrape_configs:\n  - job_name: {account}\n    scheme: https\n{}    http_sd_configs:\n      - url: https://{endpoint}{port}/v1/sd/http\n{}",
        tls("    "),
        tls("        "),
    )
}

pub fn triton_sd(account: &AccountName, endpoint: &str, files: &CertificateFiles) -> String {
    let tls = |indent: &str| tls_config(files, indent, false);
    format!(
        "scrape_configs:\n  - job_name: {account}\n    scheme: https\n{}    triton_sd_configs:\n      - account: {account}\n        dns_suffix: {endpoint}\n        endpoint: {endpoint}\n        version: 1\n{}    relabel_configs:\n      - source_labels: [__meta_triton_machine_alias]\n        target_label: alias\n      - source_labels: [__meta_triton_machine_id]\n        target_label: instance\n",
        tls("    "),
        tls("        "),
    )
}

/// Names are those of files beside the configuration.
fn tls_config(files: &CertificateFiles, indent: &str, has_ca: bool) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (certificate, key) = (name(&files.certificate), name(&files.key));
    let (mark, ca) = (if has_ca { "" } else { "# " }, server_ca());
    format!(
        "{indent}tls_config:\n{indent}  cert_file: {certificate}\n{indent}  key_file: {key}\n{indent}  {mark}ca_file: {ca}\n"
    )
}

/// The file of the authority that signs the listener's certificate.
pub fn server_ca() -> String {
    format!("{}-ca.pem", AuthorityKind::Server.name())
}
