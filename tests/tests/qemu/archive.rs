//! The initramfs: an archive in the format `newc` (kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Written here, because a header is thirteen numbers and a program for it would be one more to install.

use std::fs;
use std::path::{Path, PathBuf};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// Everything in it is aligned to this.
const ALIGNMENT: usize = 4;
/// The entry that ends it.
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: Vec<PathBuf>,
}

impl Archive {
    /// Adds a program or any other file, and the directories that lead to it.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.directories_of(Path::new(path));
        self.entry(path, PROGRAM, (0, 0), content);
    }

    /// Adds a program of this machine under the same path, with the libraries that it is linked with.
    pub fn program(&mut self, from: &Path, to: &str) {
        self.file(to, &read(from));
        for library in libraries(from) {
            if !self.directories.contains(&library) {
                self.file(&library.to_string_lossy(), &read(&library));
                // No library is a directory: here they only stand for what is there already.
                self.directories.push(library);
            }
        }
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.directories_of(Path::new(path));
        self.entry(path, LINK, (0, 0), target.as_bytes());
    }

    /// Adds an empty directory.
    pub fn directory(&mut self, path: &str) {
        self.directories_of(&Path::new(path).join("x"));
    }

    /// Adds the console, which the kernel opens before any file system is mounted.
    pub fn console(&mut self) {
        self.directories_of(Path::new("/dev/console"));
        self.entry("/dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    }

    /// The archive as the kernel wants it.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, (0, 0), &[]);
        self.bytes
    }

    fn directories_of(&mut self, path: &Path) {
        let above: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        for directory in above.into_iter().rev().filter(|path| path.parent().is_some()) {
            if !self.directories.contains(&directory) {
                self.entry(&directory.to_string_lossy(), DIRECTORY, (0, 0), &[]);
                self.directories.push(directory);
            }
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let name = path.trim_start_matches('/');
        let length = |bytes: usize| u32::try_from(bytes).expect("no file of an initramfs has 4 GiB");
        // Magic, inode, mode, user, group, links, time, size, device (2), device itself (2), length of the name, checksum.
        let (inode, size, name_length) = (self.entries, length(content.len()), length(name.len() + 1));
        let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// The files that the dynamic loader would load, the loader among them (ldd(1)). None for a static program.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = std::process::Command::new("ldd").arg(program).output().expect("ldd is a part of the C library");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let path_of = |line: &str| {
        let path = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        path.starts_with('/').then(|| PathBuf::from(path.split(' ').next().unwrap_or(path)))
    };
    text.lines().filter_map(path_of).collect()
}
