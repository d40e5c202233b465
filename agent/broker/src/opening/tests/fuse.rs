//! A file system that an instance serves itself (fuse(4)), as far as a test needs one: a root with a program and a file, which answers
//! whatever it is asked but the closing of that file.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::Running;
use super::container::BUSYBOX;

// linux/fuse.h: operations, and the bytes of what precedes a request and an answer.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
const REQUEST_HEAD: usize = 40;
const ANSWER_HEAD: usize = 16;
/// Large enough for any request, which the kernel insists on.
const REQUEST_BYTES: usize = 1 << 20;

const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

const ROOT: u64 = 1;
const PROGRAM: u64 = 2;
const FILE: u64 = 3;
pub(super) const CONTENT: &[u8] = b"content";

/// An instance whose root it is. Dropping the sender lets everybody go who waits for it.
pub(super) fn instance(directory: &Path, closings: usize) -> Option<(Running, Sender<()>)> {
    let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
    let at = directory.to_str().unwrap();
    let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
    let script = format!("mount -t fuse -o {options} own {at} && exec chroot {at} /busybox sleep 1000");
    let mut command = Command::new(BUSYBOX);
    command.args(["unshare", "-m", BUSYBOX, "sh", "-c", &script]);
    let running = Running(command.stdin(Stdio::from(device.try_clone().unwrap())).spawn().unwrap());
    let (release, released) = channel();
    thread::spawn(move || serve(device, closings, &released));
    Some((running, release))
}

fn serve(mut device: File, closings: usize, released: &Receiver<()>) {
    let program = std::fs::read(BUSYBOX).unwrap();
    let mut request = vec![0; REQUEST_BYTES];
    let mut closed = 0;
    while closed < closings {
        let length = match device.read(&mut request) {
            Ok(length) => length,
            // Not mounted yet; or what was asked has been taken back.
            Err(error) if [ErrorKind::PermissionDenied, ErrorKind::NotFound].contains(&error.kind()) => {
                thread::yield_now();
                continue;
            }
            Err(_) => return,
        };
        let number = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().unwrap());
        let short = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let (operation, unique, node) = (short(4), number(8), number(16));
        let answer = match operation {
            INIT => Ok(init()),
            LOOKUP => match &request[REQUEST_HEAD..length] {
                b"busybox\0" => Ok(entry(PROGRAM, program.len())),
                b"file\0" => Ok(entry(FILE, CONTENT.len())),
                _ => Err(ENOENT),
            },
            GETATTR => {
                Ok([vec![0; 16], attributes(node, if node == FILE { CONTENT.len() } else { program.len() })].concat())
            }
            OPEN | OPENDIR => Ok(vec![0; 16]),
            READ => {
                let content = if node == PROGRAM { program.as_slice() } else { CONTENT };
                let start = usize::try_from(number(REQUEST_HEAD + 8)).unwrap().min(content.len());
                let end = (start + short(REQUEST_HEAD + 16) as usize).min(content.len());
                Ok(content[start..end].to_vec())
            }
            STATFS => Ok(vec![0; 80]),
            FLUSH if node == FILE => {
                closed += 1;
                continue;
            }
            FLUSH | RELEASE | RELEASEDIR => Ok(Vec::new()),
            FORGET | BATCH_FORGET | INTERRUPT => continue,
            _ => Err(ENOSYS),
        };
        let (error, body) = answer.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
        let head = [((ANSWER_HEAD + body.len()) as u32).to_le_bytes(), error.to_le_bytes()].concat();
        // Who asked may be gone.
        let _ = device.write_all(&[head, unique.to_le_bytes().to_vec(), body].concat());
    }
    let _ = released.recv();
}

/// `struct fuse_init_out` of 7.31: no more than is needed.
fn init() -> Vec<u8> {
    let (version, none, write_bytes): ([u32; 2], u32, u32) = ([7, 31], 0, 65536);
    let words = [version[0], version[1], 65536, none, none, write_bytes, 1];
    let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    body.resize(64, 0);
    body
}

/// `struct fuse_entry_out`.
fn entry(node: u64, bytes: usize) -> Vec<u8> {
    let mut body = [node, 0, 0, 0, 0].map(u64::to_le_bytes).concat();
    body.extend(attributes(node, bytes));
    body
}

/// `struct fuse_attr`: anybody may read it.
fn attributes(node: u64, bytes: usize) -> Vec<u8> {
    let mode: u32 = if node == ROOT { 0o40755 } else { 0o100_755 };
    let mut body = [node, bytes as u64, 0, 0, 0, 0].map(u64::to_le_bytes).concat();
    body.extend([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].map(u32::to_le_bytes).concat());
    body
}
