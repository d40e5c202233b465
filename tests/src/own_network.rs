//! A test in network and mount namespaces of its own, where the resolver is ours: names are looked up over port 53 as a tenant's programs do, and nothing
//! of the machine is touched.

use std::process::Command;

use tempfile::TempDir;

/// Where the inner run finds that it is one.
const INSIDE: &str = "SONDE_TEST_IN_ITS_OWN_NETWORK";
/// Before the inner run: loopback, and a resolver that is ours.
const ENTER: &str = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";

/// Runs a test in namespaces of its own: this program again, for that one test, which is named as the test runner names it.
pub fn in_own_network(test: &str, inner: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return inner();
    }
    let folder = TempDir::new().expect("a temporary folder can be made");
    let resolver = folder.path().join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n").expect("it is writable");
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--fork", "--kill-child", "sh", "-ec", ENTER, "sh"])
        .arg(&resolver)
        .arg(std::env::current_exe().expect("a test has a program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare is there");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    // A name that matches no test would pass too.
    assert!(said.contains("1 passed"), "{said}");
}
