//! What an honest runner and an honest compile worker do, which the jail must let them do.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What it says on the socket it receives.
pub const GREETING: &[u8] = b"one two";

/// Threads, an event loop, memory images, executable memory, and a socket that it receives.
pub fn runner() -> Result<(), Errno> {
    // First used inside, as by wasmtime: rustix reads it from the auxiliary vector.
    assert!(rustix::param::page_size() >= 4096);
    std::thread::available_parallelism().unwrap();
    let thread = std::thread::Builder::new().name("named".to_owned()).spawn(|| 7).unwrap();
    assert_eq!(thread.join().unwrap(), 7);
    image().unwrap();
    executable(true)?;
    event_loop();
    // An open of a file fails as an error, and does not end the process.
    assert_eq!(File::open("/etc/passwd").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert!(File::open("/proc/self/pagemap").is_err());
    let mut socket = received();
    socket.set_nodelay(true).unwrap();
    socket.set_nonblocking(false).unwrap();
    assert!(socket.take_error().unwrap().is_none());
    socket.peer_addr().unwrap();
    socket.write_all(&GREETING[..4]).unwrap();
    assert_eq!(socket.write_vectored(&[IoSlice::new(&GREETING[4..])]).unwrap(), GREETING.len() - 4);
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(socket.read(&mut [0; 8]).unwrap(), 0);
    Ok(())
}

/// Memory, but none that can be executed, and no thread.
pub fn compiler() -> Result<(), Errno> {
    assert_eq!(vec![1_u8; 8 << 20].iter().map(|byte| usize::from(*byte)).sum::<usize>(), 8 << 20);
    assert_eq!(executable(false), Err(Errno::PERM));
    assert!(std::thread::Builder::new().spawn(|| ()).is_err());
    assert_eq!(memfd_create("image", MemfdFlags::CLOEXEC).unwrap_err(), Errno::PERM);
    Ok(())
}

/// As wasmtime keeps a memory's first contents.
fn image() -> io::Result<()> {
    let mut image = File::from(memfd_create("image", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    image.write_all(b"contents")?;
    image.set_len(1 << 16)?;
    assert_eq!(image.metadata()?.len(), 1 << 16);
    fcntl_add_seals(&image, SealFlags::GROW | SealFlags::SHRINK | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(())
}

/// As wasmtime publishes code: written first, then made executable.
#[allow(unsafe_code, reason = "mappings have no safe wrapper")]
fn executable(expected: bool) -> Result<(), Errno> {
    const BYTES: usize = 1 << 16;
    let (write, execute) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    // SAFETY: a new anonymous mapping, of which no reference is made, and which stays until exit.
    let result = unsafe {
        let memory = libc::mmap(std::ptr::null_mut(), BYTES, write, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        libc::mprotect(memory, BYTES, execute)
    };
    assert_eq!(result == 0, expected);
    if result == 0 { Ok(()) } else { Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap()) }
}

fn event_loop() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(tokio::task::spawn_blocking(|| 3).await.unwrap(), 3);
        let (mut near, mut far) = tokio::net::UnixStream::pair().unwrap();
        let written = near.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"c")]).await.unwrap();
        assert_eq!(written, 3);
        near.shutdown().await.unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "abc");
    });
}

/// The one descriptor that the parent sends on standard input.
fn received() -> TcpStream {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(io::stdin(), &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let messages = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    messages.map(TcpStream::from).next().expect("a descriptor was sent")
}
