//! The old and the new meet: a scraper with Triton's certificates at our door, and behind it an agent that speaks as cmon-agent does.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::json;
use sonde_inventory::{Node, Write};
use sonde_proxy::tls::CertificateFiles;
use sonde_tests::{Prometheus, run_to_end};
use uuid::Uuid;

use crate::house::{Credential, id, instance, name};
use crate::town::{Town, WITHIN, in_own_network, wait_for_targets};

const OLD_NODE: Uuid = Uuid::from_u128(0xc0);

/// As cmon-agent answers for a zone: no version in the type, counters that do not end in `_total`, its own measures of itself.
const ZONE: &str = "# HELP cpucap_cur_usage_percentage current CPU utilization\n\
    # TYPE cpucap_cur_usage_percentage gauge\ncpucap_cur_usage_percentage 7\n\
    # HELP net_agg_packets_in Aggregate inbound packets\n# TYPE net_agg_packets_in counter\n\
    net_agg_packets_in{interface=\"vnic0\"} 4212\n\
    # HELP time_of_day System time in seconds since epoch\n# TYPE time_of_day counter\ntime_of_day 1511000000000\n";
const GLOBAL: &str = "# HELP cpu_info_model cpu\n# TYPE cpu_info_model gauge\ncpu_info_model{model=\"x\"} 1\n";

/// A plain HTTP server with cmon-agent's two routes; it keeps the heads of what it is asked.
fn cmon_agent(zone: Uuid) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&heads);
    // It ends with the test's process, which is the test's own.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            kept.lock().unwrap().push(head);
            let (status, kind, body) = match path.as_str() {
                path if path == format!("/v1/{zone}/metrics") => ("200 OK", "text/plain", ZONE),
                "/v1/gz/metrics" => ("200 OK", "text/plain", GLOBAL),
                _ => (
                    "404 Not Found",
                    "application/json",
                    "{\"code\":\"NotFoundError\",\"message\":\"container not found\"}",
                ),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nServer: cmon-agent\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = reader.into_inner().write_all(format!("{head}{body}").as_bytes());
        }
    });
    (address, heads)
}

fn openssl(folder: &Path, arguments: &str) {
    run_to_end(Command::new("openssl").current_dir(folder).args(arguments.split(' ')));
}

/// An SSH key, and the two certificates that Triton's tools make with it: signed by itself, and for a fresh key with the fingerprint as issuer.
fn triton_certificates(folder: &Path, account: &str) -> (String, [Credential; 2]) {
    openssl(folder, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ssh.pem");
    let ssh = |arguments: &[&str]| {
        let output = run_to_end(Command::new("ssh-keygen").current_dir(folder).args(arguments));
        String::from_utf8(output.stdout).unwrap()
    };
    std::fs::set_permissions(folder.join("ssh.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let public = ssh(&["-y", "-f", "ssh.pem"]);
    std::fs::write(folder.join("ssh.pub"), &public).unwrap();
    let listed = ssh(&["-l", "-E", "md5", "-f", "ssh.pub"]);
    let fingerprint = listed.split(' ').nth(1).and_then(|word| word.strip_prefix("MD5:")).unwrap().to_owned();
    openssl(folder, &format!("req -x509 -new -key ssh.pem -subj /CN={account} -days 2 -out old.pem"));
    openssl(folder, &format!("req -x509 -new -key ssh.pem -subj /CN={fingerprint} -days 2 -out issuer.pem"));
    openssl(folder, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out fresh.pem");
    openssl(folder, &format!("req -new -key fresh.pem -subj /CN={account} -out fresh.csr"));
    std::fs::write(folder.join("new.ext"), "extendedKeyUsage = clientAuth, 1.3.6.1.4.1.38678.1.4.2\n").unwrap();
    openssl(
        folder,
        "x509 -req -in fresh.csr -CA issuer.pem -CAkey ssh.pem -CAcreateserial -days 2 -extfile new.ext -out new.pem",
    );
    let credential = |certificate: &str, key: &str| Credential {
        token: None,
        certificate: Some(CertificateFiles { certificate: folder.join(certificate), key: folder.join(key) }),
    };
    (public, [credential("old.pem", "ssh.pem"), credential("new.pem", "fresh.pem")])
}

#[test]
fn tritons_certificates_scrape_what_a_cmon_agent_says() {
    in_own_network("old::tritons_certificates_scrape_what_a_cmon_agent_says", || {
        let on_old = |number, more: serde_json::Value| {
            let mut record = instance(number, "acme", more);
            record.node = OLD_NODE;
            record
        };
        let town =
            Town::build(&[on_old(1, json!({ "alias": "zone" })), on_old(2, json!({ "alias": "unknown-there" }))]);
        let (address, heads) = cmon_agent(id(1));
        let node: Node = serde_json::from_value(
            json!({ "id": OLD_NODE, "hostname": "old", "url": format!("http://{address}"), "is_cmon": true }),
        )
        .unwrap();
        let house = town.house();
        town.runtime.block_on(house.proxy.store().write(vec![Write::put(None, node)])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (public, styles) = triton_certificates(folder.path(), "acme");
        town.runtime.block_on(async {
            house.account("acme").await;
            house.proxy.accounts().add_keys(&name("acme"), &public).await.unwrap();
        });
        for style in &styles {
            let prometheus = Prometheus::with_config(&crate::triton::config(&town, style, "container", ""));
            // What that agent does not know is down, and costs the other nothing.
            wait_for_targets(&prometheus, &[("unknown-there", 0.0), ("zone", 1.0)]);
            prometheus
                .wait_for("net_agg_packets_in{alias=\"zone\",interface=\"vnic0\"}", WITHIN, |value| value == 4212.0);
        }
        {
            let heads = heads.lock().unwrap();
            // {"isCoreZone":false}
            let options = "x-joyent-cmon-opts: eyJpc0NvcmVab25lIjpmYWxzZX0=";
            assert!(
                heads.iter().all(|head| head.to_ascii_lowercase().contains(&options.to_ascii_lowercase())),
                "{heads:?}"
            );
        }
        // The operator's node, by the name that cmon gave it.
        town.runtime.block_on(house.proxy.accounts().add(&name("operator"), true)).ok();
        let nodes = Prometheus::with_config(&crate::triton::config(&town, &town.certificate("operator"), "cn", ""));
        nodes.wait_for("cpu_info_model{alias=\"old\"}", WITHIN, |value| value == 1.0);
        // With the key, both styles are gone.
        let accounts = house.proxy.accounts();
        let key = sonde_proxy::accounts::keys::fingerprint(&accounts.get(&name("acme")).unwrap().keys[0]).unwrap();
        town.runtime.block_on(accounts.remove_key(&name("acme"), &key)).unwrap();
        let prometheus = Prometheus::with_config(&crate::triton::config(&town, &styles[1], "container", ""));
        sonde_tests::eventually("a refused refresh", WITHIN, || {
            let log = prometheus.log();
            if log.contains("triton") && log.contains("err=") { Ok(()) } else { Err(log) }
        });
        assert!(prometheus.query("up").is_empty());
    });
}
