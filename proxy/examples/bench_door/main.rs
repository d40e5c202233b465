//! What the door costs, for `cargo xtask bench door`: our proxy, nginx and haproxy in front of one and the same agent, asked by one and the same client.
//!
//! Each of the three terminates mTLS and passes to the agent over mTLS; ours alone also asks whose the instance is, counts, limits and logs. Each runs on
//! one core of its own, client and agent on the other. The agent answers from memory, so that the door is what is measured.
//! Roles: `prepare DIR`, `serve DIR`, `agent DIR`, `measure DIR`.

mod agent;
mod client;
mod figures;
mod prepare;

use std::path::PathBuf;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().unwrap_or_default();
    let folder = PathBuf::from(arguments.next().expect("a folder is named"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    runtime.block_on(async {
        match role.as_str() {
            "prepare" => prepare::prepare(&folder).await,
            "serve" => {
                let proxy = sonde_proxy::Proxy::start(folder.join("proxy.toml")).await.expect("it starts");
                std::fs::write(folder.join("serve.ready"), proxy.address().to_string()).expect("it is written");
                std::future::pending::<()>().await;
            }
            "agent" => agent::serve(&folder).await,
            "measure" => figures::measure(&folder).await,
            other => panic!("{other:?} is not a role"),
        }
    });
}
