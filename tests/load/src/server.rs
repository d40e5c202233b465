//! An instance to be asked: a TCP server that answers every line, alone in a network namespace.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;

/// The port that every instance's server listens on.
pub const PORT: u16 = 7;

/// Connections that one server handles at once.
const THREADS: usize = 4;

/// Serves until it is killed.
///
/// # Errors
/// The port cannot be listened on.
pub fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", PORT))?;
    let workers: Vec<_> = (0..THREADS)
        .map(|_| {
            let listener = listener.try_clone()?;
            Ok(thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let mut stream = stream;
                    let mut question = [0; 64];
                    if matches!(stream.read(&mut question), Ok(1..)) {
                        let _ = stream.write_all(b"that much\n");
                    }
                }
            }))
        })
        .collect::<std::io::Result<_>>()?;
    for worker in workers {
        let _ = worker.join();
    }
    Ok(())
}

/// A server that was started, killed when dropped.
#[derive(Debug)]
pub(crate) struct Server(pub(crate) Child);

impl Server {
    /// Starts one in a network namespace of its own. Needs root, util-linux and iproute2.
    pub(crate) fn start(program: &std::path::Path) -> std::io::Result<Self> {
        let script = "ip link set lo up && exec \"$0\" serve";
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]).arg(program);
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
